//! Nodes on the simulated system: the same driver, framing and actors as on real sockets, against
//! peers and faults drawn from a seed, in virtual time.
//!
//! The oracle: every client gets back exactly what it sent up to the end that was reported, each
//! connection has one `Connect` and one `Disconnect`, and when all is over there is no descriptor,
//! no alias and no timer left. A run in which nothing moves any more while somebody still waits has
//! lost a wake-up.

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/pool.rs"]
mod pool;
#[path = "simulation/run.rs"]
mod run;

use std::env;
use std::ops::Range;
use std::sync::mpsc;
use std::thread;

use socktree_reactor::sim::{Fault, Faults};
use socktree_tests::DEADLINE;

use client::Outcome;
use run::{Report, Setting};

/// So many seeds, or those from `SOCKTREE_SEEDS=FROM..TO`: to repeat one, or for a night.
fn seeds(usual: u64) -> Range<u64> {
    let Ok(wanted) = env::var("SOCKTREE_SEEDS") else {
        return 0..usual;
    };
    let (from, to) = wanted.split_once("..").expect("FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Runs one seed on threads of its own, so that one that hangs is found and named.
fn check(setting: Setting) -> Report {
    let seed = setting.seed;
    let (tell, told) = mpsc::channel();
    let running = thread::spawn(move || {
        // Nobody listens once the deadline has passed.
        let _late = tell.send(run::run(&setting));
    });
    let report = told.recv_timeout(DEADLINE);
    let report = report.unwrap_or_else(|error| panic!("seed {seed}: no result: {error}"));
    running.join().expect("it has sent its report");
    assert!(report.wrong.is_empty(), "seed {seed}: {:#?}", report.wrong);
    report
}

#[test]
fn without_faults_everything_is_complete() {
    for seed in seeds(40) {
        let report = check(Setting::new(seed, Faults::none()));
        let complete = |outcome: &Outcome| !matches!(outcome, Outcome::Cut);
        assert!(report.outcomes.iter().all(complete), "seed {seed}");
    }
}

#[test]
fn with_any_mix_of_faults_nothing_is_lost_or_left() {
    let mut met = [0; 5];
    for seed in seeds(200) {
        let report = check(Setting::new(seed, Faults::swarm(seed)));
        let kinds = [
            Fault::PartialRead,
            Fault::PartialWrite,
            Fault::Spurious,
            Fault::Reset,
            Fault::AcceptStarved,
        ];
        for (met, fault) in met.iter_mut().zip(kinds) {
            *met += report.sim.injected(fault);
        }
    }
    assert!(met.iter().all(|count| *count > 0), "{met:?}");
}

/// I01: told to stop in the middle, the node delivers what was written and leaves nothing.
#[test]
fn a_stop_in_the_middle_loses_nothing() {
    for seed in seeds(200) {
        for faults in [Faults::none(), Faults::swarm(seed)] {
            let setting = Setting {
                stops: true,
                ..Setting::new(seed, faults)
            };
            check(setting);
        }
    }
}

/// F03, F04, T-11: workers crash all the time. Their connections end with them; all others are
/// complete, and no incarnation hears of its predecessor's.
#[test]
fn crashing_workers_take_their_own_connections_alone() {
    let mut ended = 0;
    for seed in seeds(200) {
        for faults in [Faults::none(), Faults::swarm(seed)] {
            let setting = Setting {
                pool: true,
                stops: seed % 4 == 0,
                ..Setting::new(seed, faults)
            };
            let outcomes = check(setting).outcomes;
            ended += outcomes.iter().filter(|o| **o == Outcome::Closed).count();
        }
    }
    assert!(ended > 0, "no worker ever crashed with a connection");
}

/// Few descriptors: those who find none wait until others have gone, and are served then (A01).
#[test]
fn with_few_descriptors_everybody_gets_a_turn() {
    for seed in seeds(40) {
        let setting = Setting {
            descriptors: Some(4),
            ..Setting::new(seed, Faults::none())
        };
        let report = check(setting);
        assert!(!report.outcomes.contains(&Outcome::Cut), "seed {seed}");
    }
}

/// A seed that found something can be run again.
#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in seeds(20) {
        let [first, second] =
            [(); 2].map(|()| check(Setting::new(seed, Faults::swarm(seed))).fingerprint);
        assert_eq!(first, second, "seed {seed}");
    }
}
