//! Loops in loops.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use socktree_reactor::sim::{Faults, SimOs};
use socktree_reactor::{Doze, Event, Os, Reactor, ReadOutcome, System};

type Loop = Reactor<System, u32, u64>;

fn two() -> (Loop, Loop) {
    let outer = Loop::new(System).unwrap();
    let mut inner = Loop::new(System).unwrap();
    inner.nest(&outer.host().unwrap(), 7).unwrap();
    (outer, inner)
}

/// Polls without sleeping, as one does who sleeps elsewhere.
fn poll_at_once(inner: &mut Loop) {
    let now = inner.now();
    inner.poll(Some(now), || true).unwrap();
}

/// Sleeps in the outer loop until it reports the inner one.
fn await_inner(outer: &mut Loop) {
    loop {
        outer.poll(None, || true).unwrap();
        assert!(outer.next_event().is_none());
        if let Some(name) = outer.next_nested() {
            assert_eq!(name, 7);
            assert_eq!(outer.next_nested(), None);
            return;
        }
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0)
}

#[test]
fn what_happens_inside_ends_the_sleep_outside() {
    let (mut outer, mut inner) = two();
    let (mut peer, stream) = pair();
    let stream = System.stream_from_std(stream).unwrap();
    let token = inner.adopt(stream, 1).unwrap();
    for round in 0..10 {
        while inner.doze(|| true) == Doze::Refused {
            poll_at_once(&mut inner);
            while inner.next_event().is_some() {}
        }
        peer.write_all(&[round]).unwrap();
        // It may be told of room to write as well.
        let read = loop {
            await_inner(&mut outer);
            poll_at_once(&mut inner);
            let mut read = None;
            while let Some(event) = inner.next_event() {
                if let Event::Readable(readable) = event {
                    assert_eq!(readable, token);
                    let mut buf = [0; 8];
                    let mut source = inner.source(token).unwrap();
                    if let ReadOutcome::Data(n) = source.io.read(&mut buf).unwrap() {
                        assert_eq!(n, 1);
                        read = Some(buf[0]);
                    }
                }
            }
            if let Some(read) = read {
                break read;
            }
            assert_ne!(inner.doze(|| true), Doze::Refused);
        };
        assert_eq!(read, round);
    }
}

/// A lost wake-up would be a hang: the outer loop sleeps without end.
#[test]
fn no_wake_up_is_lost() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 20_000;
    let (mut outer, mut inner) = two();
    let elsewhere = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let remote = inner.remote();
            let elsewhere = Arc::clone(&elsewhere);
            thread::spawn(move || {
                for number in 0..EACH {
                    if number % 2 == 0 {
                        remote.post(number).unwrap();
                    } else {
                        elsewhere.fetch_add(1, Ordering::Relaxed);
                        remote.wake();
                    }
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < SENDERS * EACH {
        poll_at_once(&mut inner);
        while let Some(event) = inner.next_event() {
            assert!(matches!(event, Event::Command(_)), "{event:?}");
            seen += 1;
        }
        seen += elsewhere.swap(0, Ordering::Relaxed);
        let all = seen == SENDERS * EACH;
        if !all && inner.doze(|| elsewhere.load(Ordering::Relaxed) == 0) != Doze::Refused {
            await_inner(&mut outer);
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
}

/// The host is told of new reports only: what did not fit into one answer must not be left.
#[test]
fn more_reports_than_one_answer_holds_all_come() {
    let many = System::EVENTS_PER_WAIT + 200;
    let (mut outer, mut inner) = two();
    let mut peers = Vec::new();
    for _ in 0..many {
        let (peer, stream) = pair();
        let stream = System.stream_from_std(stream).unwrap();
        inner.adopt(stream, 0).unwrap();
        peers.push(peer);
    }
    // One by one, with a wake-up among them that takes a place in the answer.
    for peer in &mut peers {
        peer.write_all(b"x").unwrap();
    }
    assert_eq!(inner.doze(|| true), Doze::UntilWoken);
    inner.remote().post(1).unwrap();
    let mut heard = 0;
    await_inner(&mut outer);
    loop {
        poll_at_once(&mut inner);
        while let Some(event) = inner.next_event() {
            let Event::Readable(token) = event else {
                continue;
            };
            let mut source = inner.source(token).unwrap();
            if let ReadOutcome::Data(1) = source.io.read(&mut [0; 8]).unwrap() {
                heard += 1;
            }
        }
        if heard == many {
            break;
        }
        if inner.doze(|| true) != Doze::Refused {
            await_inner(&mut outer);
        }
    }
}

#[test]
fn a_loop_with_something_to_do_does_not_doze() {
    let (_outer, mut inner) = two();
    assert_eq!(inner.doze(|| false), Doze::Refused, "work elsewhere");
    inner.remote().post(1).unwrap();
    assert_eq!(inner.doze(|| true), Doze::Refused, "a command");
    poll_at_once(&mut inner);
    assert!(inner.next_event().is_some());
    assert_eq!(inner.doze(|| true), Doze::UntilWoken);
    // Whoever posts pays for a wake-up, once.
    inner.remote().post(2).unwrap();
    inner.remote().post(3).unwrap();
    assert_eq!(inner.stats().wakeups, 1);
    // Awake again, nobody does.
    poll_at_once(&mut inner);
    inner.remote().post(4).unwrap();
    assert_eq!(inner.stats().wakeups, 1);
}

#[test]
fn timers_of_a_dozing_loop_are_its_hosts_affair() {
    let (_outer, mut inner) = two();
    let soon = inner.after(Duration::from_millis(5)).unwrap();
    inner.schedule(soon, 3);
    let Doze::Until(at) = inner.doze(|| true) else {
        panic!("it has a timer");
    };
    assert!(at >= soon && at < soon + Duration::from_millis(1));
    let mut outer = _outer;
    while outer.refresh_now() < at {
        outer.poll(Some(at), || true).unwrap();
    }
    poll_at_once(&mut inner);
    assert!(matches!(inner.next_event(), Some(Event::Command(3))));
}

/// The host has reported what a turn that does not ask the system leaves unseen, and will not again.
#[test]
fn a_loop_that_has_not_asked_the_system_does_not_doze() {
    let (mut outer, mut inner) = two();
    let mut peers: Vec<_> = (0..2).map(|_| pair()).collect();
    let mut tokens = Vec::new();
    for (_, stream) in &peers {
        let stream = System.stream_from_std(stream.try_clone().unwrap()).unwrap();
        tokens.push(inner.adopt(stream, 0).unwrap());
    }
    let read = |inner: &mut Loop, token| {
        let outcome = inner.source(token).unwrap().io.read(&mut [0; 8]).unwrap();
        assert_eq!(outcome, ReadOutcome::Data(1));
    };
    let readable = |inner: &mut Loop| loop {
        if let Event::Readable(token) = inner.next_event().unwrap() {
            return token;
        }
    };
    for (peer, _) in &mut peers {
        peer.write_all(b"a").unwrap();
    }
    await_inner(&mut outer);
    poll_at_once(&mut inner);
    let first = readable(&mut inner);
    read(&mut inner, first);
    // The second is left for the next turn; meanwhile the first has something again.
    let (peer, _) = &mut peers[tokens.iter().position(|&t| t == first).unwrap()];
    peer.write_all(b"b").unwrap();
    await_inner(&mut outer);
    let skipped = inner.stats().polls_skipped;
    poll_at_once(&mut inner);
    assert_eq!(
        inner.stats().polls_skipped,
        skipped + 1,
        "as it must be here"
    );
    let second = readable(&mut inner);
    assert_ne!(first, second);
    read(&mut inner, second);
    while inner.next_event().is_some() {}
    assert_eq!(inner.doze(|| true), Doze::Refused);
    poll_at_once(&mut inner);
    assert_eq!(readable(&mut inner), first);
    read(&mut inner, first);
    while inner.next_event().is_some() {}
    assert_eq!(inner.doze(|| true), Doze::UntilWoken);
}

#[test]
fn what_is_not_nested_is_not_reported() {
    let (mut outer, mut inner) = two();
    inner.unnest();
    assert_eq!(inner.doze(|| true), Doze::Refused, "it would never wake");
    let other = Loop::new(System).unwrap();
    inner.nest(&other.host().unwrap(), 1).unwrap();
    assert_eq!(inner.doze(|| true), Doze::UntilWoken);
    inner.remote().post(1).unwrap();
    let now = outer.now();
    outer.poll(Some(now), || true).unwrap();
    assert_eq!(outer.next_nested(), None, "it is nested elsewhere");
    // Nor is one that has gone, although others can still reach into it.
    let mut gone = Loop::new(System).unwrap();
    let _way_in = gone.host().unwrap();
    gone.nest(&outer.host().unwrap(), 2).unwrap();
    let remote = gone.remote();
    drop(gone);
    assert!(remote.post(1).is_err());
    outer.poll(Some(now), || true).unwrap();
    assert_eq!(outer.next_nested(), None);
}

#[test]
fn what_cannot_be_nested_says_so() {
    let (outer, mut inner) = two();
    let host = outer.host().unwrap();
    assert!(inner.nest(&host, u32::MAX).is_err(), "no such name");
    assert_eq!(
        inner.doze(|| true),
        Doze::Refused,
        "and it is nested no more"
    );
    // Each in the other would report each other for ever.
    let mut outer = outer;
    inner.nest(&host, 1).unwrap();
    assert!(outer.nest(&inner.host().unwrap(), 1).is_err());
    let simulated = Reactor::<_, (), ()>::new(SimOs::new(0, Faults::none())).unwrap();
    let refused = simulated.host().map(drop).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
}

/// A host that does not ask, because it knows of nobody inside any more, keeps no list of it.
#[test]
fn a_report_that_nobody_asked_for_is_kept_once() {
    let (mut outer, mut inner) = two();
    for n in 0..100 {
        inner.remote().post(n).unwrap();
        assert_eq!(inner.doze(|| true), Doze::Refused);
        poll_at_once(&mut inner);
        while inner.next_event().is_some() {}
        assert_eq!(inner.doze(|| true), Doze::UntilWoken);
        inner.remote().post(n).unwrap();
        outer.poll(None, || true).unwrap();
        poll_at_once(&mut inner);
        while inner.next_event().is_some() {}
    }
    assert_eq!(outer.next_nested(), Some(7));
    assert_eq!(outer.next_nested(), None);
}
