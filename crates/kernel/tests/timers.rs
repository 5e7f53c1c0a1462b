//! Timers: they fire once or are cancelled, and end with their owner.

#[path = "common/lab.rs"]
mod lab;

use std::time::Duration;

use crossbeam_channel::bounded;
use lab::{Do, Handle, Plan, hear, node, stop, until};
use socktree_kernel::{CallError, Reason, Reply, Source};

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

/// Its worker goes on under another thread, which may be asleep by then without a time to wake.
#[test]
fn a_timer_that_a_displaced_thread_sets_fires_meanwhile() {
    let node = node(1);
    let (owner, other) = (Handle::new(&node), Handle::new(&node));
    for n in 0..300_u64 {
        let (fired, fires) = bounded(1);
        let to = other.pid();
        owner.run(move |ctx| {
            // From here on this thread has its process, and no worker.
            ctx.blocking(|| (0..n % 30).for_each(|_| std::thread::yield_now()));
            let ring = Do::new(move |_| {
                fired.send(()).expect("it is waited for");
                Ok(())
            });
            ctx.send_after(to, ring, Duration::from_micros(n % 7));
            hear(&fires);
        });
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

/// G01: nothing is left of what was cancelled, however many there were.
#[test]
fn a_million_cancelled_timers_leave_nothing() {
    let node = node(1);
    let owner = Handle::new(&node);
    for _ in 0..10 {
        owner.run(|ctx| {
            let timers: Vec<_> = (0..100_000)
                .map(|n| ctx.send_after(ctx.pid(), n, NEVER))
                .collect();
            assert!(timers.into_iter().all(|timer| ctx.cancel(timer)));
        });
        assert_eq!(node.info().timers, 0);
    }
    stop(&node);
}

#[test]
fn a_ticker_ticks_until_it_is_cancelled() {
    let node = node(1);
    let owner = Handle::new(&node);
    let timer = owner.run(|ctx| ctx.send_every(ctx.pid(), 1_u64, Duration::ZERO));
    for _ in 0..5 {
        assert_eq!(owner.number(), (Source::Process(owner.pid()), 1));
    }
    assert!(owner.run(move |ctx| ctx.cancel(timer)));
    assert!(!owner.run(move |ctx| ctx.cancel(timer)));
    assert_eq!(node.info().timers, 0);
    while owner.noted().is_some() {}
    owner.run(|_| ());
    assert!(owner.noted().is_none(), "not one more");
    stop(&node);
}

/// Cancelled by its owner on one thread while another fires it: it leaves nothing armed.
#[test]
fn a_ticker_that_is_cancelled_while_it_fires_is_gone() {
    let node = node(1);
    let owner = Handle::new(&node);
    for _ in 0..50 {
        let target = Handle::new(&node);
        let cancelled = owner.run(move |ctx| {
            let timer = ctx.send_every(target.pid(), 1_u64, Duration::from_millis(1));
            // The worker fires it meanwhile, under another thread, and goes on with that.
            ctx.blocking(|| target.number());
            ctx.cancel(timer)
        });
        assert!(cancelled, "a ticker never ends by itself");
        until("it is gone", || node.info().timers == 0);
    }
    stop(&node);
}

#[test]
fn tickers_end_with_their_owner() {
    let node = node(2);
    let (owner, target) = (Handle::new(&node), Handle::new(&node));
    let to = target.pid();
    owner.run(move |ctx| {
        ctx.send_every(to, 1_u64, Duration::from_millis(1));
        ctx.send_every(to, 2_u64, NEVER);
        ctx.send_every(to, 3_u64, Duration::MAX);
    });
    assert_eq!(target.number().1, 1);
    owner.tell(|_| Err(Reason::Normal));
    owner.end();
    until("they are gone", || node.info().timers == 0);
    stop(&node);
}

/// Its clone is its owner's code, and runs where no handler does.
#[test]
fn a_message_that_cannot_be_cloned_ends_the_tickers_owner() {
    struct Once;
    impl Clone for Once {
        fn clone(&self) -> Self {
            panic!("there is only one")
        }
    }
    let node = node(1);
    let owner = Handle::new(&node);
    owner.run(|ctx| {
        ctx.send_every("nobody", Once, Duration::ZERO);
    });
    assert_eq!(owner.end().to_string(), "panic: there is only one");
    stop(&node);
}

#[test]
fn an_exit_comes_after_its_delay_or_not_at_all() {
    let node = node(2);
    let (owner, target) = (Handle::new(&node), Handle::new(&node));
    let to = target.pid();
    target.run(|ctx| ctx.trap_exit(true));
    let never = owner.run(move |ctx| {
        ctx.exit_after(to, Reason::Shutdown, Duration::from_millis(1));
        ctx.exit_after(to, Reason::Kill, NEVER)
    });
    let (from, reason) = target.exit();
    assert_eq!(from, owner.pid().into());
    assert!(matches!(reason, Reason::Shutdown));
    assert!(owner.run(move |ctx| ctx.cancel(never)));
    assert_eq!(node.info().timers, 0);
    owner.run(|ctx| {
        ctx.exit_after(ctx.pid(), Reason::Normal, Duration::ZERO);
    });
    assert!(matches!(owner.end(), Reason::Normal));
    stop(&node);
}

/// The message of a timer that is never set is dropped where its drop may do as it likes.
#[test]
fn a_timer_of_an_ending_process_drops_its_message_unlocked() {
    let node = node(1);
    let (asker, asked) = (Handle::new(&node), bounded(1));
    let plan = Plan::terminate(move |ctx| {
        let reply: Reply<u64> = asked.1.recv().unwrap();
        ctx.send_after("nobody", reply, NEVER);
    });
    let holder = plan.start(&node).unwrap();
    let to = holder.pid();
    let keep = move |reply| {
        asked.0.send(reply).unwrap();
        Do::new(|_| Err(Reason::Normal))
    };
    asker.run(move |ctx| {
        ctx.request(to, keep, NEVER, |answer: Result<u64, CallError>| {
            assert!(answer.is_err());
            "dropped"
        });
    });
    assert_eq!(asker.text().1, "dropped");
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
