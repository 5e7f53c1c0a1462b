//! Meta-processes that block: two halves, one reason, and an end that does not depend on them.

#[path = "common/lab.rs"]
mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lab::{Do, Handle, Note, PATIENCE, Plan, hear, node, stop, until};
use socktree_kernel::{
    BlockingMeta, CallError, Reason, Reply, SendError, Source, SpawnOptions, protocol,
};

/// Something to wait for, and what ends the waiting.
fn gate() -> (Sender<()>, Receiver<()>) {
    bounded(0)
}

#[test]
fn what_it_finds_comes_in_its_name_and_in_order() {
    let node = node(2);
    let owner = Handle::new(&node);
    let alias = owner.run(|ctx| {
        let meta = BlockingMeta::new(|owner| {
            for n in 0..1_000_u64 {
                owner.send(n)?;
            }
            Ok(())
        });
        ctx.spawn_meta(meta).unwrap()
    });
    let parent = owner.pid();
    for n in 0..1_000 {
        assert_eq!(owner.number(), (Source::Meta { alias, parent }, n));
    }
    until("it has ended", || node.metas().is_empty());
    stop(&node);
}

/// M-07: a source that is faster than its owner waits, and loses nothing.
#[test]
fn m_07_a_full_owner_slows_it_down() {
    let node = node(2);
    let options = SpawnOptions::new().mailbox(2);
    let owner = Plan::default().options(options).start(&node).unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let ((release, released), count) = (gate(), Arc::clone(&sent));
    owner.run(move |ctx| {
        let meta = BlockingMeta::new(move |owner| {
            for n in 0..500_u64 {
                owner.send(n)?;
                count.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        ctx.spawn_meta(meta).unwrap();
        let _dropped = ctx.blocking(|| {
            until("it finds no room", || sent.load(Ordering::SeqCst) >= 1);
            assert!(sent.load(Ordering::SeqCst) <= 2);
            drop(release);
            released.recv()
        });
    });
    for n in 0..500 {
        assert_eq!(owner.number().1, n);
    }
    stop(&node);
}

#[test]
fn its_handler_takes_what_is_sent_to_the_alias() {
    struct Double(u64, Reply<u64>);
    struct Fail;
    protocol! {
        enum Ask { Double(Double), Fail(Fail) }
    }
    let node = node(2);
    let (owner, watcher) = (Handle::new(&node), Handle::new(&node));
    let (release, released) = gate();
    let alias = owner.run(move |ctx| {
        let meta = BlockingMeta::<u64>::new(move |_| {
            let _released = released.recv();
            Ok(())
        });
        let handled = meta.handler(10, |meta, _from, message: Ask| {
            match message {
                Ask::Double(Double(n, reply)) => {
                    meta.send(n)?;
                    reply.send(2 * n);
                }
                Ask::Fail(Fail) => return Err(Reason::error("as told")),
            }
            Ok(())
        });
        ctx.spawn_meta(handled).unwrap()
    });
    watcher.run(move |ctx| ctx.monitor(alias).unwrap());
    let double = |reply| Double(4, reply);
    assert_eq!(node.call(alias, double, PATIENCE).unwrap(), 8);
    assert_eq!(owner.number().1, 4);
    let counts = [
        ("messages out", "1".to_owned()),
        ("messages in", "1".to_owned()),
    ];
    let seen = node.inspect(alias).unwrap();
    assert!(counts.iter().all(|count| seen.contains(count)), "{seen:?}");
    let foreign = node.send(alias, "not for it");
    assert!(matches!(foreign, Err(SendError::NotAccepted("not for it"))));
    // It fails while `start` still waits.
    node.send(alias, Fail).ok().unwrap();
    assert_eq!(watcher.down().1.to_string(), "as told");
    let gone = node.call(alias, double, PATIENCE);
    assert!(matches!(gone, Err(CallError::Unknown)));
    drop(release);
    stop(&node);
}

/// What the end has to wait for is unblocked, and waited for, before anyone is told (P-04).
#[test]
fn p_04_an_exit_unblocks_what_blocks() {
    let node = node(2);
    let watcher = Handle::new(&node);
    for by_owner in [true, false] {
        let owner = Handle::new(&node);
        let (release, released) = gate();
        let (closed, closing) = unbounded();
        let alias = owner.run(move |ctx| {
            let meta = BlockingMeta::<u64>::new(move |owner| {
                let _released = released.recv();
                assert!(owner.is_ending());
                closed.send(()).unwrap();
                Ok(())
            });
            ctx.spawn_meta(meta.on_exit(move || drop(release))).unwrap()
        });
        watcher.run(move |ctx| ctx.monitor(alias).unwrap());
        if by_owner {
            owner.tell(|_| Err(Reason::error("the owner's")));
            assert_eq!(owner.end().to_string(), "the owner's");
            assert!(closing.try_recv().is_ok(), "closed before `terminate`");
            assert_eq!(watcher.down().1.to_string(), "the owner's");
        } else {
            node.exit(alias, Reason::Shutdown);
            assert!(matches!(watcher.down().1, Reason::Shutdown));
            assert!(closing.try_recv().is_ok());
        }
    }
    stop(&node);
}

/// M-02: what cannot be unblocked holds nobody up.
#[test]
fn m_02_what_blocks_for_good_ends_all_the_same() {
    let node = node(2);
    let (owner, (release, released)) = (Handle::new(&node), gate());
    let (sent, outcome) = bounded(1);
    owner.run(move |ctx| {
        let meta = BlockingMeta::new(move |owner| {
            let _released = released.recv();
            sent.send(owner.send(1_u64)).unwrap();
            Ok(())
        });
        ctx.spawn_meta(meta).unwrap();
    });
    owner.tell(|_| Err(Reason::Normal));
    owner.end();
    stop(&node);
    drop(release);
    assert!(matches!(hear(&outcome), Err(SendError::Terminated(1))));
}

/// A sender that waits for room hears of the end.
#[test]
fn an_exit_reaches_a_source_that_waits_for_room() {
    let node = node(2);
    let options = SpawnOptions::new().mailbox(1);
    let owner = Plan::default().options(options).start(&node).unwrap();
    let (sent, outcome) = bounded(1);
    owner.run(move |ctx| {
        let meta = BlockingMeta::new(move |owner| {
            sent.send(owner.send(1_u64)).unwrap();
            Ok(())
        });
        let alias = ctx.spawn_meta(meta).unwrap();
        ctx.exit(alias, Reason::Kill);
        // This handler is what fills the mailbox.
        assert!(matches!(hear(&outcome), Err(SendError::Terminated(1))));
    });
    stop(&node);
}

#[test]
fn a_panic_is_its_reason_and_nobody_elses() {
    let node = node(1);
    let (owner, (release, released)) = (Handle::new(&node), gate());
    owner.run(move |ctx| {
        let meta = BlockingMeta::<u64>::new(move |_| {
            let _released = released.recv();
            panic!("in its thread")
        });
        let alias = ctx.spawn_meta(meta).unwrap();
        ctx.trap_exit(true);
        ctx.link(alias).unwrap();
    });
    drop(release);
    assert_eq!(owner.exit().1.to_string(), "panic: in its thread");
    stop(&node);
}

/// M-05: whichever half is first: one reason, one end.
#[test]
fn m_05_both_halves_may_end_it_at_once() {
    struct Stop;
    protocol!(Stop);
    let node = node(2);
    let watcher = Handle::new(&node);
    for _ in 0..200 {
        let (owner, (release, released)) = (Handle::new(&node), gate());
        let alias = owner.run(move |ctx| {
            let meta = BlockingMeta::<u64>::new(move |_| {
                let _released = released.recv();
                Err(Reason::Normal)
            });
            let meta = meta.handler(1, |_, _, Stop: Stop| Err(Reason::Shutdown));
            ctx.spawn_meta(meta).unwrap()
        });
        watcher.run(move |ctx| ctx.monitor(alias).unwrap());
        node.send(alias, Stop).ok().unwrap();
        drop(release);
        let Note::Down(target, reason) = watcher.note() else {
            panic!("one notice");
        };
        assert_eq!(target, alias.into());
        assert!(matches!(reason, Reason::Normal | Reason::Shutdown));
        owner.tell(|_| Err(Reason::Normal));
        owner.end();
    }
    watcher.run(|_| ());
    assert!(watcher.noted().is_none(), "and no second");
    stop(&node);
}

/// What a handler holds: says that it is being dropped, and waits.
struct Slow {
    began: Sender<()>,
    go_on: Receiver<()>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _nobody_looks = self.began.send(());
        let _released = self.go_on.recv();
    }
}

/// P-04, M-05: nobody is told before the handler has returned, and let go of what it held.
#[test]
fn m_05_its_end_waits_for_its_handler() {
    struct Work;
    struct Fail;
    protocol! {
        enum Todo { Work(Work), Fail(Fail) }
    }
    let node = node(2);
    let watcher = Handle::new(&node);
    for by in ["an exit", "its owner", "itself", "its start"] {
        let owner = Handle::new(&node);
        let (worked, works) = bounded(1);
        let (release, released) = gate();
        let (finish, finished) = gate();
        let (began, dropping) = bounded(1);
        let (go_on, goes_on) = gate();
        let alias = owner.run(move |ctx| {
            let meta = BlockingMeta::<u64>::new(move |_| {
                let _finished = finished.recv();
                Ok(())
            });
            let held = Slow {
                began,
                go_on: goes_on,
            };
            let meta = meta.handler(10, move |_, _, todo: Todo| {
                let _held = &held;
                match todo {
                    Todo::Fail(Fail) => Err(Reason::Normal),
                    Todo::Work(Work) => {
                        worked.send(()).unwrap();
                        let _released = released.recv();
                        Ok(())
                    }
                }
            });
            ctx.spawn_meta(meta).unwrap()
        });
        watcher.run(move |ctx| ctx.monitor(alias).unwrap());
        let heard_nothing = || {
            watcher.run(|_| ());
            assert!(watcher.noted().is_none() && owner.noted().is_none(), "{by}");
        };
        node.send(alias, Work).ok().unwrap();
        hear(&works);
        match by {
            "an exit" => node.exit(alias, Reason::Normal),
            "its owner" => node.exit(&owner.address, Reason::Normal),
            "itself" => node.send(alias, Fail).ok().unwrap(),
            _ => drop(finish),
        }
        heard_nothing();
        drop(release);
        hear(&dropping);
        heard_nothing();
        drop(go_on);
        assert!(matches!(watcher.down().1, Reason::Normal));
        if by == "its owner" {
            owner.end();
        } else {
            owner.run(|_| ());
        }
    }
    stop(&node);
}

/// P-08: its owner does not wait for a thread that waits for its owner.
#[test]
fn p_08_a_call_to_an_owner_that_ends_is_answered() {
    let node = node(2);
    let owner = Handle::new(&node);
    let (called, answers) = bounded(1);
    owner.run(|ctx| {
        let meta = BlockingMeta::<u64>::new(move |owner| {
            let ask = |reply: Reply<u64>| {
                Do::new(move |_| {
                    reply.send(1);
                    Ok(())
                })
            };
            called.send(owner.node().call(owner.parent(), ask, PATIENCE))?;
            Ok(())
        });
        ctx.spawn_meta(meta.on_exit(|| ())).unwrap();
        let (node, pid) = (ctx.node(), ctx.pid());
        ctx.blocking(move || {
            let waiting = || {
                node.processes()
                    .iter()
                    .any(|p| p.pid == pid && p.mailbox == 2)
            };
            until("the call waits", waiting);
        });
        ctx.exit(ctx.pid(), Reason::Normal);
    });
    assert!(matches!(hear(&answers), Err(CallError::Ended(_))));
    owner.end();
    stop(&node);
}
