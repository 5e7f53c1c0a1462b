//! Addresses as users write them.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Where to listen or to connect: an address, or a host name and a port.
///
/// A text is `host:port`, with an IPv6 address in brackets; as a pair a host needs none. Nothing is
/// looked up before [`spawn_meta`](socktree_kernel::Ctx::spawn_meta), which is also where a text
/// without a port is refused.
///
/// # Examples
///
/// ```
/// use std::net::Ipv6Addr;
/// use socktree_tcp::Endpoint;
/// let by_text: Endpoint = "[::1]:7171".into();
/// let by_parts: Endpoint = ("localhost", 7171).into();
/// let by_address: Endpoint = (Ipv6Addr::LOCALHOST, 7171).into();
/// assert_eq!(by_parts.to_string(), "localhost:7171");
/// assert_eq!(by_address, by_text);
/// assert_eq!(by_text, ("::1", 7171).into());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Address(SocketAddr),
    Name(String),
}

impl Endpoint {
    /// The address, unless it has to be looked up first.
    pub(crate) fn literal(&self) -> Option<SocketAddr> {
        match self.0 {
            Form::Address(addr) => Some(addr),
            Form::Name(_) => None,
        }
    }

    /// The host without the port.
    pub(crate) fn host(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Address(addr) => addr.ip().to_string().into(),
            Form::Name(name) => name
                .rsplit_once(':')
                .map_or(&**name, |(host, _)| host)
                .into(),
        }
    }

    /// All addresses, in the system's order of preference. Blocks for a name.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = match &self.0 {
            Form::Address(addr) => return Ok(vec![*addr]),
            Form::Name(name) => name.to_socket_addrs()?.collect(),
        };
        if found.is_empty() {
            let text = format!("{self} has no address");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(found)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Address(addr) => addr.fmt(f),
            Form::Name(name) => f.write_str(name),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self(Form::Address(addr))
    }
}

impl From<&str> for Endpoint {
    fn from(text: &str) -> Self {
        Self(
            text.parse()
                .map_or_else(|_| Form::Name(text.to_owned()), Form::Address),
        )
    }
}

impl From<String> for Endpoint {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Endpoint {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<(IpAddr, u16)> for Endpoint {
    fn from(parts: (IpAddr, u16)) -> Self {
        SocketAddr::from(parts).into()
    }
}

impl From<(Ipv4Addr, u16)> for Endpoint {
    fn from(parts: (Ipv4Addr, u16)) -> Self {
        SocketAddr::from(parts).into()
    }
}

impl From<(Ipv6Addr, u16)> for Endpoint {
    fn from(parts: (Ipv6Addr, u16)) -> Self {
        SocketAddr::from(parts).into()
    }
}

impl From<(String, u16)> for Endpoint {
    fn from((host, port): (String, u16)) -> Self {
        (host.as_str(), port).into()
    }
}

impl From<(&str, u16)> for Endpoint {
    fn from((host, port): (&str, u16)) -> Self {
        host.parse().map_or_else(
            |_| Self(Form::Name(format!("{host}:{port}"))),
            |ip| Self(Form::Address(SocketAddr::new(ip, port))),
        )
    }
}
