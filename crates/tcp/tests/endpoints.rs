//! Where to listen and to connect, in all the forms that it can be written in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use socktree_kernel::{Actor, Ctx, Flow, Reason, Source};
use socktree_tcp::{
    ConnectError, DisconnectReason, Endpoint, ListenError, TcpConnection, TcpEvent, TcpServer, node,
};

#[test]
fn an_address_is_the_same_in_all_its_forms() {
    let text = String::from("127.0.0.1:7171");
    let host = Ipv4Addr::LOCALHOST;
    let forms: [Endpoint; 7] = [
        text.as_str().into(),
        (&text).into(),
        (host, 7171).into(),
        (IpAddr::from(host), 7171).into(),
        (host.to_string(), 7171).into(),
        ("127.0.0.1", 7171).into(),
        SocketAddr::from((host, 7171)).into(),
    ];
    let first = Endpoint::from(text);
    assert!(forms.iter().all(|form| *form == first), "{forms:?}");
    let v6 = Endpoint::from((Ipv6Addr::LOCALHOST, 7171));
    assert_eq!(v6.to_string(), "[::1]:7171");
    assert_eq!(v6, (String::from("::1"), 7171).into());
}

/// Says what becomes of an endpoint without a port.
struct Portless;

impl Actor for Portless {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let listen = ctx.spawn_meta(TcpServer::bind("localhost"));
        assert!(
            matches!(&listen, Err(ListenError::Io { error, .. })
                if error.kind() == io::ErrorKind::InvalidInput),
            "{listen:?}"
        );
        let connect = ctx.spawn_meta(TcpConnection::connect("localhost"));
        assert!(
            matches!(
                &connect,
                Err(ConnectError::Failed {
                    reason: DisconnectReason::Unresolved(_),
                    ..
                })
            ),
            "{connect:?}"
        );
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        panic!("of what spawn_meta refuses there is no event: {event:?}");
    }
}

#[test]
fn a_text_without_a_port_is_refused_when_it_is_spawned() {
    let node = node("endpoints@localhost").start().expect("a node");
    node.spawn(Portless).expect("both are refused");
    assert!(node.stop().expect("no handler").is_clean());
}

/// Ends its listener and its connection by their handles, and tells why the connection ended.
struct Ender(Sender<DisconnectReason>);

impl Actor for Ender {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let server = ctx.spawn_meta(TcpServer::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let client = ctx.spawn_meta(TcpConnection::connect(server.local_addr()))?;
        ctx.monitor(client.clone())?;
        ctx.exit(client, Reason::Normal);
        ctx.exit(server, Reason::Normal);
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        if let TcpEvent::Disconnect { reason, .. } = event {
            let _enough = self.0.send(reason);
        }
        Ok(())
    }
}

#[test]
fn handles_are_targets_by_value() {
    let (tell, told) = channel();
    let node = node("endpoints@localhost").start().expect("a node");
    node.spawn(Ender(tell)).expect("it starts");
    let reason = told.recv_timeout(Duration::from_secs(60)).expect("it ends");
    assert!(reason.is_clean(), "{reason}");
    assert!(node.stop().expect("no handler").is_clean());
}
