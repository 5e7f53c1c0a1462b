//! Timers: they fire once or are cancelled, and end with their owner.

#[path = "common/lab.rs"]
mod lab;

use std::time::Duration;

use lab::{Handle, Plan, node, stop, until};
use socktree_kernel::{Reason, Source};

/// Longer than any test runs.
const NEVER: Duration = Duration::from_secs(86_400);

#[test]
fn a_timer_sends_in_its_owners_name() {
    let node = node(2);
    let (owner, target) = (Handle::new(&node), Handle::new(&node));
    let (own, to) = (owner.pid(), target.pid());
    owner.run(move |ctx| {
        ctx.send_after(to, 7_u64, Duration::from_millis(1));
    });
    assert_eq!(target.number(), (Source::Process(own), 7));
    stop(&node);
}

/// Their order among different times is tested where there is no clock.
#[test]
fn timers_of_growing_times_fire_in_order() {
    let node = node(1);
    let owner = Handle::new(&node);
    owner.run(|ctx| {
        for n in 0..50 {
            ctx.send_after(ctx.pid(), n, Duration::from_micros(n * 100));
        }
    });
    for n in 0..50 {
        assert_eq!(owner.number().1, n);
    }
    stop(&node);
}

/// Set by a thread that is not the worker's, which may fire it before the call returns.
#[test]
fn no_timer_is_lost_when_it_is_due_at_once() {
    let node = node(1);
    for _ in 0..3_000 {
        let plan = Plan::init(|ctx| {
            for n in 0..4_u64 {
                ctx.send_after(ctx.pid(), n, Duration::ZERO);
            }
            Ok(())
        });
        let process = plan.start(&node).expect("it starts");
        for n in 0..4 {
            assert_eq!(process.number().1, n);
        }
        process.tell(|_| Err(Reason::Normal));
    }
    stop(&node);
}

#[test]
fn a_cancelled_timer_never_fires() {
    let node = node(1);
    let owner = Handle::new(&node);
    owner.run(|ctx| {
        let timer = ctx.send_after(ctx.pid(), 1_u64, NEVER);
        assert!(ctx.cancel(timer), "it had not fired");
        assert!(!ctx.cancel(timer), "and is no more");
    });
    assert_eq!(node.info().timers, 0);
    let timer = owner.run(|ctx| ctx.send_after(ctx.pid(), 2_u64, Duration::ZERO));
    assert_eq!(owner.number().1, 2);
    assert!(!owner.run(move |ctx| ctx.cancel(timer)), "it had fired");
    stop(&node);
}

/// Cancelling tells the truth even when the timer is due: either it says so, or it fires.
#[test]
fn a_cancel_tells_the_truth() {
    let node = node(1);
    let owner = Handle::new(&node);
    let mut fired = 0;
    for n in 0..3_000_u64 {
        let cancelled = owner.run(move |ctx| {
            let timer = ctx.send_after(ctx.pid(), n, Duration::from_nanos(n % 3));
            // Its worker goes on meanwhile, under another thread.
            if n % 100 == 0 {
                ctx.blocking(std::thread::yield_now);
            }
            ctx.cancel(timer)
        });
        if !cancelled {
            assert_eq!(owner.number().1, n);
            fired += 1;
        }
    }
    owner.run(|_| ());
    assert!(
        owner.noted().is_none(),
        "{fired} fired, and one that was cancelled"
    );
    stop(&node);
}

#[test]
fn only_its_owner_cancels_a_timer() {
    let node = node(1);
    let (owner, other) = (Handle::new(&node), Handle::new(&node));
    let timer = owner.run(|ctx| ctx.send_after(ctx.pid(), 1_u64, NEVER));
    assert!(!other.run(move |ctx| ctx.cancel(timer)));
    assert_eq!(node.info().timers, 1);
    assert!(owner.run(move |ctx| ctx.cancel(timer)));
    stop(&node);
}

/// G04: a timer is nobody else's after its owner's end.
#[test]
fn timers_end_with_their_owner() {
    let node = node(2);
    let (owner, target) = (Handle::new(&node), Handle::new(&node));
    let to = target.pid();
    owner.run(move |ctx| {
        for n in 0..1_000 {
            ctx.send_after(to, n, NEVER);
        }
    });
    assert_eq!(node.info().timers, 1_000);
    owner.tell(|_| Err(Reason::Normal));
    owner.end();
    assert_eq!(node.info().timers, 0);
    target.run(|_| ());
    assert!(target.noted().is_none());
    stop(&node);
}

/// G01: nothing is left of what was cancelled.
#[test]
fn a_hundred_thousand_cancelled_timers_leave_nothing() {
    let node = node(1);
    let owner = Handle::new(&node);
    owner.run(|ctx| {
        let timers: Vec<_> = (0..100_000)
            .map(|n| ctx.send_after(ctx.pid(), n, NEVER))
            .collect();
        assert!(timers.into_iter().all(|timer| ctx.cancel(timer)));
    });
    assert_eq!(node.info().timers, 0);
    stop(&node);
}

/// G03: the end of time is no reason to panic.
#[test]
fn the_longest_delay_is_never() {
    let node = node(1);
    let owner = Handle::new(&node);
    let timer = owner.run(|ctx| ctx.send_after(ctx.pid(), 1_u64, Duration::MAX));
    assert_eq!(node.info().timers, 1);
    assert!(owner.run(move |ctx| ctx.cancel(timer)));
    stop(&node);
}

/// A target that is no more, or does not take the message, is nobody's trouble.
#[test]
fn what_cannot_be_delivered_is_dropped() {
    struct Foreign;
    let node = node(1);
    let (owner, dead) = (Handle::new(&node), Handle::new(&node));
    let to = dead.pid();
    dead.tell(|_| Err(Reason::Normal));
    dead.end();
    owner.run(move |ctx| {
        ctx.send_after(to, 1_u64, Duration::ZERO);
        ctx.send_after("nobody", 1_u64, Duration::ZERO);
        ctx.send_after(ctx.pid(), Foreign, Duration::ZERO);
    });
    until("they have fired", || node.info().timers == 0);
    owner.run(|_| ());
    stop(&node);
}
