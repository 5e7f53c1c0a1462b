//! Ends that come from another thread at any moment of whatever a process just does.

#[path = "common/lab.rs"]
mod lab;

use std::time::Duration;

use crossbeam_channel::{Sender, bounded, unbounded};
use lab::{Do, Handle, Note, PATIENCE, Plan, Puppet, node, stop, until};
use socktree_kernel::{BlockingMeta, Ctx, Flow, Pid, Reason, Reply, SpawnOptions};

/// So many processes, one after another, by each of so many threads.
const ROUNDS: u64 = 400;
const THREADS: u64 = 3;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// What a process does when its end comes, which never ends by itself.
fn busy(kind: u64, silent: Pid) -> impl FnOnce(&mut Ctx<'_, Puppet>) -> Flow + Send + 'static {
    let keep = |kept: Sender<Reply<u64>>| {
        move |reply| {
            Do::new(move |_| {
                let _nobody_keeps_it = kept.send(reply);
                Ok(())
            })
        }
    };
    move |ctx| {
        let me = ctx.pid();
        let (kept, keeps) = unbounded();
        match kind {
            0 => {
                // Interrupted: whoever waits is told to end, and nobody answers.
                let called = ctx.call(silent, keep(kept), PATIENCE);
                drop(keeps);
                assert!(called.is_err());
            }
            1 => {
                ctx.request(silent, keep(kept), PATIENCE, |_| 0_u64);
                ctx.request(
                    silent,
                    |_: Reply<u64>| Do::new(|_| Ok(())),
                    PATIENCE,
                    |_| 1_u64,
                );
            }
            2 => {
                ctx.send_every(me, 2_u64, Duration::from_millis(1));
                for n in 0..20 {
                    ctx.send_after(me, 3_u64, Duration::from_micros(n * 5));
                }
            }
            3 => {
                let (release, released) = bounded::<()>(0);
                let blocks = BlockingMeta::<u64>::new(move |owner| {
                    while owner.send(4).is_ok() {
                        if released.recv_timeout(Duration::from_micros(50)).is_ok() {
                            break;
                        }
                    }
                    Ok(())
                });
                ctx.spawn_meta(blocks.on_exit(|| drop(release)))?;
            }
            4 => {
                ctx.blocking(std::thread::yield_now);
                ctx.monitor(silent)?;
                ctx.link(silent)?;
                ctx.create_alias();
            }
            _ => ctx.send(me, 5_u64)?,
        }
        Ok(())
    }
}

/// A process has one end, whatever it does and whoever runs it, and leaves nothing: neither timers nor
/// requests, names, aliases, relations nor meta-processes.
#[test]
fn whatever_a_process_does_it_ends_once_and_leaves_nothing() {
    let node = node(2);
    let silent = Handle::new(&node).pid();
    let storm = |thread: u64| {
        let (node, mut dice) = (node.clone(), Dice(thread));
        move || {
            for round in 0..ROUNDS {
                let name = format!("of_{thread}");
                let mut options = SpawnOptions::new().name(name.as_str());
                if dice.roll(3) == 0 {
                    options = options.own_thread();
                }
                let process = Plan::default().options(options).start(&node);
                let process = process.expect("the last of this name is gone");
                let ended = node.monitor(process.pid()).expect("it lives");
                process.tell(busy(dice.roll(6), silent));
                for _ in 0..dice.roll(4) {
                    std::thread::yield_now();
                }
                match dice.roll(3) {
                    0 => node.exit(process.pid(), Reason::Kill),
                    1 => node.exit(name.as_str(), Reason::Shutdown),
                    // Its messages come first: it ends while it is busy with the one before.
                    _ => process.tell(|_| Err(Reason::Normal)),
                }
                // A call that nobody interrupts waits for its answer.
                node.exit(process.pid(), Reason::Kill);
                let down = ended.wait_for(PATIENCE);
                assert!(down.is_some(), "round {round} of {thread}");
                assert!(node.whereis(name.as_str()).is_none());
                let mut ends = 0;
                while let Some(note) = process.noted() {
                    ends += u32::from(matches!(note, Note::Terminated(_)));
                }
                assert_eq!(ends, 1, "round {round} of {thread}");
            }
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|n| std::thread::spawn(storm(n))).collect();
    for thread in threads {
        thread.join().expect("each process ends");
    }
    let info = || node.info();
    until("nothing is left", || {
        let info = info();
        let left = (info.names, info.aliases, info.relations, info.timers);
        info.processes == 1 && left == (0, 0, 0, 0)
    });
    stop(&node);
}
