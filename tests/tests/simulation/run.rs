//! One run: a node with an echo on the simulated system, its clients, and a look at what is left.

use std::time::Duration;

use bytes::Bytes;
use socktree::kernel::NodeInfo;
use socktree::tcp::node_on;
use socktree::{
    Conn, Ctx, DisconnectReason, Framing, LengthPrefix, Reason, SpawnOptions, TcpEvent, TcpServer,
    WriteMarks, Written,
};
use socktree_reactor::sim::{Faults, SimOs};
use socktree_tests::{Ask, Do, Probe, Random, Served, Watch};

use crate::client::{Client, Driven, Outcome, Setup, Shared};
use crate::pool;

const CLIENTS: usize = 12;

/// What a run depends on.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) faults: Faults,
    /// How many sockets there may be.
    pub(crate) descriptors: Option<usize>,
    /// The node is told to stop in the middle.
    pub(crate) stops: bool,
    /// Workers own the connections, and crash.
    pub(crate) pool: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sim: SimOs,
    pub(crate) fingerprint: u64,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) wrong: Vec<String>,
}

impl Setting {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            seed,
            faults,
            descriptors: None,
            stops: false,
            pool: false,
        }
    }

    /// Whether a connection may be cut without anybody's doing: by a fault, or by a timeout that
    /// has passed while the process stood still.
    fn may_cut(&self) -> bool {
        let faults = &self.faults;
        faults.reset > 0 || faults.accept_error > 0 || faults.clock_gap > 0
    }
}

/// What the owner does besides echoing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    framed: bool,
    /// Ends a connection, in one way or another, with one message in so many.
    ends: Option<usize>,
    /// Stops reading now and then.
    pauses: bool,
}

/// An echo that writes into the ledger what it has written.
fn owner(habits: Habits, shared: &Shared, mut random: Random) -> (Probe, Watch) {
    let (probe, watch) = Probe::new();
    let shared = shared.clone();
    let probe = probe.on(move |ctx, event| {
        echo(ctx, event, habits, &shared, &mut random);
        Ok(())
    });
    (probe, watch)
}

/// What an owner does with one event.
pub(crate) fn echo(
    ctx: &mut Ctx<'_, Probe>,
    event: &TcpEvent,
    habits: Habits,
    shared: &Shared,
    random: &mut Random,
) {
    let addr = event.conn().peer_addr();
    let TcpEvent::Data { conn, data } = event else {
        shared.get().owners.entry(addr).or_default().met = true;
        return;
    };
    let len = data.len() + if habits.framed { 2 } else { 0 };
    if answer(habits.framed, conn, data.clone()) {
        let mut ledger = shared.get();
        ledger.owners.entry(addr).or_default().wrote += len;
    }
    if habits.ends.is_some_and(|every| random.below(every) == 0) {
        end(ctx, conn, shared, random.below(6));
    }
    if habits.pauses && random.below(8) == 0 {
        let delay = Duration::from_millis(random.below(100) as u64);
        pause(ctx, conn, delay);
    }
}

/// Ends a connection in one of the ways that there are.
fn end(ctx: &mut Ctx<'_, Probe>, conn: &Conn, shared: &Shared, how: usize) {
    let mut ledger = shared.get();
    let owner = ledger.owners.entry(conn.peer_addr()).or_default();
    let cuts = how >= 4;
    owner.cut |= cuts;
    owner.closed |= !cuts;
    drop(ledger);
    match how {
        0 | 1 => conn.close(),
        2 => conn.shutdown_write(),
        3 => ctx.exit(conn, Reason::Normal),
        4 => ctx.exit(conn, Reason::Kill),
        _ => conn.reset(),
    }
}

/// False if the connection had ended.
fn answer(framed: bool, conn: &Conn, data: Bytes) -> bool {
    let written = if framed {
        conn.write_frame(data).expect("it came as one")
    } else {
        conn.write(data)
    };
    written != Written::Ended
}

fn pause(ctx: &mut Ctx<'_, Probe>, conn: &Conn, delay: Duration) {
    conn.pause();
    let conn = conn.clone();
    let resume = Do::new(move |_| {
        conn.resume();
        Ok(())
    });
    ctx.send_after(ctx.pid(), resume, delay);
}

fn server(framed: bool, random: &mut Random) -> TcpServer {
    let framing = if framed {
        let prefix = LengthPrefix::u16_be().strip(true);
        prefix.build().expect("a valid framing")
    } else {
        Framing::raw()
    };
    let marks = WriteMarks {
        low: random.below(200),
        high: 200 + random.below(1000),
        ..WriteMarks::default()
    };
    let credit = u32::try_from(1 + random.below(2000)).expect("it is small");
    TcpServer::bind("10.1.1.1:7")
        .framing(framing)
        .write_marks(marks)
        .read_credit(credit)
        .half_open(false)
}

pub(crate) fn run(setting: &Setting) -> Report {
    let mut random = Random::new(setting.seed);
    let sim = SimOs::new(setting.seed, setting.faults.clone());
    sim.set_descriptor_limit(setting.descriptors);
    let habits = Habits {
        framed: random.below(2) == 0,
        ends: (random.below(3) == 0).then(|| 1 + random.below(20)),
        pauses: random.below(3) == 0,
    };
    // A timer's message is dropped where a mailbox is full, and with it the resumption.
    let bounded = !habits.pauses && random.below(2) == 0;
    let mut options = SpawnOptions::new();
    // The order to stop would be dropped as well.
    if bounded && !setting.stops {
        options = options.mailbox(1 + random.below(8));
    }
    let shared = Shared::default();
    let owner = owner(habits, &shared, Random::new(random.draw()));
    let node = node_on("sim@localhost", sim.clone())
        .workers(1)
        .stuck_after(None)
        .start()
        .expect("a simulated node");
    // One thread acts at a time, so that the seed alone decides.
    sim.wait_quiescent();
    let server = server(habits.framed, &mut random);
    let served = if setting.pool {
        pool::start(&node, habits, &shared, random.draw());
        let server = server.workers(pool::NAMES);
        Served::start_with(node, options, server, owner)
    } else {
        Served::start_with(node, options, server, owner)
    };
    sim.wait_quiescent();
    let before = served.node.info();

    let setup = Setup {
        framed: habits.framed,
        may_cut: setting.may_cut(),
        crashes: setting.pool,
    };
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| Driven {
            client: Client::new(id, &mut random, &shared),
            setup,
        })
        .collect();
    let (dialled, addr) = (sim.clone(), served.addr());
    let stop = setting
        .stops
        .then(|| Duration::from_millis(random.below(1500) as u64));
    let ledger = shared.clone();
    // On the worker's own thread, so that all happens on one.
    served.parent.ask(move |ctx| {
        for client in clients {
            dialled.dial(addr, client);
        }
        if let Some(delay) = stop {
            let stop = Do::new(move |ctx| {
                ledger.get().stopping = true;
                ctx.node().shutdown();
                Ok(())
            });
            ctx.send_after(ctx.pid(), stop, delay);
        }
    });
    sim.wait_quiescent();
    inspect(setting, sim, &shared, served, before)
}

/// Everything is still: what has come of it?
fn inspect(
    setting: &Setting,
    sim: SimOs,
    shared: &Shared,
    served: Served,
    before: NodeInfo,
) -> Report {
    let fingerprint = sim.fingerprint();
    let mut wrong = std::mem::take(&mut shared.get().wrong);
    let mut expect = |right: bool, what: String| {
        if !right {
            wrong.push(what);
        }
    };
    expect(sim.live_peers() == 0, format!("somebody waits: {sim:?}"));
    // A node that has stopped has not even its listener.
    let listeners = if setting.stops { 0 } else { 1 };
    let left = sim.open_descriptors();
    expect(left == listeners, format!("{left} descriptors are left"));
    let info = served.node.info();
    let right = if setting.stops {
        info.processes + info.names + info.aliases + info.relations == 0
    } else {
        info == before
    };
    expect(right, format!("something is left: {info:?}"));
    expect(info.timers == 0, format!("a timer is left: {info:?}"));

    let outcomes = std::mem::take(&mut shared.get().outcomes);
    expect(
        outcomes.len() == CLIENTS,
        format!("not one outcome for each: {outcomes:?}"),
    );
    let cut = outcomes.contains(&Outcome::Cut);
    expect(
        setting.may_cut() || !cut,
        format!("connections were cut without a reason: {outcomes:?}"),
    );
    while let Some(event) = served.watch.try_next() {
        if let TcpEvent::Disconnect { reason, .. } = event {
            let ours = matches!(
                reason,
                DisconnectReason::Malformed(_)
                    | DisconnectReason::SlowConsumer { .. }
                    | DisconnectReason::OwnerDown
                    | DisconnectReason::ParentDown
            );
            expect(!ours, format!("nobody gave cause for {reason:?}"));
        }
    }
    // An owner that has ended hears no more of its connections.
    expect(
        setting.stops || served.watch.all_over(),
        "a Connect without a Disconnect".into(),
    );
    served.stop();
    let left = sim.open_descriptors();
    expect(left == 0, format!("{left} descriptors after the stop"));
    Report {
        sim,
        fingerprint,
        outcomes,
        wrong,
    }
}
