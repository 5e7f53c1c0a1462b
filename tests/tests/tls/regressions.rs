//! What once went wrong under TLS, or came to light with it, each with what it looked like.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair, SanType};
use socktree::tls::{PeerEnd, Versions};
use socktree::{
    CertManager, ClientTls, Conn, Ctx, DisconnectReason, Flow, Framing, Identity, Reason, ServeFor,
    TcpEvent, Written,
};
use socktree_tests::{
    Ask, Authority, DEADLINE, Do, Probe, Random, Served, TlsPeer, connect, connect_small,
    read_to_end, receive, reset, until,
};

/// Bytes of a user's whose drop panics.
struct Bomb(Vec<u8>);

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(thread::panicking(), "a drop that panics");
    }
}

/// The session was lost in the panic, and the connection went on without TLS: in the clear.
#[test]
fn after_a_panic_nothing_goes_out_in_the_clear() {
    const SECRET: &[u8] = b"THE SECRET IN CLEAR";
    let authority = Authority::new();
    let served = Served::start(Served::any().tls(&authority.certs()), Probe::new());
    let peer = TlsPeer::connect(served.addr(), &authority.client()).expect("a right client");
    let conn = served.watch.connect();
    let writer = conn.clone();
    // In one go, so that they leave together.
    served.parent.ask(move |_| {
        writer.write(Bytes::from_owner(Bomb(vec![1; 5000])));
        writer.write(vec![2; 5000]);
    });
    conn.write(SECRET);
    let (bytes, cut) = read_to_end(&peer.stream);
    assert!(cut.is_some(), "a hole in the stream is no end in order");
    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET));
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Aborted), "{reason:?}");
    assert_eq!(conn.write("more"), Written::Ended);
    served.finish();
}

/// Those who stall had driven all places to one worker, and the others turned honest clients away.
#[test]
fn every_worker_keeps_places_of_its_own() {
    for workers in [1, 2, 4] {
        let authority = Authority::new();
        let certs = authority.server().max_handshakes(32).build().unwrap();
        let (parent, watch) = Probe::new();
        let ear = watch.ear();
        let server = Served::any().tls(&certs).per_connection(move |_| {
            ear.probe().on(|_, event| match event {
                TcpEvent::Disconnect { .. } => Err(Reason::Normal),
                _ => Ok(()),
            })
        });
        let served = Served::start_on(Served::node(workers), server, (parent, watch));
        let client = authority.client();
        let mut random = Random::new(7);
        let mut stalled: Vec<_> = (0..64).map(|_| connect(served.addr())).collect();
        for n in 0..200 {
            let honest = TlsPeer::connect(served.addr(), &client);
            assert!(
                honest.is_ok(),
                "client {n} of {workers} workers: {honest:?}"
            );
            stalled.extend((0..=random.below(3)).map(|_| connect(served.addr())));
            if stalled.len() > 300 {
                stalled.drain(..200);
            }
        }
        assert_eq!(served.server.refused(), 0);
        drop(stalled);
        served.settle();
    }
}

/// A flight that the peer does not take kept the loop turning until the handshake's deadline.
#[test]
fn a_flight_that_is_not_taken_ends_at_the_write_timeout() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    for n in 0..400 {
        let name = format!("{}{n}.example.org", "a".repeat(50));
        let name = SanType::DnsName(name.try_into().unwrap());
        params.subject_alt_names.push(name);
    }
    let certificate = params.self_signed(&key).unwrap();
    // Megabytes, which no socket's buffer takes at once.
    let chain = vec![certificate.der().to_vec(); 500];
    let identity = Identity::from_der(chain, key.serialize_der()).unwrap();
    let certs = CertManager::builder()
        .identity(ServeFor::Default, identity)
        .handshake_timeout(Duration::from_secs(60));
    let certs = certs.build().unwrap();
    let server = Served::any()
        .tls(&certs)
        .write_timeout(Duration::from_millis(100));
    let served = Served::start(server, Probe::new());
    let mut stream = connect_small(served.addr());
    let client = Authority::new().client();
    let hello = client.session("localhost", Instant::now());
    stream.write_all(hello.unwrap().output()).unwrap();
    until("it is there", || {
        (served.server.accepted() == 1).then_some(())
    });
    until("it gives up", || {
        (served.server.connections() == 0).then_some(())
    });
    assert_eq!(served.server.failed_handshakes(), [("abandoned", 1)]);
    served.finish();
}

/// Between the last look at the queue and the end, a writer was told `Queued` for bytes that never
/// left, and the peer was told that nothing was missing.
#[test]
fn what_is_queued_before_an_end_in_order_arrives() {
    for tls in [true, false] {
        for round in 0..40 {
            let authority = Authority::new();
            let server = if tls {
                Served::any().tls(&authority.certs())
            } else {
                Served::any()
            };
            let served = Served::start(server, Probe::new());
            let stream = connect(served.addr());
            let mut peer = tls.then(|| {
                let session = authority.client().session("localhost", Instant::now());
                let peer = TlsPeer::over(stream.try_clone().unwrap(), session.unwrap());
                peer.shaken().expect("a right client")
            });
            let conn = served.watch.connect();
            let writer = thread::spawn({
                let conn = conn.clone();
                move || {
                    let mut queued = 0;
                    while conn.write(&b"x"[..]) != Written::Ended {
                        queued += 1;
                        thread::yield_now();
                    }
                    queued
                }
            });
            until("some is written", || {
                (conn.bytes_out() > round).then_some(())
            });
            if round % 2 == 0 {
                served
                    .parent
                    .ask(move |ctx| ctx.exit(&conn, Reason::Normal));
            } else {
                served.parent.tell(|_| Err(Reason::Normal));
            }
            let (arrived, in_order) = match &mut peer {
                Some(peer) => {
                    let (bytes, end) = peer.read_to_end();
                    (bytes.len(), end == Ok(PeerEnd::Closed))
                }
                None => {
                    let (bytes, cut) = read_to_end(&stream);
                    (bytes.len(), cut.is_none())
                }
            };
            let queued: usize = writer.join().expect("it writes to the end");
            assert!(
                !in_order || arrived == queued,
                "{arrived} of {queued} bytes arrived, TLS {tls}, round {round}"
            );
        }
    }
}

/// A panic in the middle of several flushes: the next flush took away the mark of the connection
/// that it had left broken, which then went on with a hole in its stream.
#[test]
fn every_connection_that_a_panic_has_broken_ends() {
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        if let TcpEvent::Data { conn, data } = event {
            if data == "bomb" {
                conn.write(Bytes::from_owner(Bomb(vec![1; 5000])));
                conn.write(vec![2; 5000]);
            } else {
                conn.write(data.clone());
            }
        }
        Ok(())
    });
    // Nobody takes over while the owner is held, so that all of them are served in one turn.
    let node = socktree::node("tests@localhost")
        .workers(1)
        .stuck_after(None);
    let node = node.start().expect("a node");
    let served = Served::start_on(node, Served::any(), (probe, watch));
    let streams: Vec<_> = (0..6).map(|_| connect(served.addr())).collect();
    for _ in &streams {
        served.watch.connect();
    }
    let (hold, held) = mpsc::channel::<()>();
    let (holds, is_held) = mpsc::channel();
    served.parent.tell(move |_| {
        holds.send(())?;
        let _released = held.recv();
        Ok(())
    });
    is_held.recv().expect("the owner is there");
    for (n, mut stream) in streams.iter().enumerate() {
        stream
            .write_all(if n % 2 == 0 { b"bomb" } else { b"fine" })
            .unwrap();
    }
    drop(hold);
    for (n, stream) in streams.iter().enumerate() {
        if n % 2 == 0 {
            assert!(read_to_end(stream).1.is_some(), "{n} went on");
        } else {
            assert_eq!(receive(stream, 4), b"fine");
        }
    }
    drop(streams);
    until("all are over", || served.watch.all_over().then_some(()));
    served.finish();
}

/// Bytes that let somebody's handler return, and leave it the time for that, before they panic.
struct Signal(Vec<u8>, mpsc::Sender<()>);

impl AsRef<[u8]> for Signal {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let _the_test_is_over = self.1.send(());
        // sleep: nobody outside sees that what a displaced thread owes is there
        thread::sleep(Duration::from_millis(100));
        panic!("a signal");
    }
}

/// Credit that came back for one connection, right after a panic, took away the mark of another that
/// the panic had left broken.
#[test]
fn credit_for_one_does_not_hide_what_a_panic_has_done_to_another() {
    let (go, goes) = mpsc::channel();
    let (slow, slow_watch) = Probe::new();
    let (entered, enters) = mpsc::channel();
    let slow = slow.on(move |_, event| {
        if let TcpEvent::Data { .. } = event {
            entered.send(())?;
            goes.recv()?;
        }
        Ok(())
    });
    let server = Served::any().read_credit(1);
    let served = Served::start_on(Served::node(1), server, (slow, slow_watch));
    let (probe, watch) = Probe::new();
    let probe = probe.on(move |_, event| {
        if let TcpEvent::Data { conn, .. } = event {
            conn.write(Bytes::from_owner(Signal(vec![1; 5000], go.clone())));
        }
        Ok(())
    });
    let bombed = served.node.spawn(probe).unwrap();
    let neighbour = bombed.ask(|ctx| ctx.spawn_meta(Served::any())).unwrap();
    let waits = connect(served.addr());
    (&waits).write_all(b"wait").unwrap();
    enters.recv().expect("the handler began");
    let stream = connect(neighbour.local_addr());
    (&stream).write_all(b"bomb").unwrap();
    let (_, reason) = watch.disconnect();
    assert!(matches!(reason, DisconnectReason::Aborted), "{reason:?}");
    drop((waits, stream));
    until("no connection left", || {
        (served.server.connections() == 0).then_some(())
    });
    served.stop();
}

/// What the peer had sent before it went away was lost behind the first message, as soon as a write had
/// failed: its `close_notify` had come along.
#[test]
fn what_came_before_a_reset_is_delivered_although_nothing_can_be_written() {
    const MESSAGES: u8 = 10;
    let authority = Authority::new();
    let (probe, watch) = Probe::new();
    let probe = probe.on(|_, event| {
        if let TcpEvent::Connect { conn } = event {
            conn.pause();
        }
        Ok(())
    });
    // The owner has to handle each message before it gets the next.
    let server = Served::any()
        .tls(&authority.certs())
        .framing(Framing::fixed(100).unwrap())
        .read_credit(1);
    let served = Served::start(server, (probe, watch));
    let mut peer = TlsPeer::connect(served.addr(), &authority.client()).expect("a right client");
    let conn = served.watch.connect();
    for message in 0..MESSAGES {
        peer.session.write(&[message; 100]).expect("a live session");
    }
    peer.session.close().expect("a live session");
    peer.send_output();
    reset(peer.stream);
    served.parent.ask(move |_| {
        conn.write("nobody reads this");
        conn.resume();
    });
    for message in 0..MESSAGES {
        assert_eq!(served.watch.data(), [message; 100].as_slice());
    }
    let reason = served.watch.ended();
    assert!(matches!(reason, DisconnectReason::Reset), "{reason:?}");
    served.finish();
}

/// Whoever broke the protocol and stayed kept a descriptor each for two seconds, without a bound.
#[test]
fn sockets_that_wait_for_their_alerts_to_be_read_are_bounded() {
    const PEERS: u64 = 400;
    let authority = Authority::new();
    let server = Served::any().tls(&authority.certs());
    let served = Served::start_on(Served::node(1), server, Probe::new());
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut stream = connect(served.addr());
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            stream
        })
        .collect();
    until("each has failed", || {
        let failed = served.server.failed_handshakes();
        (failed == [("not-tls", PEERS)]).then_some(())
    });
    assert!(
        served.server.connections() <= 256,
        "{} are kept",
        served.server.connections()
    );
    // Those who had to go have been told all the same.
    for stream in &peers {
        assert_eq!(receive(stream, 1), [21], "an alert");
    }
    drop(peers);
    served.finish();
}

/// "The peer broke the TLS protocol", and how was for nobody to see.
#[test]
fn a_reason_says_what_exactly_went_wrong() {
    let authority = Authority::new();
    let tls12 = authority.server().versions(Versions::Tls12).build();
    let mut server = tls12.unwrap().session(Instant::now()).unwrap();
    let tls13 = ClientTls::builder().roots(authority.roots());
    let tls13 = tls13.versions(Versions::Tls13).build().unwrap();
    let client = tls13.session("localhost", Instant::now()).unwrap();
    let mut hello = client.output().to_vec();
    let error = server.receive(&mut hello, &mut []).unwrap_err();
    let (short, cause) = (error.to_string(), error.source().unwrap().to_string());
    let reason = DisconnectReason::Tls(Arc::new(error));
    assert_eq!(reason.to_string(), format!("{short}: {cause}"));
}

/// The loop asked when to look at the files next, and waited for whoever was reading them just then.
#[test]
fn a_slow_disk_holds_up_no_loop() {
    /// As the pipe's other end is opened: not before there is somebody to read (open(2), `ENXIO`).
    const O_NONBLOCK: i32 = 0o4000;
    let authority = Authority::new();
    let issued = authority.certificate("localhost");
    let dir = std::env::temp_dir().join(format!("socktree-slow-disk-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let (chain, key) = (dir.join("chain"), dir.join("key"));
    fs::write(&chain, &issued.pem).unwrap();
    fs::write(&key, &issued.key_pem).unwrap();

    let manager: Arc<OnceLock<CertManager>> = Arc::default();
    let (stuck, sticks) = mpsc::channel();
    let (there, pipe) = (Arc::clone(&manager), chain.clone());
    let certs = CertManager::builder()
        .files(ServeFor::Default, &chain, &key)
        // Whatever it is, it expires soon: so there is an event at the first look.
        .warn_before(Duration::MAX)
        .on_event(move |_| {
            fs::remove_file(&pipe).unwrap();
            assert!(
                Command::new("mkfifo")
                    .arg(&pipe)
                    .status()
                    .unwrap()
                    .success()
            );
            let certs = there.get().unwrap().clone();
            let later = Instant::now() + Duration::from_secs(3600);
            let looking = thread::spawn(move || drop(certs.poll(later)));
            let mut open = OpenOptions::new();
            open.write(true).custom_flags(O_NONBLOCK);
            let end = until("somebody reads the pipe", || open.open(&pipe).ok());
            stuck.send((looking, end)).unwrap();
        });
    let certs = certs.build().unwrap();
    manager.set(certs.clone()).unwrap();
    let served = Served::start_on(Served::node(1), Served::any().tls(&certs), Probe::echo());
    let (looking, end) = sticks.recv_timeout(DEADLINE).unwrap();
    let client = authority.client();
    for _ in 0..20 {
        let mut peer = TlsPeer::connect(served.addr(), &client).expect("a right client");
        peer.write(b"ping");
        assert_eq!(peer.read(4), b"ping");
        peer.finish();
    }
    drop(end);
    looking.join().unwrap();
    served.finish();
    fs::remove_dir_all(dir).unwrap();
}

/// Looks, turn after turn, at how much of an answer has gone, and tells of each look that was in the
/// middle of it.
fn look_on(ctx: &Ctx<'_, Probe>, conn: Conn, all: usize, tell: mpsc::Sender<()>) -> Flow {
    let left = conn.queued();
    if left == 0 {
        return Ok(());
    }
    if left < all {
        tell.send(())?;
    }
    let again = Do::new(move |ctx| look_on(ctx, conn, all, tell));
    let _over = ctx.me().send(again);
    Ok(())
}

/// A large answer to a peer that took it as fast as it was made kept the loop from everybody else.
#[test]
fn a_large_answer_leaves_room_for_others() {
    const ALL: usize = 64 << 20;
    let authority = Authority::new();
    let server = Served::any().tls(&authority.certs());
    let served = Served::start_on(Served::node(1), server, Probe::new());
    let peer = TlsPeer::connect(served.addr(), &authority.client()).expect("a right client");
    let conn = served.watch.connect();
    let mut stream = peer.stream;
    let taking = thread::spawn(move || {
        let mut piece = vec![0; 1 << 20];
        while stream.read(&mut piece).is_ok_and(|n| n > 0) {}
    });
    let (tell, told) = mpsc::channel();
    let writer = conn.clone();
    served.parent.tell(move |ctx| {
        writer.write(Bytes::from(vec![7; ALL]));
        look_on(ctx, writer, ALL, tell)
    });
    // Ends when nobody looks on any more.
    let looks = told.iter().count();
    assert!(looks >= ALL >> 21, "others had {looks} turns meanwhile");
    conn.close();
    taking.join().unwrap();
    served.finish();
}
