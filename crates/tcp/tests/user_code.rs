//! User code that runs beside the loop: what it breaks is one connection, never the worker.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use socktree_codec::{Boundary, FrameError, Framer, Framing, Progress};
use socktree_kernel::{Actor, Ctx, Flow, Source};
use socktree_tcp::{DisconnectReason, TcpEvent, TcpServer, node};

/// Frames of one byte; panics at an exclamation mark.
#[derive(Debug)]
struct Nervous;

impl Framer for Nervous {
    fn find(&self, received: &[u8], _: &mut Progress) -> Result<Boundary, FrameError> {
        assert_ne!(received[0], b'!', "an exclamation mark");
        Ok(Boundary::Frame {
            len: 1,
            payload: 0..1,
        })
    }
}

struct Echo {
    framing: Framing,
    listening: Sender<SocketAddr>,
    ended: Sender<DisconnectReason>,
}

impl Actor for Echo {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let server = TcpServer::bind("127.0.0.1:0").framing(self.framing.clone());
        self.listening.send(ctx.spawn_meta(server)?.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        match event {
            TcpEvent::Data { conn, data } => drop(conn.write(data)),
            TcpEvent::Disconnect { reason, .. } => self.ended.send(reason)?,
            _ => {}
        }
        Ok(())
    }
}

fn ask(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("not zero");
    stream.write_all(text).expect("connected");
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_framer_that_panics_ends_its_connection_alone() {
    let (listening, listens) = channel();
    let (ended, ends) = channel();
    let framing = Framing::custom(Nervous, 64).unwrap();
    let node = node("nervous@localhost").workers(1).start().unwrap();
    node.spawn(Echo {
        framing,
        listening,
        ended,
    })
    .unwrap();
    let addr = listens.recv().unwrap();

    let mut calm = TcpStream::connect(addr).unwrap();
    let mut excited = TcpStream::connect(addr).unwrap();
    assert_eq!(ask(&mut calm, b"abc"), b"abc");
    excited.write_all(b"!").unwrap();
    let reason = ends.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(
        matches!(reason, DisconnectReason::FramerPanicked),
        "{reason}"
    );
    assert_eq!(ask(&mut calm, b"still here"), b"still here");
    node.stop().unwrap();
}

/// Never made: making it panics.
struct Never;

impl Actor for Never {
    type Msg = TcpEvent;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: TcpEvent) -> Flow {
        Ok(())
    }
}

struct Root(Sender<SocketAddr>);

impl Actor for Root {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let make = |_peer| -> Never { panic!("no actor for this one") };
        let server = ctx.spawn_meta(TcpServer::bind("127.0.0.1:0").per_connection(make))?;
        self.0.send(server.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: TcpEvent) -> Flow {
        Ok(())
    }
}

#[test]
fn an_actor_that_cannot_be_made_refuses_its_connection_alone() {
    let (listening, listens) = channel();
    let node = node("never@localhost").workers(1).start().unwrap();
    node.spawn(Root(listening)).unwrap();
    let addr = listens.recv().unwrap();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        assert_eq!(
            stream.read(&mut [0; 1]).unwrap(),
            0,
            "closed, and the listener lives"
        );
    }
    node.stop().unwrap();
}
