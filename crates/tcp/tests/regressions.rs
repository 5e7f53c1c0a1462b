//! What once lost bytes or hung, each with what it looked like.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use socktree_kernel::{Actor, Ctx, Flow, Node, Source};
use socktree_tcp::{Conn, DisconnectReason, TcpConnection, TcpEvent, TcpServer, Written, node};

type Handler = Box<dyn FnMut(&TcpEvent) + Send>;

/// Runs a function for each event, and tells the test about ends.
struct Owner {
    server: Option<TcpServer>,
    handler: Handler,
    listening: Sender<SocketAddr>,
    ended: Sender<DisconnectReason>,
}

impl Actor for Owner {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let server = self
            .server
            .take()
            .unwrap_or_else(|| TcpServer::bind("127.0.0.1:0"));
        self.listening.send(ctx.spawn_meta(server)?.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        (self.handler)(&event);
        if let TcpEvent::Disconnect { reason, .. } = event {
            self.ended.send(reason)?;
        }
        Ok(())
    }
}

fn serve(
    server: TcpServer,
    handler: impl FnMut(&TcpEvent) + Send + 'static,
) -> (Node, SocketAddr, Receiver<DisconnectReason>) {
    let (listening, listens) = channel();
    let (ended, ends) = channel();
    let node = node("regressions@localhost")
        .workers(1)
        .start()
        .expect("a node");
    let owner = Owner {
        server: Some(server),
        handler: Box::new(handler),
        listening,
        ended,
    };
    node.spawn(owner).expect("an owner");
    (node, listens.recv().expect("an address"), ends)
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("a connection");
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("not zero");
    stream
}

fn bind() -> TcpServer {
    TcpServer::bind("127.0.0.1:0")
}

/// The rest of a throttled answer was cut off when the client had ended its direction.
#[test]
fn a_throttled_answer_goes_on_after_the_peers_end() {
    const SIZE: usize = 4 << 20;
    let mut left = SIZE;
    let (node, addr, _ends) = serve(bind(), move |event| {
        let (TcpEvent::Data { conn, .. } | TcpEvent::Writable { conn }) = event else {
            return;
        };
        while left > 0 {
            let piece = left.min(64 << 10);
            left -= piece;
            if conn.write(vec![7; piece]) == Written::Throttled {
                break;
            }
        }
    });
    let mut stream = connect(addr);
    stream.write_all(b"GET").expect("sent");
    stream.shutdown(Shutdown::Write).expect("ended");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("an end in good order");
    assert_eq!(got.len(), SIZE);
    node.stop().expect("outside");
}

/// A greeting was lost when the client had ended its direction before the owner could run.
#[test]
fn a_greeting_reaches_a_client_that_says_nothing() {
    let (go, may_go) = channel::<()>();
    let mut first = true;
    let (node, addr, _ends) = serve(bind(), move |event| {
        if let TcpEvent::Connect { conn } = event {
            if std::mem::take(&mut first) {
                // Holds the owner up until the second client has connected and ended.
                may_go.recv().expect("the test goes on");
            }
            conn.write("hello\n");
        }
    });
    let mut busy = connect(addr);
    let mut silent = connect(addr);
    silent.shutdown(Shutdown::Write).expect("ended");
    go.send(()).expect("the owner waits");
    for stream in [&mut busy, &mut silent] {
        let mut got = [0; 6];
        stream.read_exact(&mut got).expect("a greeting");
        assert_eq!(&got, b"hello\n");
    }
    node.stop().expect("outside");
}

/// A small header followed by a large body counted as a slow consumer.
#[test]
fn a_header_does_not_make_its_body_too_much() {
    let (node, addr, _ends) = serve(bind(), |event| {
        if let TcpEvent::Data { conn, .. } = event {
            assert_eq!(conn.write("header"), Written::Queued);
            assert_eq!(conn.write(vec![1; 1 << 20]), Written::Throttled);
            conn.close();
        }
    });
    let mut stream = connect(addr);
    stream.write_all(b"GET").expect("sent");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("an end in good order");
    assert_eq!(got.len(), 6 + (1 << 20));
    node.stop().expect("outside");
}

/// An answer was cut off by a reset when the owner closed while the peer still sent (B05).
#[test]
fn an_answer_outlives_what_the_peer_sends_after_it() {
    let answer = Bytes::from(vec![9; 1 << 20]);
    let (node, addr, _ends) = serve(bind(), move |event| {
        if let TcpEvent::Data { conn, .. } = event {
            conn.write(answer.clone());
            conn.close();
        }
    });
    for _ in 0..20 {
        let mut stream = connect(addr);
        stream.write_all(&[1; 1000]).expect("sent");
        let mut got = vec![0; 1];
        stream.read_exact(&mut got).expect("the answer begins");
        // The owner has closed by now, and this is what it never reads.
        stream.write_all(&[2; 1000]).expect("sent");
        stream.read_to_end(&mut got).expect("an end in good order");
        assert_eq!(got.len(), 1 << 20);
    }
    node.stop().expect("outside");
}

/// A half-open connection whose peer was gone stayed for ever.
#[test]
fn a_half_open_connection_notices_a_reset() {
    let (eof, ended) = channel();
    let (node, addr, ends) = serve(bind().half_open(true), move |event| {
        if let TcpEvent::Eof { conn } = event {
            conn.write("unread, so that the close below is a reset");
            eof.send(()).expect("the test waits");
        }
    });
    let stream = connect(addr);
    stream.shutdown(Shutdown::Write).expect("ended");
    ended
        .recv_timeout(Duration::from_secs(30))
        .expect("told of the end");
    stream.peek(&mut [0; 1]).expect("the answer is there");
    drop(stream);
    let reason = ends
        .recv_timeout(Duration::from_secs(30))
        .expect("told of the reset");
    assert!(matches!(reason, DisconnectReason::Reset), "{reason}");
    node.stop().expect("outside");
}

/// So did one whose peer had gone while its owner did not read: the hangup was told before the end of
/// the stream was known, and not again.
#[test]
fn a_half_open_connection_notices_a_reset_that_came_during_a_pause() {
    let (tell, conns) = channel();
    let (node, addr, ends) = serve(bind().half_open(true), move |event| {
        if let TcpEvent::Connect { conn } = event {
            conn.pause();
            conn.write("unread, so that the close below is a reset");
            tell.send(conn.clone()).expect("the test waits");
        }
    });
    let gone = connect(addr);
    gone.peek(&mut [0; 1]).expect("the answer is there");
    (&gone).write_all(b"still to be read").expect("sent");
    gone.shutdown(Shutdown::Write).expect("ended");
    drop(gone);
    // By the time that another is answered, the loop has seen what came before it.
    let other = connect(addr);
    other.peek(&mut [0; 1]).expect("the answer is there");
    conns.recv().expect("the first").resume();
    let reason = ends
        .recv_timeout(Duration::from_secs(30))
        .expect("told of the reset");
    assert!(matches!(reason, DisconnectReason::Reset), "{reason}");
    node.stop().expect("outside");
}

/// Closing an attempt to connect did nothing before its timeout.
#[test]
fn closing_an_attempt_ends_it() {
    struct Opener(Sender<Conn>, Sender<DisconnectReason>);
    impl Actor for Opener {
        type Msg = TcpEvent;

        fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
            // A name that has to be looked up: the attempt is pending for a while.
            self.0
                .send(ctx.spawn_meta(TcpConnection::open("localhost:9"))?)?;
            Ok(())
        }

        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
            if let TcpEvent::ConnectFailed { reason, .. } = event {
                self.1.send(reason)?;
            }
            Ok(())
        }
    }
    let (opened, opens) = channel();
    let (failed, fails) = channel();
    let node = node("opener@localhost").workers(1).start().expect("a node");
    node.spawn(Opener(opened, failed)).expect("an opener");
    opens.recv().expect("a handle").close();
    fails
        .recv_timeout(Duration::from_secs(30))
        .expect("told, long before the timeout");
    node.stop().expect("outside");
}
