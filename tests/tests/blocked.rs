//! How long a handler that blocks holds up the others. Alone in its file, because times are measured.
#![cfg(target_os = "linux")]

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use socktree::tcp::node_on;
use socktree::{Address, Node, TcpEvent};
use socktree_tests::{Ask, Crowded, DEADLINE, Probe, Said, Served, SystemWith, connect, receive};

const SLEEP: Duration = Duration::from_millis(200);

/// What others may notice of it: the watchdog takes 15 ms at most, and handing over next to nothing.
const NOTICED: Duration = Duration::from_millis(20);

/// Noise only lengthens what is measured, so the best of so many rounds tells.
const ROUNDS: usize = 10;

/// How often to look, while there is much to do, whether workers share a thread.
const LOOKS: usize = 300;

/// Answers, and sleeps when it is told to.
struct Owner {
    address: Address<Said>,
    stream: TcpStream,
    asleep: Receiver<ThreadId>,
    awake: Receiver<()>,
}

impl Owner {
    fn start(node: &Node) -> Self {
        let (fall_asleep, asleep) = mpsc::channel();
        let (wake_up, awake) = mpsc::channel();
        let (probe, _) = Probe::new();
        let probe = probe.on(move |_, event| {
            if let TcpEvent::Data { conn, data } = event {
                if data == "sleep" {
                    fall_asleep.send(thread::current().id())?;
                    // sleep: the handler that blocks is what is tested
                    thread::sleep(SLEEP);
                    wake_up.send(())?;
                }
                conn.write(data.clone());
            }
            Ok(())
        });
        let address = node.spawn(probe).expect("it starts");
        let server = address.ask(|ctx| ctx.spawn_meta(Served::any()));
        let stream = connect(server.expect("it listens").local_addr());
        Self {
            address,
            stream,
            asleep,
            awake,
        }
    }

    fn say(&self, word: &[u8]) {
        let mut sender = &self.stream;
        sender.write_all(word).expect("the server reads");
    }

    fn round_trip(&self) -> Duration {
        let began = Instant::now();
        self.say(b"ping");
        assert_eq!(receive(&self.stream, 4), b"ping");
        began.elapsed()
    }

    fn thread(&self) -> ThreadId {
        self.address.ask(|_| thread::current().id())
    }
}

/// The longest round trip with a neighbour, on whatever worker, while the owner on this one sleeps;
/// `None` if they did not share a thread when it fell asleep.
fn round(node: &Node, sleeper: usize) -> Option<Duration> {
    // They start on the workers in turn, so that each worker has two.
    let mut owners: Vec<_> = (0..2 * node.workers())
        .map(|_| Owner::start(node))
        .collect();
    // A few dozen are enough. Where one got no core in time they part, for longer than we wait.
    let together = (0..LOOKS).any(|_| {
        for owner in owners.iter().cycle().take(50) {
            owner.round_trip();
        }
        let first = owners[0].thread();
        owners.iter().all(|owner| owner.thread() == first)
    });
    if !together {
        return None;
    }
    let sleeper = owners.swap_remove(sleeper);
    let threads: Vec<_> = owners.iter().map(Owner::thread).collect();
    sleeper.say(b"sleep");
    let thread = sleeper.asleep.recv_timeout(DEADLINE).expect("it sleeps");
    let mut longest = Duration::ZERO;
    while sleeper.awake.try_recv().is_err() {
        let times = owners.iter().map(Owner::round_trip);
        longest = longest.max(times.max().expect("there are some"));
    }
    threads
        .iter()
        .all(|other| *other == thread)
        .then_some(longest)
}

/// Each round has a node of its own: workers that part because a handler blocks stay so for long.
fn check(workers: usize, sleeper: usize) {
    let mut noticed = Vec::new();
    for _ in 0..ROUNDS {
        let node = node_on("tests@localhost", SystemWith::new(Crowded)).workers(workers);
        let node = node.start().expect("a node");
        let longest = round(&node, sleeper);
        assert!(node.stop().expect("not inside a handler").is_clean());
        if longest.is_some_and(|longest| longest <= NOTICED) {
            return;
        }
        noticed.push(longest);
    }
    panic!("worker {sleeper} of {workers} sleeps, and others wait for {noticed:?}");
}

#[test]
fn others_on_the_worker_do_not_wait() {
    check(1, 0);
}

/// F10: whose thread it is makes no difference, the host's or a guest's.
#[test]
fn others_on_a_shared_thread_do_not_wait() {
    check(2, 0);
    check(2, 1);
}
