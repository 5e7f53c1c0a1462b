//! Commands and wake-ups between threads.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use socktree_reactor::limits::COMMAND_BUDGET;
use socktree_reactor::sim::{Faults, SimOs};
use socktree_reactor::{Event, Os, Reactor, System};

type Loop<O> = Reactor<O, (), u64>;

fn drain<O: Os>(reactor: &mut Loop<O>) -> Vec<u64> {
    std::iter::from_fn(|| reactor.next_event())
        .map(|event| match event {
            Event::Command(number) => number,
            other => panic!("unexpected {other:?}"),
        })
        .collect()
}

/// H04: nobody pays for waking a loop that is awake.
#[test]
fn a_loop_that_is_awake_is_not_woken() {
    let mut reactor = Loop::new(System).unwrap();
    let remote = reactor.remote();
    for number in 0..100 {
        remote.post(number).unwrap();
        remote.wake();
    }
    reactor.poll(None, || true).unwrap();
    assert_eq!(drain(&mut reactor), (0..100).collect::<Vec<_>>());
    assert_eq!(reactor.stats().wakeups, 0);
}

/// H04: the first command of a batch wakes, the others ride along.
#[test]
fn a_batch_costs_one_wake_up() {
    let sim = SimOs::new(0, Faults::none());
    let mut reactor = Loop::new(sim.clone()).unwrap();
    let remote = reactor.remote();
    // `may_sleep` runs when senders see a sleeping loop: whoever posts now has to wake it.
    reactor
        .poll(None, || {
            for number in 0..50 {
                remote.post(number).unwrap();
            }
            true
        })
        .unwrap();
    assert_eq!(drain(&mut reactor).len(), 50);
    assert_eq!(reactor.stats().wakeups, 1);
    // A thread that really sleeps.
    for round in 2..20 {
        let sleeper = thread::spawn(move || {
            reactor.poll(None, || true).unwrap();
            reactor
        });
        sim.wait_quiescent();
        remote.post(round).unwrap();
        reactor = sleeper.join().unwrap();
        assert_eq!(drain(&mut reactor), [round]);
        assert_eq!(reactor.stats().wakeups, round);
    }
}

#[test]
fn work_elsewhere_keeps_the_loop_from_sleeping() {
    let mut reactor = Loop::new(System).unwrap();
    reactor.poll(None, || false).unwrap();
    assert!(reactor.next_event().is_none());
}

/// H04: a lost wake-up would be a hang. No time limits anywhere: the loop sleeps without end.
fn stress<O: Os>(os: O) {
    const SENDERS: u64 = 4;
    let mut last = [None; 4];
    const EACH: u64 = 20_000;
    let mut reactor = Loop::new(os).unwrap();
    let elsewhere = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let remote = reactor.remote();
            let elsewhere = Arc::clone(&elsewhere);
            thread::spawn(move || {
                for number in 0..EACH {
                    if number % 2 == 0 {
                        remote.post(sender * EACH + number).unwrap();
                    } else {
                        // A queue of the owner's own.
                        elsewhere.fetch_add(1, Ordering::Relaxed);
                        remote.wake();
                    }
                }
            })
        })
        .collect();
    let (mut commands, mut foreign) = (0, 0);
    while commands + foreign < SENDERS * EACH {
        reactor
            .poll(None, || elsewhere.load(Ordering::Relaxed) == 0)
            .unwrap();
        for number in drain(&mut reactor) {
            let sender = usize::try_from(number / EACH).unwrap();
            assert!(
                last[sender] < Some(number),
                "commands of one thread keep their order"
            );
            last[sender] = Some(number);
            commands += 1;
        }
        foreign += elsewhere.swap(0, Ordering::Relaxed);
    }
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(
        (commands, foreign),
        (SENDERS * EACH / 2, SENDERS * EACH / 2)
    );
    let stats = reactor.stats();
    assert!(
        stats.wakeups <= stats.polls,
        "one wake-up ends one sleep: {stats:?}"
    );
}

#[test]
fn no_wake_up_is_lost_on_the_real_system() {
    stress(System);
}

#[test]
fn no_wake_up_is_lost_in_simulation() {
    stress(SimOs::new(5, Faults::none()));
}

#[test]
fn a_busy_sender_does_not_shut_out_the_rest() {
    let mut reactor = Loop::new(System).unwrap();
    let remote = reactor.remote();
    for number in 0..u64::from(COMMAND_BUDGET) + 10 {
        remote.post(number).unwrap();
    }
    reactor.poll(None, || true).unwrap();
    assert_eq!(drain(&mut reactor).len(), COMMAND_BUDGET as usize);
    reactor.poll(None, || true).unwrap();
    assert_eq!(drain(&mut reactor).len(), 10);
}

#[test]
fn a_command_for_a_loop_that_is_gone_comes_back() {
    let reactor = Loop::new(System).unwrap();
    let remote = reactor.remote();
    drop(reactor);
    assert_eq!(remote.post(9).unwrap_err().0, 9);
    remote.wake();
    remote.descriptor_freed();
}

#[test]
fn a_loop_moves_between_threads() {
    fn assert_send<T: Send>() {}
    fn assert_shared<T: Send + Sync + Clone>() {}
    assert_send::<Loop<System>>();
    assert_send::<Event<System, u64>>();
    assert_shared::<socktree_reactor::Remote<u64>>();
}

#[test]
fn an_interrupted_or_early_wait_is_a_turn_with_nothing() {
    let mut faults = Faults::none();
    faults.interrupt = 900;
    let sim = SimOs::new(1, faults);
    let mut reactor = Loop::new(sim.clone()).unwrap();
    let end = reactor.after(Duration::from_secs(1));
    reactor.schedule(end.unwrap(), 4);
    let mut seen = Vec::new();
    while seen.is_empty() {
        reactor.poll(None, || true).unwrap();
        seen = drain(&mut reactor);
    }
    assert_eq!(seen, [4]);
    assert!(sim.elapsed() >= Duration::from_secs(1));
}
