//! Links and monitors: told once, by whatever address, never twice, and nothing is left behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/lab.rs"]
mod lab;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::bounded;
use lab::{Handle, Note, Plan, hear, node, stop, until};
use socktree_kernel::{Node, Reason, RelationError, SpawnError, SpawnOptions, Target};

/// Ends a process in this way and waits until it has.
fn end(process: &Handle, reason: Reason) {
    process.tell(move |_| Err(reason));
    process.end();
}

fn short(node: &Node) -> Handle {
    Plan::default()
        .options(SpawnOptions::new().name("short"))
        .start(node)
        .unwrap()
}

#[test]
fn a_monitor_tells_the_end_by_pid_name_and_alias() {
    let node = node(2);
    let (watcher, target) = (Handle::new(&node), short(&node));
    let alias = target.run(|ctx| ctx.create_alias());
    let pid = target.pid();
    watcher.run(move |ctx| {
        ctx.monitor(pid).unwrap();
        ctx.monitor("short").unwrap();
        ctx.monitor(alias).unwrap();
        assert_eq!(ctx.monitor(pid), Err(RelationError::Exists));
    });
    end(&target, Reason::error("over"));
    let mut told = Vec::new();
    for _ in 0..3 {
        let (target, reason) = watcher.down();
        assert_eq!(reason.to_string(), "over");
        told.push(target);
    }
    for expected in [Target::from(pid), "short".into(), alias.into()] {
        assert!(told.contains(&expected), "{expected} was not told");
    }
    watcher.run(|_| ());
    assert!(watcher.noted().is_none(), "each is told once");
    let again = watcher.run(move |ctx| (ctx.monitor(pid), ctx.monitor("short"), ctx.link(alias)));
    let unknown = Err(RelationError::Unknown);
    assert_eq!(again, (unknown.clone(), unknown.clone(), unknown));
    stop(&node);
}

#[test]
fn a_link_is_one_way() {
    let node = node(2);
    let (watcher, target) = (Handle::new(&node), Handle::new(&node));
    let pid = target.pid();
    watcher.run(move |ctx| ctx.link(pid)).unwrap();
    let own = watcher.pid();
    assert_eq!(
        watcher.run(move |ctx| ctx.link(own)),
        Err(RelationError::ToItself)
    );
    // The watcher's end does nothing to its target.
    end(&watcher, Reason::error("first"));
    let other = Handle::new(&node);
    other.run(move |ctx| ctx.link(pid)).unwrap();
    end(&target, Reason::error("second"));
    assert_eq!(other.end().to_string(), "second");
    stop(&node);
}

/// Unlike in Erlang, and as in Ergo, a link tells a normal end as well.
#[test]
fn a_link_tells_a_normal_end_too() {
    let node = node(1);
    let (watcher, target) = (Handle::new(&node), Handle::new(&node));
    let pid = target.pid();
    watcher.run(move |ctx| ctx.link(pid)).unwrap();
    end(&target, Reason::Normal);
    assert!(matches!(watcher.end(), Reason::Normal));
    stop(&node);
}

#[test]
fn what_is_undone_is_not_told() {
    let node = node(1);
    let (watcher, target) = (Handle::new(&node), Handle::new(&node));
    let pid = target.pid();
    watcher.run(move |ctx| {
        ctx.monitor(pid).unwrap();
        ctx.link(pid).unwrap();
        ctx.demonitor(pid).unwrap();
        ctx.unlink(pid).unwrap();
        assert_eq!(ctx.demonitor(pid), Err(RelationError::NoRelation));
        assert_eq!(ctx.unlink(pid), Err(RelationError::NoRelation));
    });
    assert_eq!(node.info().relations, 0);
    end(&target, Reason::Kill);
    watcher.run(|_| ());
    assert!(watcher.noted().is_none());
    stop(&node);
}

#[test]
fn exits_are_trapped_but_not_the_parents() {
    let node = node(2);
    let parent = Handle::new(&node);
    let child = parent.run(|ctx| {
        let plan = Plan::init(|ctx| {
            ctx.trap_exit(true);
            Ok(())
        });
        let options = SpawnOptions::new().link_parent();
        plan.options(options).start_in(ctx).unwrap()
    });
    let stranger = Handle::new(&node);
    let (pid, from) = (child.pid(), stranger.pid());
    child.run(move |ctx| ctx.link(from)).unwrap();
    stranger.run(move |ctx| ctx.exit(pid, Reason::error("please")));
    let (source, reason) = child.exit();
    assert_eq!((source, &*reason.to_string()), (from.into(), "please"));
    end(&stranger, Reason::Normal);
    assert!(matches!(child.exit(), (source, Reason::Normal) if source == from.into()));
    end(&parent, Reason::error("the end"));
    assert_eq!(child.end().to_string(), "the end");
    stop(&node);
}

#[test]
fn a_parents_signal_cannot_be_trapped_either() {
    let node = node(1);
    let parent = Handle::new(&node);
    let child = parent.run(|ctx| {
        let plan = Plan::init(|ctx| {
            ctx.trap_exit(true);
            Ok(())
        });
        plan.start_in(ctx).unwrap()
    });
    let pid = child.pid();
    parent.run(move |ctx| ctx.exit(pid, Reason::Normal));
    assert!(matches!(child.end(), Reason::Normal));
    stop(&node);
}

/// P-02: whoever watches a target that is just ending is either refused or told.
#[test]
fn p_02_a_watch_is_refused_or_told() {
    let node = node(2);
    let watcher = Handle::new(&node);
    let mut told = 0;
    for _ in 0..2_000 {
        let target = Handle::new(&node);
        let pid = target.pid();
        target.tell(|_| Err(Reason::Normal));
        if watcher.run(move |ctx| ctx.monitor(pid)).is_ok() {
            assert_eq!(watcher.down().0, pid.into());
            told += 1;
        }
        if let Ok(ended) = node.monitor(pid) {
            ended.wait_for(lab::PATIENCE).unwrap();
        }
    }
    assert!(watcher.noted().is_none(), "{told} were told, and one more");
    until("nothing is left", || node.info().relations == 0);
    stop(&node);
}

/// P-02 for names, which unlike pids are used again: the end of one holder is not told to those
/// who watch the next.
#[test]
fn p_02_the_next_holder_of_a_name_has_its_own_watchers() {
    let node = node(2);
    let (next, watcher) = (Handle::new(&node), Handle::new(&node));
    let (pause, paused) = bounded(0);
    let (resume, resumed) = bounded::<()>(0);
    let plan = Plan::terminate(move |_| {
        pause.send(()).unwrap();
        resumed.recv().unwrap();
    });
    let first = plan
        .options(SpawnOptions::new().name("role"))
        .start(&node)
        .unwrap();
    let old = node.monitor("role").unwrap();
    first.tell(|_| Err(Reason::error("the first's end")));
    hear(&paused);
    next.run(|ctx| ctx.register("role")).unwrap();
    watcher.run(|ctx| ctx.monitor("role")).unwrap();
    resume.send(()).unwrap();
    assert_eq!(old.wait().reason.to_string(), "the first's end");
    first.end();
    end(&next, Reason::error("the next one's end"));
    assert_eq!(watcher.down().1.to_string(), "the next one's end");
    stop(&node);
}

/// P-05, S-08: what a process watched is forgotten with it, a hundred thousand times.
#[test]
fn p_05_s_08_short_lives_leave_no_relations() {
    let node = node(2);
    let long = Plan::default()
        .options(SpawnOptions::new().name("long"))
        .start(&node)
        .unwrap();
    let pid = long.pid();
    for _ in 0..1_000 {
        // Most of them live at the same time.
        let all: Vec<_> = (0..100)
            .map(|_| {
                let plan = Plan::init(move |ctx| {
                    ctx.link(pid).unwrap();
                    ctx.monitor(pid).unwrap();
                    ctx.monitor("long").unwrap();
                    Ok(())
                });
                plan.start(&node).unwrap()
            })
            .collect();
        for short in &all {
            short.tell(|_| Err(Reason::Normal));
        }
        for short in &all {
            short.end();
        }
    }
    until("all have ended", || node.info().processes == 1);
    assert_eq!(node.info().relations, 0);
    stop(&node);
}

/// P-05: `terminate` may watch too, and that is forgotten as well.
#[test]
fn p_05_a_watch_from_terminate_is_not_left_behind() {
    let node = node(1);
    let long = Handle::new(&node);
    let pid = long.pid();
    let short = Plan::terminate(move |ctx| ctx.monitor(pid).unwrap())
        .start(&node)
        .unwrap();
    end(&short, Reason::Normal);
    until("it has ended", || node.info().processes == 1);
    assert_eq!(node.info().relations, 0);
    stop(&node);
}

/// P-05 for threads that are no processes.
#[test]
fn p_05_a_watch_from_outside_ends_when_nobody_waits() {
    let node = node(1);
    let long = Handle::new(&node);
    for _ in 0..1_000 {
        drop(node.monitor(&long.address).unwrap());
    }
    assert_eq!(node.info().relations, 0);
    let ended = node.monitor(&long.address).unwrap();
    assert!(ended.wait_for(std::time::Duration::ZERO).is_none());
    end(&long, Reason::error("now"));
    assert_eq!(ended.wait().reason.to_string(), "now");
    stop(&node);
}

/// A spawn that fails says so itself, and does not end the parent that could cope with it.
#[test]
fn a_failed_spawn_is_told_once() {
    let node = node(1);
    let parent = Handle::new(&node);
    parent.run(|ctx| {
        let options = SpawnOptions::new().link_child().monitored();
        let plan = Plan::init(|_| Err(Reason::error("no")));
        match plan.options(options).start_in(ctx) {
            Err(SpawnError::Init(reason)) => assert_eq!(reason.to_string(), "no"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it started"),
        }
    });
    parent.run(|_| ());
    assert!(parent.noted().is_none());
    assert_eq!(node.info().relations, 0);
    stop(&node);
}

/// F06, F13: ends run along a chain and over a fan without recursion, and in linear time.
#[test]
fn long_chains_and_wide_fans_end() {
    let node = node(2);
    let first = Handle::new(&node);
    let mut before = first.pid();
    for _ in 0..20_000 {
        let plan = Plan::init(move |ctx| Ok(ctx.link(before)?));
        before = plan.start(&node).unwrap().pid();
    }
    let last = node.monitor(before).unwrap();
    end(&first, Reason::error("pull"));
    assert_eq!(
        last.wait_for(lab::PATIENCE).unwrap().reason.to_string(),
        "pull"
    );

    let parent = Handle::new(&node);
    parent.run(|ctx| {
        for _ in 0..20_000 {
            let options = SpawnOptions::new().link_parent();
            Plan::default().options(options).start_in(ctx).unwrap();
        }
    });
    assert_eq!(node.info().relations, 20_000);
    end(&parent, Reason::Shutdown);
    until("the fan has ended", || node.info().processes == 0);
    stop(&node);
}

/// Watchers come and go on two threads while the target's name does.
#[test]
fn a_name_that_comes_and_goes_leaves_nothing() {
    let node = node(2);
    let done = Arc::new(AtomicBool::new(false));
    let (holder, watcher) = (Handle::new(&node), Handle::new(&node));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3_000 {
                holder.run(|ctx| {
                    ctx.register("flag").unwrap();
                    ctx.unregister().unwrap();
                });
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            watcher.run(|ctx| {
                for _ in 0..16 {
                    let _no_holder = ctx.monitor("flag");
                }
            });
        }
    });
    watcher.run(|ctx| {
        let _not_watching = ctx.demonitor("flag");
    });
    assert_eq!(node.info().relations, 0);
    while let Some(note) = watcher.noted() {
        assert!(
            matches!(note, Note::Down(_, Reason::Unregistered)),
            "{note:?}"
        );
    }
    stop(&node);
}
