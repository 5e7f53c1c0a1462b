//! Outgoing connections on the simulated system: to peers that answer, to nobody, and to where
//! nothing ever comes back, under faults drawn from a seed (B10, B13 of the fault list).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use socktree::tcp::node_on;
use socktree::{Alias, Conn, DisconnectReason, TcpConnection, TcpEvent, Written};
use socktree_reactor::sim::{Faults, Link, SimOs};
use socktree_tests::{Ask, DEADLINE, Probe, Random, Watch};

const ATTEMPTS: usize = 12;

/// Where an attempt goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Echo,
    Nobody,
    BlackHole,
}

impl Goal {
    fn addr(self) -> SocketAddr {
        SocketAddr::from(([10, 9, 9, self as u8], 7))
    }
}

/// Sends back what comes, until the other side has ended.
fn echo() -> impl FnMut(&mut Link<'_>) + Send {
    let mut pending: Vec<u8> = Vec::new();
    move |link| {
        let mut buffer = [0; 300];
        let n = link.read(&mut buffer);
        pending.extend(&buffer[..n]);
        let n = link.write(&pending);
        pending.drain(..n);
        if link.at_end() && pending.is_empty() {
            link.close();
        }
    }
}

/// A client that expects what it sent and then closes. It is told what it sent.
fn client(told: Receiver<(Conn, Vec<u8>)>) -> (Probe, Watch) {
    let mut back: HashMap<Alias, usize> = HashMap::new();
    let mut sent: HashMap<Alias, Vec<u8>> = HashMap::new();
    let (probe, watch) = Probe::new();
    let probe = probe.on(move |_, event| {
        for (conn, payload) in told.try_iter() {
            sent.insert(conn.alias(), payload);
        }
        let alias = event.conn().alias();
        let (so_far, all) = (back.entry(alias).or_default(), &sent[&alias]);
        if let TcpEvent::Data { data, .. } = event {
            assert_eq!(&all[*so_far..*so_far + data.len()], data, "other bytes");
            *so_far += data.len();
        }
        if *so_far == all.len() {
            event.conn().close();
        }
        Ok(())
    });
    (probe, watch)
}

/// What became of an attempt: the reason, whether it had connected, and whether all came back.
type Ends = Vec<(Goal, DisconnectReason, bool, bool)>;

/// Runs one seed and gives all ends.
fn run(seed: u64, faults: &Faults) -> Ends {
    let sim = SimOs::new(seed, faults.clone());
    sim.on_connect(Goal::Echo.addr(), |_| echo());
    sim.black_hole(Goal::BlackHole.addr());
    let node = node_on("sim@localhost", sim.clone())
        .workers(1)
        .stuck_after(None)
        .start()
        .expect("a simulated node");
    sim.wait_quiescent();

    let mut random = Random::new(seed);
    let payloads: Vec<_> = (0..ATTEMPTS)
        .map(|_| {
            let len = random.below(3000);
            random.bytes(len)
        })
        .collect();
    let (tell, told) = mpsc::channel();
    let (probe, watch) = client(told);
    let owner = node.spawn(probe).expect("nothing can fail in its init");
    let before = node.info();
    let goals = owner.ask(move |ctx| {
        let mut goals = HashMap::new();
        for payload in payloads {
            let goal = [Goal::Echo, Goal::Echo, Goal::Nobody, Goal::BlackHole][random.below(4)];
            let to = TcpConnection::open(goal.addr()).connect_timeout(Duration::from_secs(7));
            let conn = ctx.spawn_meta(to).expect("told later");
            // Before there is a connection, and in pieces.
            for piece in payload.chunks(1 + random.below(1000)) {
                assert_ne!(conn.write(piece.to_vec()), Written::Ended);
            }
            goals.insert(conn.alias(), (goal, payload.len()));
            tell.send((conn, payload)).expect("its script lives");
        }
        goals
    });
    sim.wait_quiescent();
    assert_eq!(sim.open_descriptors(), 0, "descriptors are left");
    assert_eq!(node.info(), before, "something is left");

    let (mut ends, mut connected) = (Vec::new(), HashMap::new());
    while let Some(event) = watch.try_next() {
        let alias = event.conn().alias();
        let (goal, len) = goals[&alias];
        match event {
            TcpEvent::Connect { .. } => drop(connected.insert(alias, 0)),
            TcpEvent::Data { data, .. } => *connected.entry(alias).or_default() += data.len(),
            TcpEvent::ConnectFailed { reason, .. } => ends.push((goal, reason, false, false)),
            TcpEvent::Disconnect { reason, .. } => {
                ends.push((goal, reason, true, connected[&alias] == len));
            }
            _ => {}
        }
    }
    assert!(watch.all_over(), "a Connect without a Disconnect");
    assert!(node.stop().expect("not inside a handler").is_clean());
    ends
}

fn check(seed: u64, faults: &Faults) -> Ends {
    let (tell, told) = mpsc::channel();
    let drawn = faults.clone();
    thread::spawn(move || {
        // Nobody listens once the deadline has passed.
        let _late = tell.send(run(seed, &drawn));
    });
    let ends = told.recv_timeout(DEADLINE);
    let ends = ends.unwrap_or_else(|error| panic!("seed {seed}: no result: {error}"));
    assert_eq!(ends.len(), ATTEMPTS, "seed {seed}: {ends:?}");
    ends
}

#[test]
fn without_faults_every_attempt_ends_as_it_should() {
    for seed in 0..50 {
        for (goal, reason, connected, complete) in check(seed, &Faults::none()) {
            let right = match goal {
                Goal::Echo => matches!(reason, DisconnectReason::Closed) && complete,
                Goal::Nobody => {
                    let refused = std::io::ErrorKind::ConnectionRefused;
                    matches!(reason, DisconnectReason::Io(kind) if kind == refused)
                }
                Goal::BlackHole => matches!(reason, DisconnectReason::ConnectTimeout),
            };
            assert!(right, "seed {seed}: {goal:?}: {reason:?}");
            assert_eq!(connected, goal == Goal::Echo, "seed {seed}: {goal:?}");
        }
    }
}

#[test]
fn with_any_mix_of_faults_every_attempt_ends_once() {
    for seed in 0..200 {
        let faults = Faults::swarm(seed);
        let spared = faults.reset == 0 && faults.clock_gap == 0 && faults.connect_error == 0;
        for (goal, reason, connected, complete) in check(seed, &faults) {
            let right = match goal {
                Goal::Echo => complete || !spared,
                Goal::Nobody | Goal::BlackHole => !connected,
            };
            assert!(right, "seed {seed}: {goal:?}: {reason:?}");
        }
    }
}
