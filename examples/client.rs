//! Sends what it reads from standard input, and prints what comes back.
//!
//! ```text
//! cargo run --release --example client -- [--connect ADDR] [--listen ADDR]
//!     [--tls [--ca FILE] [--server-name NAME] [--insecure] [--tls-cert FILE --tls-key FILE]]
//! ```
//!
//! With `--tls` the server has to show a certificate for the name in ADDR, or for the one that
//! `--server-name` says, by an authority that the system trusts, or the one in `--ca`. `--insecure`
//! takes any certificate, so anybody may be listening in.
//!
//! With `--listen` it waits for one connection instead of making one, as `nc -l` does.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use socktree::{
    Actor, Address, Bytes, ClientTls, Conn, Ctx, Flow, Identity, Reason, Roots, Source,
    TcpConnection, TcpEvent, TcpServer, Written, protocol,
};

/// What standard input gave; empty at its end.
struct Input(Bytes);

protocol! {
    enum Msg { Net(TcpEvent), Input(Input) }
}

enum Peer {
    Connect(String, Option<ClientTls>),
    Listen(String),
}

struct Client {
    peer: Peer,
    conn: Option<Conn>,
    /// Lets the thread that reads standard input go on by one read.
    go_on: Option<SyncSender<()>>,
}

impl Client {
    fn start_input(&mut self, me: Address<Msg>) -> io::Result<()> {
        let (go_on, may_read) = sync_channel(1);
        // There is room for one, and nobody has sent any yet.
        let _room = go_on.try_send(());
        self.go_on = Some(go_on);
        thread::Builder::new()
            .name("stdin".into())
            .spawn(move || read_input(&me, &may_read))
            .map(|_handle| ())
    }

    fn ready_for_more(&self) {
        if let Some(go_on) = &self.go_on {
            // Full only if it may read already.
            let _told = go_on.try_send(());
        }
    }

    fn net(&mut self, ctx: &Ctx<'_, Self>, event: TcpEvent) -> Flow {
        match event {
            TcpEvent::Connect { conn } if self.conn.is_none() => {
                match conn.tls() {
                    Some(tls) => log::info!("connected to {}: {tls}", conn.peer_addr()),
                    None => log::info!("connected to {}", conn.peer_addr()),
                }
                self.conn = Some(conn);
                self.start_input(ctx.me())?;
            }
            // One conversation is enough for one standard input.
            TcpEvent::Connect { conn } => conn.close(),
            TcpEvent::Data { data, .. } => {
                let mut out = io::stdout().lock();
                out.write_all(&data)?;
                out.flush()?;
            }
            TcpEvent::Writable { .. } => self.ready_for_more(),
            TcpEvent::Disconnect { conn, reason } if self.conn.as_ref() == Some(&conn) => {
                return Err(match reason.is_clean() {
                    true => Reason::Normal,
                    false => reason.into(),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

impl Actor for Client {
    type Msg = Msg;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        match &self.peer {
            // The rest happens when it is connected.
            Peer::Connect(addr, tls) => {
                let connection = TcpConnection::connect(addr.as_str());
                let connection = match tls {
                    Some(tls) => connection.tls(tls.clone()),
                    None => connection,
                };
                ctx.spawn_meta(connection)?;
            }
            Peer::Listen(addr) => {
                let server = ctx.spawn_meta(TcpServer::bind(addr.as_str()))?;
                println!("listening on {}", server.local_addr());
            }
        }
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _from: Source, message: Msg) -> Flow {
        match message {
            Msg::Net(event) => self.net(ctx, event)?,
            Msg::Input(Input(bytes)) => {
                let Some(conn) = &self.conn else {
                    return Ok(());
                };
                if bytes.is_empty() {
                    conn.shutdown_write();
                } else if conn.write(bytes) == Written::Queued {
                    self.ready_for_more();
                }
            }
        }
        Ok(())
    }
}

/// Reads standard input piece by piece, each when the connection has room for it.
fn read_input(client: &Address<Msg>, may_read: &Receiver<()>) {
    let mut buffer = vec![0; 64 * 1024];
    while may_read.recv().is_ok() {
        let n = io::stdin().lock().read(&mut buffer).unwrap_or(0);
        let sent = client.send(Input(Bytes::copy_from_slice(&buffer[..n])));
        if n == 0 || sent.is_err() {
            return;
        }
    }
}

/// What the options say about TLS.
#[derive(Default)]
struct Tls {
    on: bool,
    ca: Option<PathBuf>,
    server_name: Option<String>,
    insecure: bool,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Tls {
    fn client(self) -> Result<Option<ClientTls>, String> {
        let Self {
            on,
            ca,
            server_name,
            insecure,
            cert,
            key,
        } = self;
        if !on {
            let given = ca.is_some() || server_name.is_some() || insecure;
            let given = given || cert.is_some() || key.is_some();
            return match given {
                true => Err("options of TLS need --tls".into()),
                false => Ok(None),
            };
        }
        let mut client = ClientTls::builder();
        if let Some(path) = ca {
            let roots = Roots::from_pem_file(path).map_err(|error| format!("--ca: {error}"))?;
            client = client.roots(roots);
        }
        if let Some(name) = server_name {
            client = client.server_name(name);
        }
        match (cert, key) {
            (Some(cert), Some(key)) => {
                let identity = Identity::from_pem_files(cert, key);
                client = client.identity(identity.map_err(|error| error.to_string())?);
            }
            (None, None) => {}
            _ => return Err("--tls-cert needs --tls-key, and the other way round".into()),
        }
        if insecure {
            client = client.dangerous_skip_verification();
        }
        client.build().map(Some).map_err(|error| error.to_string())
    }
}

fn parse() -> Result<Peer, String> {
    let (mut connect, mut listen) = (String::from("127.0.0.1:7171"), None);
    let mut tls = Tls::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        use lexopt::Arg::Long;
        match argument {
            Long("connect") => connect = socktree_examples::value(&mut parser, "connect")?,
            Long("listen") => listen = Some(socktree_examples::value(&mut parser, "listen")?),
            Long("tls") => tls.on = true,
            Long("ca") => tls.ca = Some(socktree_examples::value(&mut parser, "ca")?),
            Long("server-name") => {
                tls.server_name = Some(socktree_examples::value(&mut parser, "server-name")?);
            }
            Long("insecure") => tls.insecure = true,
            Long("tls-cert") => {
                tls.cert = Some(socktree_examples::value(&mut parser, "tls-cert")?);
            }
            Long("tls-key") => tls.key = Some(socktree_examples::value(&mut parser, "tls-key")?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let tls = tls.client()?;
    match listen {
        Some(_) if tls.is_some() => Err("--tls is for connecting".into()),
        Some(addr) => Ok(Peer::Listen(addr)),
        None => Ok(Peer::Connect(connect, tls)),
    }
}

fn main() -> ExitCode {
    let outcome = parse().and_then(|peer| {
        socktree_examples::start_log("warn");
        let node = socktree::node("client@localhost").workers(1);
        socktree_examples::run(
            node,
            Client {
                peer,
                conn: None,
                go_on: None,
            },
        )
    });
    socktree_examples::exit("client", outcome)
}
