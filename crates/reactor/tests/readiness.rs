//! Readiness is told once and never lost: budgets, pauses, ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socktree_reactor::limits::{MAX_UNPOLLED_EVENTS, READ_BURST};
use socktree_reactor::sim::{Faults, Link, SimOs};
use socktree_reactor::{
    Event, ListenOptions, Os, Reactor, ReadOutcome, System, Token, WriteOutcome,
};

type Loop<O> = Reactor<O, (), ()>;

fn addr() -> SocketAddr {
    "10.1.1.1:7".parse().unwrap()
}

fn simulated() -> (SimOs, Loop<SimOs>) {
    let sim = SimOs::new(2, Faults::none());
    let mut reactor = Loop::new(sim.clone()).unwrap();
    reactor.bind(addr(), &ListenOptions::default(), ()).unwrap();
    (sim, reactor)
}

/// Polls until there are `count` connections.
fn accept(reactor: &mut Loop<SimOs>, count: usize) -> Vec<Token> {
    let mut tokens = Vec::new();
    while tokens.len() < count {
        reactor.poll(None, || true).unwrap();
        while let Some(event) = reactor.next_event() {
            if let Event::Accepted { stream, .. } = event {
                tokens.push(reactor.adopt(stream, ()).unwrap());
            }
        }
    }
    tokens
}

/// One turn without sleeping, reading at most `most` bytes per event.
fn turn<O: Os>(reactor: &mut Loop<O>, most: usize) -> Vec<(Token, ReadOutcome)> {
    reactor.poll(Some(reactor.now()), || true).unwrap();
    let mut reads = Vec::new();
    let mut buffer = vec![0; most];
    while let Some(event) = reactor.next_event() {
        let Event::Readable(token) = event else {
            panic!("unexpected {event:?}")
        };
        reads.push((
            token,
            reactor.source(token).unwrap().io.read(&mut buffer).unwrap(),
        ));
    }
    reads
}

fn bulk(link: &mut Link<'_>) {
    while link.write(&[7; 4096]) > 0 {}
}

/// H02, H03: a source that is never drained gets its burst and no more, others come between,
/// and it is given again without a new edge.
#[test]
fn a_burst_ends_and_comes_back() {
    let (sim, mut reactor) = simulated();
    for _ in 0..3 {
        sim.dial(addr(), bulk);
    }
    let tokens = accept(&mut reactor, 3);
    for _ in 0..4 {
        let mut served = BTreeMap::new();
        for (token, _) in turn(&mut reactor, 10) {
            *served.entry(token).or_insert(0) += 1;
        }
        assert_eq!(served.len(), tokens.len());
        assert!(
            served.values().all(|&times| times == READ_BURST),
            "{served:?}"
        );
    }
}

/// H03: while one source is busy the system is asked rarely, but it is asked.
#[test]
fn a_busy_source_shares_the_poll_and_does_not_hide_others() {
    let (sim, mut reactor) = simulated();
    sim.dial(addr(), bulk);
    let busy = accept(&mut reactor, 1)[0];
    turn(&mut reactor, 10);
    let before = reactor.stats();
    for _ in 0..100 {
        assert_eq!(turn(&mut reactor, 10).len(), READ_BURST as usize);
    }
    let polls = reactor.stats().polls - before.polls;
    let rare = u64::from(100 * READ_BURST / MAX_UNPOLLED_EVENTS);
    assert!(
        (rare..=rare + 1).contains(&polls),
        "{polls} polls in 100 turns"
    );

    sim.dial(addr(), |link: &mut Link<'_>| {
        link.write(b"hi");
    });
    let (mut quiet, mut events) = (None, 0);
    'served: loop {
        reactor.poll(None, || true).unwrap();
        while let Some(event) = reactor.next_event() {
            match event {
                Event::Accepted { stream, .. } => {
                    quiet = Some(reactor.adopt(stream, ()).unwrap());
                }
                Event::Readable(token) if Some(token) == quiet => break 'served,
                Event::Readable(token) => {
                    assert_eq!(token, busy);
                    reactor
                        .source(token)
                        .unwrap()
                        .io
                        .read(&mut [0; 10])
                        .unwrap();
                    events += 1;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    // Once to be accepted, once to be read.
    assert!(events <= 2 * (MAX_UNPOLLED_EVENTS + READ_BURST), "{events}");
}

/// H11: more are ready than fit in one report, and all are served alike.
#[test]
fn more_ready_sources_than_one_report_holds() {
    let (sim, mut reactor) = simulated();
    const SOURCES: usize = SimOs::EVENTS_PER_WAIT * 5;
    for _ in 0..SOURCES {
        sim.dial(addr(), bulk);
    }
    accept(&mut reactor, SOURCES);
    let mut served = BTreeMap::new();
    for _ in 0..20 {
        for (token, _) in turn(&mut reactor, 10) {
            *served.entry(token).or_insert(0) += 1;
        }
    }
    let (least, most) = (
        served.values().min().unwrap(),
        served.values().max().unwrap(),
    );
    assert_eq!(served.len(), SOURCES);
    assert!(*most <= least * 2, "{least} to {most}");
}

/// A short read is the last one: nothing is read only to find nothing.
#[test]
fn a_short_read_drains() {
    let (sim, mut reactor) = simulated();
    let mut sent = false;
    sim.dial(addr(), move |link: &mut Link<'_>| {
        if !sent {
            sent = link.write(b"message") == 7;
        }
    });
    let token = accept(&mut reactor, 1)[0];
    assert_eq!(turn(&mut reactor, 64), [(token, ReadOutcome::Data(7))]);
    assert_eq!(turn(&mut reactor, 64), []);
    assert!(!reactor.source(token).unwrap().io.is_readable());
}

/// B03: bytes and end arrive in one report; the end is fetched although the read was short.
#[test]
fn an_end_reported_with_the_last_bytes_is_fetched() {
    let (sim, mut reactor) = simulated();
    sim.dial(addr(), |link: &mut Link<'_>| {
        link.write(b"last");
        link.half_close();
    });
    let token = accept(&mut reactor, 1)[0];
    let reads = turn(&mut reactor, 64);
    assert_eq!(
        reads,
        [(token, ReadOutcome::Data(4)), (token, ReadOutcome::Eof)]
    );
    // Our direction is open, and the end is not told again and again.
    assert_eq!(
        reactor.source(token).unwrap().io.write(b"answer").unwrap(),
        WriteOutcome::Written(6)
    );
    assert_eq!(turn(&mut reactor, 64), []);
}

#[test]
fn an_empty_buffer_is_not_an_end() {
    let (sim, mut reactor) = simulated();
    sim.dial(addr(), bulk);
    let token = accept(&mut reactor, 1)[0];
    let mut source = reactor.source(token).unwrap();
    assert_eq!(source.io.read(&mut []).unwrap(), ReadOutcome::Data(0));
    assert_eq!(source.io.write(&[]).unwrap(), WriteOutcome::Written(0));
}

/// What arrives during a pause is there after it, whether the edge came before or meanwhile.
#[test]
fn a_pause_keeps_readiness() {
    for pause_first in [true, false] {
        let (sim, mut reactor) = simulated();
        let mut left = 100;
        sim.dial(addr(), move |link: &mut Link<'_>| {
            left -= link.write(&vec![1; left])
        });
        let token = accept(&mut reactor, 1)[0];
        if pause_first {
            reactor.source(token).unwrap().io.pause_read();
        } else {
            // Seen, partly read, and then paused in the middle of the burst.
            reactor.poll(Some(reactor.now()), || true).unwrap();
            let Some(Event::Readable(_)) = reactor.next_event() else {
                panic!()
            };
            let mut source = reactor.source(token).unwrap();
            assert_eq!(source.io.read(&mut [0; 60]).unwrap(), ReadOutcome::Data(60));
            source.io.pause_read();
            assert!(reactor.next_event().is_none());
        }
        for _ in 0..5 {
            assert_eq!(turn(&mut reactor, 10), [], "paused");
        }
        let mut source = reactor.source(token).unwrap();
        assert!(source.io.is_read_paused());
        source.io.resume_read();
        let rest = if pause_first { 100 } else { 40 };
        assert_eq!(turn(&mut reactor, 200), [(token, ReadOutcome::Data(rest))]);
    }
}

/// A reset during a pause is told once, and what had arrived can still be read.
#[test]
fn a_reset_during_a_pause_is_told() {
    let (sim, mut reactor) = simulated();
    let mut first = true;
    sim.dial(addr(), move |link: &mut Link<'_>| {
        if std::mem::take(&mut first) {
            link.write(b"bytes");
            link.sleep(Duration::from_secs(1));
        } else {
            link.reset();
        }
    });
    let token = accept(&mut reactor, 1)[0];
    reactor.source(token).unwrap().io.pause_read();
    let event = loop {
        reactor.poll(None, || true).unwrap();
        if let Some(event) = reactor.next_event() {
            break event;
        }
    };
    assert!(
        matches!(event, Event::Hangup(it) if it == token),
        "{event:?}"
    );
    assert!(reactor.next_event().is_none());
    assert_eq!(turn(&mut reactor, 10), []);
    let mut source = reactor.source(token).unwrap();
    assert_eq!(source.io.read(&mut [0; 64]).unwrap(), ReadOutcome::Data(5));
    assert!(source.io.read(&mut [0; 64]).is_err());
}

/// A write that is cut short is followed by an event, a write that is not is not.
#[test]
fn writable_follows_a_write_that_was_cut_short() {
    let (sim, mut reactor) = simulated();
    let mut drain = 0;
    sim.dial(addr(), move |link: &mut Link<'_>| {
        if drain > 0 {
            while link.read(&mut [0; 4096]) > 0 {}
        }
        drain += 1;
        link.sleep(Duration::from_secs(1));
    });
    let token = accept(&mut reactor, 1)[0];
    assert_eq!(
        turn(&mut reactor, 10),
        [],
        "room is no news to one that did not want it"
    );
    let written = reactor
        .source(token)
        .unwrap()
        .io
        .write(&vec![0; 100_000])
        .unwrap();
    assert!(
        matches!(written, WriteOutcome::Written(n) if n < 100_000),
        "{written:?}"
    );
    let blocked = reactor.source(token).unwrap().io.write(&[0]).unwrap();
    assert_eq!(blocked, WriteOutcome::WouldBlock);
    reactor.poll(None, || true).unwrap();
    assert!(matches!(reactor.next_event(), Some(Event::Writable(it)) if it == token));
    assert!(reactor.next_event().is_none());
}

/// An owner that stops in the middle of a turn loses nothing.
#[test]
fn an_unfinished_turn_goes_on_in_the_next() {
    let (sim, mut reactor) = simulated();
    for _ in 0..10 {
        let mut sent = false;
        sim.dial(addr(), move |link: &mut Link<'_>| {
            if !sent {
                sent = link.write(b"x") == 1;
            }
        });
    }
    accept(&mut reactor, 10);
    let mut read = 0;
    while read < 10 {
        reactor.poll(Some(reactor.now()), || true).unwrap();
        if let Some(Event::Readable(token)) = reactor.next_event() {
            reactor.source(token).unwrap().io.read(&mut [0; 8]).unwrap();
            read += 1;
        }
    }
    assert_eq!(turn(&mut reactor, 8), []);
}

/// Sources may be removed by the handling of any other, those in the same report included.
#[test]
fn removing_sources_that_are_ready_is_safe() {
    let (sim, mut reactor) = simulated();
    for _ in 0..10 {
        sim.dial(addr(), bulk);
    }
    let mut tokens = accept(&mut reactor, 10);
    reactor.poll(None, || true).unwrap();
    let Some(Event::Readable(first)) = reactor.next_event() else {
        panic!()
    };
    tokens.retain(|&token| token != first);
    for &token in &tokens[..5] {
        reactor.remove(token).unwrap();
        assert!(reactor.remove(token).is_none());
        assert!(reactor.data(token).is_none());
    }
    reactor.remove(first).unwrap();
    let left: Vec<_> = turn(&mut reactor, 10)
        .into_iter()
        .map(|(token, _)| token)
        .collect();
    assert!(left.iter().all(|token| tokens[5..].contains(token)));
    assert!(tokens[5..].iter().all(|token| left.contains(token)));
}

/// H02: who reads another source than the one that is served takes nothing from that one.
#[test]
fn draining_another_source_keeps_the_one_being_served() {
    let (sim, mut reactor) = simulated();
    for _ in 0..2 {
        let mut sent = 0;
        sim.dial(addr(), move |link: &mut Link<'_>| {
            sent += link.write(&b"hello"[sent..]);
        });
    }
    let tokens = accept(&mut reactor, 2);
    // Both are reported before the first is given.
    let first = loop {
        reactor.poll(None, || true).unwrap();
        let both = tokens.iter().all(|&token| {
            let source = reactor.source(token).unwrap();
            source.io.is_readable()
        });
        if both && let Some(Event::Readable(token)) = reactor.next_event() {
            break token;
        }
    };
    let second = tokens.into_iter().find(|&token| token != first).unwrap();
    let mut read = |token| {
        let mut source = reactor.source(token).unwrap();
        source.io.read(&mut [0; 64]).unwrap()
    };
    assert_eq!(read(second), ReadOutcome::Data(5));
    assert_eq!(
        turn(&mut reactor, 64),
        [(first, ReadOutcome::Data(5))],
        "the first is given again, and the second is not"
    );
}

/// H02 against the kernel: one small read per turn takes a whole stream.
#[test]
fn a_large_stream_arrives_in_small_budgets() {
    const LENGTH: usize = 1 << 22;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let stream = System
        .stream_from_std(listener.accept().unwrap().0)
        .unwrap();
    let sender = std::thread::spawn(move || client.write_all(&vec![5; LENGTH]).unwrap());
    let mut reactor = Loop::new(System).unwrap();
    let token = reactor.adopt(stream, ()).unwrap();
    let mut received = 0;
    let mut buffer = [0; 1000];
    loop {
        reactor.poll(None, || true).unwrap();
        // The rest of the burst is left over each time.
        if let Some(Event::Readable(_)) = reactor.next_event() {
            match reactor.source(token).unwrap().io.read(&mut buffer).unwrap() {
                ReadOutcome::Data(n) => received += n,
                ReadOutcome::Eof => break,
                ReadOutcome::WouldBlock => {}
            }
        }
    }
    assert_eq!(received, LENGTH);
    sender.join().unwrap();
}

/// Who has more to write than it wants to write at a time has its turn again, once, and not in the same
/// one.
#[test]
fn a_writer_may_come_again() {
    let (sim, mut reactor) = simulated();
    sim.dial(addr(), |_: &mut Link<'_>| ());
    let token = accept(&mut reactor, 1)[0];
    while !turn(&mut reactor, 8).is_empty() {}
    reactor.source(token).unwrap().io.write_again();
    assert!(reactor.next_event().is_none(), "this turn is over");
    // Without a time: it does not sleep.
    reactor.poll(None, || true).unwrap();
    let event = reactor.next_event();
    assert!(matches!(event, Some(Event::Writable(again)) if again == token));
    assert!(reactor.next_event().is_none());

    let mut source = reactor.source(token).unwrap();
    source.io.write_again();
    assert_eq!(source.io.write(b"all").unwrap(), WriteOutcome::Written(3));
    reactor.poll(Some(reactor.now()), || true).unwrap();
    assert!(reactor.next_event().is_none(), "it was taken back");
}
