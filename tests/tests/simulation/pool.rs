//! Supervised workers that crash: each takes its own connections with it and no other.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socktree::{Alias, Node, Reason, Supervisor, TcpEvent};
use socktree_tests::{Probe, Random, Watch};

use crate::client::Shared;
use crate::run::{Habits, echo};

pub(crate) const NAMES: [&str; 3] = ["worker_0", "worker_1", "worker_2"];

/// Starts the workers. Each incarnation behaves by a seed of its own.
pub(crate) fn start(node: &Node, habits: Habits, shared: &Shared, seed: u64) {
    let none = Supervisor::one_for_one().intensity(1000, Duration::from_secs(5));
    let supervisor = (0..).zip(NAMES).fold(none, |supervisor, (n, name)| {
        let shared = shared.clone();
        let incarnation = AtomicU64::new(seed ^ (n << 32));
        supervisor.child(name, move || {
            let seed = incarnation.fetch_add(1, Ordering::Relaxed);
            worker(habits, &shared, Random::new(seed))
        })
    });
    node.spawn(supervisor).expect("children that start");
}

/// A worker that knows whose owner it is, and writes down when it takes them with it.
fn worker(habits: Habits, shared: &Shared, mut random: Random) -> Probe {
    let shared = shared.clone();
    let mut own: HashMap<Alias, SocketAddr> = HashMap::new();
    let mut left = 10 + random.below(40);
    Watch::deaf().probe().on(move |ctx, event| {
        let (alias, addr) = (event.conn().alias(), event.conn().peer_addr());
        let in_order = match event {
            TcpEvent::Connect { .. } => own.insert(alias, addr).is_none(),
            TcpEvent::Disconnect { .. } => own.remove(&alias).is_some(),
            _ => own.contains_key(&alias),
        };
        if !in_order {
            let text = format!("T-11: a stranger's event: {event:?}");
            shared.get().wrong.push(text);
        }
        echo(ctx, event, habits, &shared, &mut random);
        left -= 1;
        if left > 0 {
            return Ok(());
        }
        let mut ledger = shared.get();
        for addr in own.values() {
            ledger.owners.entry(*addr).or_default().cut = true;
        }
        Err(Reason::error("a crash"))
    })
}
