//! Why a connection ended, as its owner and its watchers are told.

use std::error::Error;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use socktree_codec::LengthPrefix;
use socktree_kernel::{Actor, Ctx, Down, Flow, Reason, Source};
use socktree_tcp::{Bytes, DisconnectReason, TcpEvent, TcpServer, TryWriteError, node};

/// Owns connections whose messages may have ten bytes, and monitors them.
struct Watcher {
    listening: Sender<SocketAddr>,
    told: Sender<DisconnectReason>,
    watched: Sender<Reason>,
}

impl Actor for Watcher {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let framing = LengthPrefix::u8().max_frame(10).build()?;
        let server = ctx.spawn_meta(TcpServer::bind("127.0.0.1:0").framing(framing))?;
        self.listening.send(server.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        match event {
            TcpEvent::Connect { conn } => ctx.monitor(&conn)?,
            TcpEvent::Disconnect { reason, .. } => self.told.send(reason)?,
            _ => {}
        }
        Ok(())
    }

    fn down(&mut self, _: &mut Ctx<'_, Self>, down: Down) -> Flow {
        self.watched.send(down.reason)?;
        Ok(())
    }
}

/// What a test hears of must come; only a failing test waits that long.
fn hear<T>(from: &Receiver<T>) -> T {
    from.recv_timeout(Duration::from_secs(60))
        .expect("it is told")
}

#[test]
fn watchers_are_told_the_same_as_the_owner() {
    let (listening, listens) = channel();
    let (told, ends) = channel();
    let (watched, downs) = channel();
    let node = node("reasons@localhost")
        .workers(1)
        .start()
        .expect("a node");
    let watcher = Watcher {
        listening,
        told,
        watched,
    };
    node.spawn(watcher).expect("a watcher");
    let addr = hear(&listens);

    let mut peer = TcpStream::connect(addr).expect("a listener");
    peer.write_all(&[200]).expect("room");
    let (ended, down) = (hear(&ends), hear(&downs));
    assert!(!ended.is_clean());
    assert_eq!(ended.to_string(), down.to_string());
    let Reason::Error(error) = &down else {
        panic!("{down:?} instead of an error");
    };
    let error = error.downcast_ref::<DisconnectReason>();
    assert!(
        matches!(error, Some(DisconnectReason::Malformed(_))),
        "{error:?}"
    );
    assert!(ended.source().is_none(), "the text has it all");

    drop(TcpStream::connect(addr).expect("a listener"));
    let (ended, down) = (hear(&ends), hear(&downs));
    assert!(ended.is_clean() && matches!(down, Reason::Normal));
    assert!(node.stop().expect("no handler").is_clean());
}

#[test]
fn bytes_that_were_refused_come_back() {
    let bytes = Bytes::from_static(b"later");
    for refused in [TryWriteError::Full, TryWriteError::Ended] {
        assert_eq!(refused(bytes.clone()).into_bytes(), bytes);
    }
}
