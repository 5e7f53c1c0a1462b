//! Deadlines and scheduled commands.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use socktree_reactor::limits::MAX_FIRINGS;
use socktree_reactor::sim::{Fault, Faults, Link, SimOs};
use socktree_reactor::{Event, ListenOptions, Os, Reactor, Token};

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

/// A peer that says something every second, as long as it is given time.
fn chatty() -> impl FnMut(&mut Link<'_>) {
    let mut next = None;
    move |link| {
        let now = link.now();
        if next.is_none_or(|next| now >= next) {
            link.write(b"still here");
            next = now.checked_add(Duration::from_secs(1));
        }
        link.sleep_until(next.unwrap());
    }
}

/// Handles one turn as a server with idle timeouts does; the number of events by kind:
/// accepted, read, timed out.
fn idle_turn(reactor: &mut Loop) -> [usize; 3] {
    const IDLE: Duration = Duration::from_secs(30);
    reactor
        .poll(reactor.after(Duration::from_secs(10)), || true)
        .unwrap();
    let mut counts = [0; 3];
    while let Some(event) = reactor.next_event() {
        let idle = reactor.after(IDLE);
        match event {
            Event::Accepted { stream, .. } => {
                let token = reactor.adopt(stream, ()).unwrap();
                reactor.source(token).unwrap().io.set_deadline(idle);
                counts[0] += 1;
            }
            Event::Readable(token) => {
                let mut source = reactor.source(token).unwrap();
                source.io.read(&mut [0; 64]).unwrap();
                source.io.set_deadline(idle);
                counts[1] += 1;
            }
            Event::Deadline(_) => counts[2] += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    counts
}

/// G02: the process is stopped past every idle timeout, again and again, while its peers go
/// on sending. Their bytes come before the deadlines, which move.
#[test]
fn after_a_gap_bytes_come_before_deadlines() {
    let mut faults = Faults::none();
    faults.clock_gap = 100;
    faults.gap = Duration::from_secs(3600);
    let (sim, mut reactor) = new(faults);
    listener(&mut reactor);
    for _ in 0..3 {
        sim.dial("10.1.1.1:7".parse().unwrap(), chatty());
    }
    let mut sum = [0; 3];
    for _ in 0..1000 {
        for (sum, count) in sum.iter_mut().zip(idle_turn(&mut reactor)) {
            *sum += count;
        }
    }
    assert!(sim.injected(Fault::ClockGap) > 50, "{sim:?}");
    assert!(sum[1] > 500, "{sum:?}");
    assert_eq!((sum[0], sum[2]), (3, 0), "nobody was idle");
}

/// G02, H11: more peers than fit in one report have sent while the process was stopped.
/// Timers wait until all of them were heard.
#[test]
fn timers_wait_while_reports_are_full() {
    const PEERS: usize = SimOs::EVENTS_PER_WAIT * 5;
    let (sim, mut reactor) = new(Faults::none());
    listener(&mut reactor);
    sim.set_manual_clock(true);
    for _ in 0..PEERS {
        sim.dial("10.1.1.1:7".parse().unwrap(), chatty());
    }
    let mut heard = 0;
    for _ in 0..4 {
        while heard < PEERS {
            let [_, read, late] = idle_turn(&mut reactor);
            assert_eq!(late, 0, "nobody was idle");
            heard += read;
        }
        heard = 0;
        sim.advance(Duration::from_secs(60));
    }
}

/// A busy source does not delay timers until the system is asked again.
#[test]
fn timers_fire_beside_a_busy_source() {
    let (sim, mut reactor) = new(Faults::none());
    listener(&mut reactor);
    sim.dial("10.1.1.1:7".parse().unwrap(), |link: &mut Link<'_>| {
        while link.write(&[0; 4096]) > 0 {}
    });
    while idle_turn(&mut reactor)[1] == 0 {}
    for _ in 0..20 {
        reactor.schedule(reactor.now(), 1);
        reactor.poll(None, || true).unwrap();
        let mut commands = 0;
        while let Some(event) = reactor.next_event() {
            commands += usize::from(matches!(event, Event::Command(1)));
        }
        assert_eq!(commands, 1);
    }
}
