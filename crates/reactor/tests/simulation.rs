//! The echo server against hundreds of badly behaved systems.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/echo.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socktree_reactor::ListenOptions;
use socktree_reactor::sim::{Fault, Faults, Link, Peer, SimOs};

use support::{Command, Echo, EchoServer};

/// More turns than any run needs; a run that comes here has lost readiness.
const MOST_TURNS: u32 = 400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    Reset,
    Refused,
}

type Outcomes = Arc<Mutex<Vec<Outcome>>>;

/// Sends a numbered stream and expects it back byte for byte.
///
/// Half of the clients send as fast as they can and end their direction. The others wait for
/// each answer before they go on: readiness that is lost is not brought back by the next
/// arrival, because there is none.
struct Client {
    id: u64,
    length: u64,
    sent: u64,
    received: u64,
    half_closed: bool,
    outcomes: Outcomes,
}

impl Client {
    fn new(id: u64, length: u64, outcomes: &Outcomes) -> Self {
        let outcomes = Arc::clone(outcomes);
        Self {
            id,
            length,
            sent: 0,
            received: 0,
            half_closed: false,
            outcomes,
        }
    }

    /// Every position of every stream has its own byte, as far as bytes go (O4).
    fn byte(&self, at: u64) -> u8 {
        let mixed = (at ^ (self.id << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.to_be_bytes()[0]
    }
}

impl Peer for Client {
    fn step(&mut self, link: &mut Link<'_>) {
        let mut buf = [0; 300];
        let n = link.read(&mut buf);
        for &byte in &buf[..n] {
            assert_eq!(
                byte,
                self.byte(self.received),
                "client {} at {}",
                self.id,
                self.received
            );
            self.received += 1;
        }
        if link.was_refused() || link.was_reset() {
            let outcome = if link.was_refused() {
                Outcome::Refused
            } else {
                Outcome::Reset
            };
            self.outcomes.lock().unwrap().push(outcome);
            return;
        }
        let lockstep = self.id % 2 == 1;
        if !lockstep || self.received == self.sent {
            let chunk: Vec<u8> = (self.sent..self.length.min(self.sent + 300))
                .map(|at| self.byte(at))
                .collect();
            self.sent += link.write(&chunk) as u64;
        }
        if lockstep && self.received == self.length {
            self.outcomes.lock().unwrap().push(Outcome::Complete);
            link.close();
            return;
        }
        if self.sent == self.length && !lockstep && !self.half_closed {
            self.half_closed = true;
            link.half_close();
        }
        if link.at_end() {
            assert_eq!(
                self.received, self.length,
                "client {} was cut short",
                self.id
            );
            self.outcomes.lock().unwrap().push(Outcome::Complete);
            link.close();
        } else if link.random(4) == 0 {
            let pause = link.random(50);
            link.sleep(Duration::from_millis(pause));
        }
    }
}

struct Run {
    sim: SimOs,
    outcomes: Vec<Outcome>,
    server_resets: u64,
}

fn run(seed: u64, faults: Faults, clients: u64, length: u64) -> Run {
    let sim = SimOs::new(seed, faults);
    let mut server = EchoServer::new(sim.clone(), 200);
    let addr = "10.1.1.1:7".parse().unwrap();
    server
        .reactor
        .bind(addr, &ListenOptions::default(), Echo::default())
        .unwrap();
    let outcomes = Outcomes::default();
    for id in 0..clients {
        sim.dial(addr, Client::new(id, length, &outcomes));
    }
    let mut turns = 0;
    while sim.live_peers() > 0 {
        let until = server.reactor.after(Duration::from_secs(3600));
        server.turn(until);
        turns += 1;
        assert!(
            turns < MOST_TURNS,
            "seed {seed}: stuck at {sim:?} with {:?}",
            server.reactor
        );
    }
    // What is left are connections of which the client is gone already.
    while sim.open_descriptors() > 1 {
        let until = server.reactor.after(Duration::from_secs(3600));
        server.turn(until);
        turns += 1;
        assert!(
            turns < MOST_TURNS,
            "seed {seed}: leaks, {sim:?} with {:?}",
            server.reactor
        );
    }
    assert_eq!(server.reactor.stats().sources, 1, "seed {seed}");
    server.reactor.remote().post(Command::Stop).unwrap();
    assert!(
        !server.turn(None),
        "seed {seed}: a command ends a wait without end"
    );
    let server_resets = server.resets;
    drop(server);
    assert_eq!(sim.open_descriptors(), 0, "seed {seed}");
    let outcomes = outcomes.lock().unwrap().clone();
    assert_eq!(
        outcomes.len() as u64,
        clients,
        "seed {seed}: every client ends once"
    );
    Run {
        sim,
        outcomes,
        server_resets,
    }
}

/// H01, H02, A02, A03, A04, B01: bytes are exact and nothing is lost, whatever goes wrong.
#[test]
fn three_hundred_swarms() {
    let mut injected = BTreeMap::new();
    let mut complete = 0;
    let mut lost = 0;
    for seed in 0..300 {
        let mut faults = Faults::swarm(seed);
        if seed % 2 == 0 {
            // Without the faults that end connections every client must be served in full.
            faults.reset = 0;
            faults.accept_error = 0;
        }
        let exact = faults.reset == 0 && faults.accept_error == 0;
        let run = run(seed, faults, 6, 1500);
        for outcome in run.outcomes {
            match outcome {
                Outcome::Complete => complete += 1,
                _ => lost += 1,
            }
            assert!(
                !exact || outcome == Outcome::Complete,
                "seed {seed}: {outcome:?}"
            );
        }
        assert!(!exact || run.server_resets == 0, "seed {seed}");
        for fault in Fault::ALL {
            *injected.entry(fault).or_insert(0) += run.sim.injected(fault);
        }
    }
    assert!(complete > 1200, "{complete} complete");
    assert!(lost > 20, "{lost} lost");
    for (fault, times) in injected {
        let elsewhere = matches!(fault, Fault::ConnectError | Fault::DescriptorLimit);
        assert!(elsewhere || times > 20, "{fault:?} happened {times} times");
    }
}

#[test]
fn the_seed_is_the_run() {
    let digest = |seed| run(seed, Faults::swarm(seed), 6, 700).sim.fingerprint();
    for seed in [1, 7, 19, 23] {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
    assert_ne!(digest(1), digest(7));
}

/// Without faults, as a measure of what the faults above cost.
#[test]
fn a_perfect_system_serves_everybody() {
    let run = run(0, Faults::none(), 100, 10_000);
    assert!(
        run.outcomes
            .iter()
            .all(|&outcome| outcome == Outcome::Complete)
    );
    for fault in Fault::ALL {
        assert_eq!(run.sim.injected(fault), 0);
    }
}
