//! Ten supervised workers under load, one of which is killed again and again: no message reaches
//! another incarnation than it was sent to, and nothing is left behind.
//!
//! Here the next kill comes when the load has got somewhere. `SOCKTREE_CHAOS_SECONDS=60` makes it
//! the campaign: one kill every 100 ms, for as long.
#![expect(clippy::print_stdout, reason = "a campaign tells its figures")]

#[path = "common/lab.rs"]
mod lab;

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{node, stop, until};
use socktree_kernel::{
    Actor, Alias, CallError, ChildSpec, Ctx, Flow, Node, Pid, Reason, Reply, SendError, Source,
    SpawnOptions, Supervisor, protocol,
};

const WORKERS: usize = 10;
const KILLS: u64 = 200;

/// For this incarnation, by whatever address it was found.
struct To(Pid);
/// For whoever has the name.
struct Any;
/// Answered with the number and an alias of who has the name.
struct Who(Reply<(Pid, Alias)>);
struct Tick;
protocol! {
    /// What a worker takes.
    enum Msg { To(To), Any(Any), Who(Who), Tick(Tick) }
}

#[derive(Default)]
struct Score {
    handled: AtomicU64,
    strays: AtomicU64,
}

/// Has an alias, timers, a monitor and a link: all that can be left behind.
struct Worker {
    score: Arc<Score>,
    alias: Option<Alias>,
}

impl Actor for Worker {
    type Msg = Msg;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        self.alias = Some(ctx.create_alias());
        ctx.create_alias();
        ctx.send_after(ctx.pid(), Tick, Duration::from_secs(3_600));
        ctx.monitor("anchor")?;
        ctx.link("anchor")?;
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: Msg) -> Flow {
        self.score.handled.fetch_add(1, Ordering::Relaxed);
        match message {
            Msg::To(To(pid)) if pid != ctx.pid() => {
                self.score.strays.fetch_add(1, Ordering::Relaxed);
            }
            Msg::Who(Who(reply)) => {
                let alias = self.alias.expect("it was made in init");
                reply.send((ctx.pid(), alias));
            }
            Msg::To(_) | Msg::Any(Any) | Msg::Tick(Tick) => {}
        }
        Ok(())
    }
}

/// Sends for as long as it may, by name, number and alias, and calls.
fn load(node: &Node, names: &[String], is_over: &AtomicBool) {
    let mut known: Vec<Option<(Pid, Alias)>> = vec![None; names.len()];
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let (n, name) = (n % names.len(), &names[n % names.len()]);
        let _nobody = node.send(&**name, Any);
        match known[n] {
            // Addresses are kept until nobody is there any more.
            Some((pid, alias)) => {
                let by_pid = node.send(pid, To(pid));
                let by_alias = node.send(alias, To(pid));
                if matches!(
                    by_alias,
                    Err(SendError::Unknown(_) | SendError::Terminated(_))
                ) {
                    assert!(
                        node.send(pid, To(pid)).is_err(),
                        "alias and number go together"
                    );
                    known[n] = None;
                }
                drop(by_pid);
            }
            None => match node.call(&**name, Who, Duration::from_secs(60)) {
                Ok(who) => known[n] = Some(who),
                Err(CallError::Timeout) => panic!("a call that nobody can answer ends at once"),
                Err(_) => {}
            },
        }
    }
}

#[test]
fn workers_are_killed_under_load() {
    let seconds = env::var("SOCKTREE_CHAOS_SECONDS").ok();
    let seconds: Option<u64> = seconds.and_then(|seconds| seconds.parse().ok());
    let node = node(2);
    let anchor = Supervisor::one_for_one();
    let options = SpawnOptions::new().name("anchor");
    node.spawn_with(anchor, options).unwrap();
    let names: Vec<_> = (0..WORKERS).map(|n| format!("worker_{n}")).collect();
    let score = Arc::<Score>::default();
    let many = Supervisor::one_for_one().intensity(usize::MAX - 1, Duration::from_secs(1));
    let tree = names.iter().fold(many, |tree, name| {
        let score = Arc::clone(&score);
        let worker = ChildSpec::new(&**name, move || Worker {
            score: Arc::clone(&score),
            alias: None,
        });
        // The load is faster than a debug build handles it.
        tree.child_spec(worker.options(SpawnOptions::new().mailbox(1_000)))
    });
    node.spawn(tree).unwrap();
    let before = node.info();

    let is_over = AtomicBool::new(false);
    let mut kills = 0;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| load(&node, &names, &is_over));
        }
        let began = Instant::now();
        let mut pace = began;
        let lasts = |kills: u64| match seconds {
            Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
            None => kills < KILLS,
        };
        while lasts(kills) {
            let victim = &*names[usize::try_from(kills).unwrap() % WORKERS];
            if seconds.is_some() {
                pace += Duration::from_millis(100);
                let rest = pace.saturating_duration_since(Instant::now());
                // sleep: the pace of the campaign
                thread::sleep(rest);
            } else {
                let handled = score.handled.load(Ordering::Relaxed);
                let goes_on = || score.handled.load(Ordering::Relaxed) > handled + 100;
                until("the load gets somewhere", goes_on);
            }
            // Nobody else ends it.
            let pid = node
                .whereis(victim)
                .expect("it is back since the last round");
            node.exit(pid, Reason::Kill);
            until("there is another", || {
                node.whereis(victim).is_some_and(|now| now != pid)
            });
            kills += 1;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(score.strays.load(Ordering::Relaxed), 0);
    until("only the living are left", || node.info() == before);
    let handled = score.handled.load(Ordering::Relaxed);
    println!("{kills} kills, {handled} messages, then {:?}", node.info());
    stop(&node);
}
