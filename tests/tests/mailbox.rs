//! An owner whose mailbox is bounded, and full: the connection waits or ends, by option, and loses
//! nothing that it does not say (D10, T-14 of the fault list).

use std::io::Write;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use socktree::{
    Actor, Ctx, DisconnectReason, Flow, Framing, Overflow, Source, SpawnOptions, TcpEvent,
    TcpServer,
};
use socktree_tests::{DEADLINE, Probe, Served, Watch, connect, read_to_end, reset, until};

/// An owner that, with its first message, waits to be let go.
fn waiting() -> (Probe, Watch, Sender<()>) {
    let (gate, gated) = mpsc::channel::<()>();
    let (owner, hears) = Probe::new();
    let mut open = false;
    let owner = owner.on(move |_, event| {
        if matches!(event, TcpEvent::Data { .. }) && !open {
            gated.recv_timeout(DEADLINE).expect("the test lets it go");
            open = true;
        }
        Ok(())
    });
    (owner, hears, gate)
}

/// A server whose owner waits, and takes few messages.
fn gated(server: impl FnOnce(TcpServer) -> TcpServer) -> (Served, Watch, Sender<()>) {
    let (worker, hears, gate) = waiting();
    let node = Served::node(1);
    let worker = node.spawn_with(worker, SpawnOptions::new().mailbox(3));
    let server = server(Served::any().framing(Framing::fixed(4).expect("a valid framing")));
    let server = server.process(&worker.expect("its init does nothing"));
    (Served::start_on(node, server, Probe::new()), hears, gate)
}

fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn a_full_mailbox_pauses_the_connection_and_loses_nothing() {
    let (served, hears, gate) = gated(|server| server);
    let stream = connect(served.addr());
    let mut sender = &stream;
    sender.write_all(&numbers(5000)).unwrap();
    drop(stream);
    let conn = hears.connect();
    // Owned by a process that waits, it does not read on.
    assert_eq!(hears.try_next().map(|_| ()), None);
    gate.send(()).unwrap();
    assert_eq!(hears.bytes(20_000), numbers(5000));
    let (ended, reason) = hears.disconnect();
    assert_eq!(ended, conn);
    assert!(matches!(reason, DisconnectReason::PeerClosed), "{reason:?}");
    served.finish();
}

#[test]
fn a_full_mailbox_can_end_the_connection() {
    let (served, hears, gate) = gated(|server| server.overflow(Overflow::Terminate));
    let streams: Vec<_> = (0..2).map(|_| connect(served.addr())).collect();
    for mut stream in &streams {
        stream.write_all(&numbers(100)).unwrap();
    }
    for stream in &streams {
        read_to_end(stream);
    }
    gate.send(()).unwrap();
    for _ in &streams {
        let reason = hears.ended();
        assert!(
            matches!(reason, DisconnectReason::MailboxFull),
            "{reason:?}"
        );
    }
    served.finish();
    assert!(hears.all_over());
}

#[test]
fn an_owner_that_is_stuck_for_too_long_loses_the_connection() {
    let stall = Duration::from_millis(200);
    let (served, hears, gate) = gated(|server| server.owner_stall(stall));
    let stream = connect(served.addr());
    let mut sender = &stream;
    sender.write_all(&numbers(100)).unwrap();
    read_to_end(&stream);
    gate.send(()).unwrap();
    // What was in the mailbox is still handled, in order, and nothing behind a hole.
    hears.connect();
    let mut handled = Vec::new();
    let reason = loop {
        match hears.next() {
            TcpEvent::Data { data, .. } => handled.extend(data),
            TcpEvent::Disconnect { reason, .. } => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(handled, numbers(100)[..handled.len()]);
    assert!(
        matches!(reason, DisconnectReason::MailboxFull),
        "{reason:?}"
    );
    served.finish();
}

/// Takes its time with each message.
struct Slow(Sender<TcpEvent>);

impl Actor for Slow {
    type Msg = TcpEvent;

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        // sleep: an owner that is slow, and not stuck, is what is tested
        thread::sleep(Duration::from_millis(40));
        self.0.send(event)?;
        Ok(())
    }
}

/// A mailbox that is always full is not one that is stuck: as long as the owner takes a message
/// now and then, the connection lives.
#[test]
fn a_slow_owner_keeps_its_connection() {
    let (tell, told) = mpsc::channel();
    let node = Served::node(1);
    let options = SpawnOptions::new().mailbox(1);
    let worker = node.spawn_with(Slow(tell), options).unwrap();
    let server = Served::any()
        .framing(Framing::fixed(4).unwrap())
        .owner_stall(Duration::from_millis(400))
        .process(&worker);
    let served = Served::start_on(node, server, Probe::new());
    let stream = connect(served.addr());
    let mut sender = &stream;
    sender.write_all(&numbers(30)).unwrap();
    drop(stream);
    let mut handled = Vec::new();
    let reason = loop {
        match told.recv_timeout(DEADLINE).expect("the next event") {
            TcpEvent::Data { data, .. } => handled.extend(data),
            TcpEvent::Disconnect { reason, .. } => break reason,
            _ => {}
        }
    };
    assert!(
        matches!(reason, DisconnectReason::PeerClosed),
        "{reason:?} after {} of 120 bytes",
        handled.len()
    );
    assert_eq!(handled, numbers(30));
    served.finish();
}

/// An owner that is stuck, with a mailbox that takes everything: what it has not handled is bounded by
/// its credit. A peer that has gone waits for no answer, so its connection does not stay.
#[test]
fn a_stuck_owner_does_not_keep_connections_whose_peers_have_gone() {
    let (probe, hears, gate) = waiting();
    let server = Served::any().read_credit(1000);
    let server = server.owner_stall(Duration::from_millis(200));
    let served = Served::start_on(Served::node(1), server, (probe, hears));
    let streams: Vec<_> = (0..10).map(|_| connect(served.addr())).collect();
    for mut stream in &streams {
        stream.write_all(&[7; 200_000]).unwrap();
    }
    let there = connect(served.addr());
    until("all connections", || {
        (served.server.connections() == 11).then_some(())
    });
    streams.into_iter().for_each(reset);
    until("those that have gone are over", || {
        (served.server.connections() == 1).then_some(())
    });
    gate.send(()).unwrap();
    let full = |event: &TcpEvent| {
        matches!(
            event,
            TcpEvent::Disconnect {
                reason: DisconnectReason::MailboxFull,
                ..
            }
        )
    };
    for _ in 0..10 {
        until("an end", || Some(served.watch.next()).filter(full));
    }
    drop(there);
    served.finish();
}

/// The same where the peer goes while much waits for it: then a failed write is what tells.
#[test]
fn nor_if_there_was_something_to_write() {
    let (gate, gated) = mpsc::channel::<()>();
    let (probe, hears) = Probe::new();
    let mut first = true;
    let probe = probe.on(move |_, event| {
        if let TcpEvent::Data { conn, .. } = event {
            if std::mem::take(&mut first) {
                conn.write(vec![1; 20 << 20]);
            } else {
                let _the_test_is_over = gated.recv_timeout(DEADLINE);
            }
        }
        Ok(())
    });
    let server = Served::any().read_credit(1000).read_while_throttled(true);
    let server = server.owner_stall(Duration::from_millis(200));
    let served = Served::start_on(Served::node(1), server, (probe, hears));
    let stream = connect(served.addr());
    let conn = served.watch.connect();
    (&stream).write_all(b"much").unwrap();
    until("an answer that waits", || {
        (conn.queued() > 1 << 20).then_some(())
    });
    (&stream).write_all(&[7; 200_000]).unwrap();
    until("that the credit is used up", || {
        (conn.bytes_in() > 1000).then_some(())
    });
    reset(stream);
    until("it is over", || {
        (served.server.connections() == 0).then_some(())
    });
    drop(gate);
    let (ended, reason) = served.watch.disconnect();
    assert_eq!(ended, conn);
    assert!(
        matches!(
            reason,
            DisconnectReason::MailboxFull | DisconnectReason::Reset
        ),
        "{reason:?}"
    );
    served.finish();
}
