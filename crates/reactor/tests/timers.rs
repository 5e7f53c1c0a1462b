//! Deadlines and scheduled commands.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use socktree_reactor::limits::MAX_FIRINGS;
use socktree_reactor::sim::{Faults, Link, SimOs};
use socktree_reactor::{Event, ListenOptions, Reactor, ReadOutcome, Token};

type Loop = Reactor<SimOs, (), u32>;

fn new(faults: Faults) -> (SimOs, Loop) {
    let sim = SimOs::new(3, faults);
    (sim.clone(), Loop::new(sim).unwrap())
}

fn commands(reactor: &mut Loop) -> Vec<u32> {
    std::iter::from_fn(|| reactor.next_event())
        .map(|event| match event {
            Event::Command(number) => number,
            other => panic!("unexpected {other:?}"),
        })
        .collect()
}

fn listener(reactor: &mut Loop) -> Token {
    reactor
        .bind("10.1.1.1:7".parse().unwrap(), &ListenOptions::default(), ())
        .unwrap()
}

#[test]
fn commands_come_when_they_are_due_and_in_order() {
    let (sim, mut reactor) = new(Faults::none());
    let start = reactor.now();
    for (millis, number) in [(30, 3), (10, 1), (20, 2), (10, 11), (10, 12)] {
        reactor.schedule(start + Duration::from_millis(millis), number);
    }
    let mut seen = Vec::new();
    while seen.len() < 5 {
        reactor.poll(None, || true).unwrap();
        seen.extend(commands(&mut reactor));
    }
    assert_eq!(seen, [1, 11, 12, 2, 3]);
    assert_eq!(sim.elapsed().as_millis(), 30);
}

/// G01: cancelled is gone.
#[test]
fn a_million_armed_and_cancelled_leave_nothing() {
    let (_, mut reactor) = new(Faults::none());
    let start = reactor.now();
    let keys: Vec<_> = (0..1_000_000)
        .map(|n| {
            reactor.schedule(
                start + Duration::from_millis(u64::from(n) * 7919 % 10_007),
                n,
            )
        })
        .collect();
    assert_eq!(reactor.stats().timers, 1_000_000);
    for (n, &key) in (0..).zip(&keys) {
        assert_eq!(reactor.cancel(key), Some(n));
    }
    assert_eq!(reactor.stats().timers, 0);
    // A stale key does not find the next tenant of its place.
    reactor.schedule(start, 7);
    assert!(keys.iter().all(|&key| reactor.cancel(key).is_none()));
    assert_eq!(reactor.stats().timers, 1);
}

/// G01: many that are due together do not make one long turn.
#[test]
fn firings_per_turn_are_bounded() {
    let (_, mut reactor) = new(Faults::none());
    let start = reactor.now();
    for n in 0..MAX_FIRINGS * 2 + 100 {
        reactor.schedule(start, n);
    }
    let mut turns = Vec::new();
    for _ in 0..3 {
        reactor.poll(None, || true).unwrap();
        turns.push(u32::try_from(commands(&mut reactor).len()).unwrap());
    }
    assert_eq!(turns, [MAX_FIRINGS, MAX_FIRINGS, 100]);
}

/// G03: periods that cannot be added to a time.
#[test]
fn endless_and_past_deadlines_do_not_panic() {
    let (_, mut reactor) = new(Faults::none());
    assert_eq!(reactor.after(Duration::MAX), None);
    let far = reactor
        .after(Duration::from_secs(u64::from(u32::MAX) * 1000))
        .unwrap();
    let token = listener(&mut reactor);
    let start = reactor.now();
    for at in [
        None,
        Some(far),
        Some(start),
        start.checked_sub(Duration::from_secs(1)),
    ] {
        reactor.source(token).unwrap().io.set_deadline(at);
    }
    reactor.poll(Some(far), || true).unwrap();
    assert!(matches!(reactor.next_event(), Some(Event::Deadline(it)) if it == token));
    assert!(reactor.next_event().is_none());
    assert_eq!(reactor.stats().timers, 0);
}

#[test]
fn a_deadline_moves_both_ways_and_fires_once() {
    let (sim, mut reactor) = new(Faults::none());
    let token = listener(&mut reactor);
    let start = reactor.now();
    let at = |millis| Some(start + Duration::from_millis(millis));
    for (moves, fires) in [
        (vec![10, 50], 50),
        (vec![500, 100], 100),
        (vec![300, 900, 400], 400),
    ] {
        for millis in moves {
            reactor.source(token).unwrap().io.set_deadline(at(millis));
        }
        assert_eq!(reactor.source(token).unwrap().io.deadline(), at(fires));
        let mut fired = 0;
        while fired == 0 {
            reactor.poll(None, || true).unwrap();
            while let Some(event) = reactor.next_event() {
                assert!(matches!(event, Event::Deadline(it) if it == token));
                fired += 1;
            }
        }
        assert_eq!((fired, sim.elapsed().as_millis()), (1, u128::from(fires)));
        assert_eq!(reactor.source(token).unwrap().io.deadline(), None);
        assert_eq!(reactor.stats().timers, 0);
    }
}

/// G04, B08: a deadline does not outlive its source.
#[test]
fn removing_a_source_cancels_its_deadline() {
    let (_, mut reactor) = new(Faults::none());
    let token = listener(&mut reactor);
    let soon = reactor.after(Duration::from_millis(1));
    reactor.source(token).unwrap().io.set_deadline(soon);
    reactor.remove(token).unwrap();
    assert_eq!(reactor.stats().timers, 0);
    let heir = listener(&mut reactor);
    assert_ne!(token, heir);
    reactor
        .poll(reactor.after(Duration::from_secs(1)), || true)
        .unwrap();
    assert!(reactor.next_event().is_none());
}

/// G02: the process was stopped past every idle timeout while its peer kept sending. The
/// bytes come before the deadline, which the owner then moves.
#[test]
fn after_a_gap_bytes_come_before_deadlines() {
    let (sim, mut reactor) = new(Faults::none());
    listener(&mut reactor);
    sim.set_manual_clock(true);
    sim.dial("10.1.1.1:7".parse().unwrap(), |link: &mut Link<'_>| {
        link.write(b"still here");
        link.sleep(Duration::from_secs(1));
    });
    let now = Some(reactor.now());
    let mut connection = None;
    for _ in 0..3 {
        reactor.poll(now, || true).unwrap();
        while let Some(event) = reactor.next_event() {
            match event {
                Event::Accepted { stream, .. } => {
                    let token = reactor.adopt(stream, ()).unwrap();
                    let idle = reactor.after(Duration::from_secs(30));
                    reactor.source(token).unwrap().io.set_deadline(idle);
                    connection = Some(token);
                }
                Event::Readable(token) => {
                    reactor
                        .source(token)
                        .unwrap()
                        .io
                        .read(&mut [0; 64])
                        .unwrap();
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    let connection = connection.unwrap();
    for _ in 0..5 {
        sim.advance(Duration::from_secs(60));
        reactor.poll(None, || true).unwrap();
        let Some(Event::Readable(token)) = reactor.next_event() else {
            panic!()
        };
        assert_eq!(token, connection);
        let idle = reactor.after(Duration::from_secs(30));
        let mut source = reactor.source(token).unwrap();
        assert_eq!(source.io.read(&mut [0; 64]).unwrap(), ReadOutcome::Data(10));
        source.io.set_deadline(idle);
        assert!(
            reactor.next_event().is_none(),
            "the deadline was moved in time"
        );
    }
}
