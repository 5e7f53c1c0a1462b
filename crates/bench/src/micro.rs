//! What the kernel costs without a network: the same six measurements, on the same number of messages and
//! counted in the same way, as the peers that `docs/BENCHMARKS.md` compares it with.
//!
//! ```text
//! cargo run --release -p socktree-bench --bin micro -- BENCH [--n N] [--workers W]
//!
//! pingpong      two actors on one worker pass a message to and fro; two messages a round
//! flood1        one thread outside sends N messages, until the actor has handled the last
//! flood4        four threads, N messages in all
//! spawn         an actor starts another, stops it and is told of its end; one after another
//! memory        N actors that have handled one message and are idle: bytes of resident memory each
//! call          an actor asks another on its worker, and asks again when the answer is there
//! call-outside  a thread outside asks an actor and waits
//! call-inside   an actor asks another and waits inside its handler
//! ```
//!
//! One worker unless told otherwise. Prints one line of JSON.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its result")]

use std::error::Error;
use std::fs;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use socktree::kernel::{
    Actor, Address, Ctx, Down, Flow, Node, NodeBuilder, Reason, Reply, Source, SpawnOptions,
    protocol,
};

/// Long enough for a call that nothing holds up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the peers' actors are left alone before their memory is looked at.
const IDLE: Duration = Duration::from_millis(500);

struct Ping(u64);
struct Ask {
    n: u64,
    reply: Reply<u64>,
}
struct Partner(Address<Msg>);
struct Stop;

protocol! {
    enum Msg { Ping(Ping), Ask(Ask), Partner(Partner), Stop(Stop) }
}

/// Does what the peers' actors do: passes on, counts, answers.
#[derive(Default)]
struct Subject {
    got: u64,
    /// How many messages there will be, when nobody gets them back.
    total: u64,
    bounces: bool,
    partner: Option<Address<Msg>>,
    done: Option<Sender<()>>,
}

impl Actor for Subject {
    type Msg = Msg;

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: Msg) -> Flow {
        match message {
            Msg::Partner(Partner(partner)) => self.partner = Some(partner),
            Msg::Ask(Ask { n, reply }) => {
                reply.send(n);
            }
            Msg::Stop(Stop) => return Err(Reason::Normal),
            Msg::Ping(Ping(n)) => {
                self.got += 1;
                let is_last = match &self.partner {
                    None => self.got == self.total,
                    Some(partner) if self.bounces => {
                        ctx.send_to(partner, Ping(n))
                            .map_err(|error| error.map(drop))?;
                        false
                    }
                    Some(_) if n == 0 => true,
                    Some(partner) => {
                        ctx.send_to(partner, Ping(n - 1))
                            .map_err(|error| error.map(drop))?;
                        false
                    }
                };
                if is_last && let Some(done) = self.done.take() {
                    done.send(())?;
                }
            }
        }
        Ok(())
    }
}

/// Starts and stops one child after another.
struct Breeder {
    left: u64,
    done: Sender<()>,
}

struct Begin;
protocol!(Begin);

impl Breeder {
    fn next(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        if self.left == 0 {
            self.done.send(())?;
            return Ok(());
        }
        self.left -= 1;
        let options = SpawnOptions::new().worker(ctx.worker()).monitored();
        let child = ctx.spawn_with(Subject::default(), options)?;
        ctx.send_to(&child, Stop).map_err(|error| error.map(drop))?;
        Ok(())
    }
}

impl Actor for Breeder {
    type Msg = Begin;

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, _: Begin) -> Flow {
        self.next(ctx)
    }

    fn down(&mut self, ctx: &mut Ctx<'_, Self>, _: Down) -> Flow {
        self.next(ctx)
    }
}

/// Asks and asks, and notes how long each answer took.
struct Asker {
    whom: Address<Msg>,
    waits: bool,
    n: u64,
    asked: Instant,
    times: Vec<u32>,
    done: Sender<Vec<u32>>,
}

struct Answer(u64);
protocol! {
    enum AskerMsg { Begin(Begin), Answer(Answer) }
}

impl Asker {
    fn note(&mut self) {
        let took = self.asked.elapsed().as_nanos();
        self.times.push(u32::try_from(took).unwrap_or(u32::MAX));
    }

    fn ask(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let n = self.times.len() as u64;
        if n == self.n {
            self.done.send(std::mem::take(&mut self.times))?;
            return Ok(());
        }
        self.asked = Instant::now();
        let ask = |reply| Ask { n, reply };
        ctx.request_to(&self.whom, ask, PATIENCE, |answer| {
            Answer(answer.unwrap_or(u64::MAX))
        });
        Ok(())
    }

    fn ask_and_wait(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        for n in 0..self.n {
            self.asked = Instant::now();
            let answer = ctx.call_to(&self.whom, |reply| Ask { n, reply }, PATIENCE)?;
            expect(answer, n)?;
            self.note();
        }
        self.done.send(std::mem::take(&mut self.times))?;
        Ok(())
    }
}

impl Actor for Asker {
    type Msg = AskerMsg;

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: AskerMsg) -> Flow {
        match message {
            AskerMsg::Begin(Begin) if self.waits => self.ask_and_wait(ctx),
            AskerMsg::Begin(Begin) => self.ask(ctx),
            AskerMsg::Answer(Answer(n)) => {
                expect(n, self.times.len() as u64)?;
                self.note();
                self.ask(ctx)
            }
        }
    }
}

fn expect(answer: u64, wanted: u64) -> Flow {
    if answer == wanted {
        return Ok(());
    }
    Err(Reason::error(format!("{answer} is no answer to {wanted}")))
}

/// Resident memory of this program, in bytes.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
}

/// CPU time of this program and all its threads.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    now.expect("Linux has this clock").into()
}

/// Wall clock and CPU clock since the beginning.
struct Clocks {
    began: Instant,
    cpu: Duration,
}

impl Clocks {
    fn start() -> Self {
        let (cpu, began) = (cpu(), Instant::now());
        Self { began, cpu }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures to be read")]
    fn rate(&self, n: u64) -> String {
        let (took, cpu) = (self.began.elapsed().as_secs_f64(), self.cpu_each(n));
        let (per_s, each) = (n as f64 / took, took * 1e9 / n as f64);
        format!(
            r#""n":{n},"secs":{took:.4},"per_s":{per_s:.0},"ns_each":{each:.1},"cpu_ns_each":{cpu:.1}"#
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "figures to be read")]
    fn latency(&self, mut times: Vec<u32>) -> String {
        let n = times.len();
        let (cpu, sum) = (
            self.cpu_each(n as u64),
            times.iter().map(|&t| u64::from(t)).sum::<u64>(),
        );
        let mean = sum as f64 / n as f64;
        times.sort_unstable();
        let at = |thousandth: usize| times[(n - 1) * thousandth / 1000];
        let (p50, p99, p999) = (at(500), at(990), at(999));
        format!(
            r#""n":{n},"mean_ns":{mean:.0},"p50_ns":{p50},"p99_ns":{p99},"p999_ns":{p999},"cpu_ns_each":{cpu:.0}"#
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "figures to be read")]
    fn cpu_each(&self, n: u64) -> f64 {
        (cpu() - self.cpu).as_nanos() as f64 / n as f64
    }
}

fn pingpong(node: &Node, n: u64) -> Result<String, Box<dyn Error>> {
    let (done, is_done) = channel();
    let one = node.spawn(Subject {
        done: Some(done),
        ..Subject::default()
    })?;
    let other = Subject {
        bounces: true,
        ..Subject::default()
    };
    let other = node.spawn_with(other, beside(node, &one)?)?;
    one.send(Partner(other.clone()))?;
    other.send(Partner(one))?;
    let clocks = Clocks::start();
    other.send(Ping(n))?;
    is_done.recv()?;
    Ok(clocks.rate(2 * n))
}

fn flood(node: &Node, senders: u64, n: u64) -> Result<String, Box<dyn Error>> {
    let (done, is_done) = channel();
    let total = n / senders * senders;
    let subject = node.spawn(Subject {
        total,
        done: Some(done),
        ..Subject::default()
    })?;
    let clocks = Clocks::start();
    for _ in 0..senders {
        let subject = subject.clone();
        thread::spawn(move || (0..n / senders).try_for_each(|n| subject.send(Ping(n))));
    }
    is_done.recv()?;
    Ok(clocks.rate(total))
}

fn spawn(node: &Node, n: u64) -> Result<String, Box<dyn Error>> {
    let (done, is_done) = channel();
    let breeder = node.spawn(Breeder { left: n, done })?;
    let clocks = Clocks::start();
    breeder.send(Begin)?;
    is_done.recv()?;
    Ok(clocks.rate(n))
}

fn memory(node: &Node, n: u64) -> Result<String, Box<dyn Error>> {
    let before = resident()?;
    let mut keep = Vec::with_capacity(usize::try_from(n)?);
    for _ in 0..n {
        let subject = node.spawn(Subject::default())?;
        subject.send(Ping(1))?;
        keep.push(subject);
    }
    thread::sleep(IDLE);
    let each = (resident()?.saturating_sub(before) + n / 2) / n;
    Ok(format!(r#""n":{n},"bytes_each":{each}"#))
}

fn call(node: &Node, waits: bool, n: u64) -> Result<String, Box<dyn Error>> {
    let (done, is_done) = channel();
    let whom = node.spawn(Subject::default())?;
    let options = beside(node, &whom)?;
    let asker = Asker {
        whom,
        waits,
        n,
        asked: Instant::now(),
        times: Vec::with_capacity(usize::try_from(n)?),
        done,
    };
    let asker = node.spawn_with(asker, options)?;
    let clocks = Clocks::start();
    asker.send(Begin)?;
    Ok(clocks.latency(is_done.recv()?))
}

fn call_outside(node: &Node, n: u64) -> Result<String, Box<dyn Error>> {
    let subject = node.spawn(Subject::default())?;
    let mut times = Vec::with_capacity(usize::try_from(n)?);
    let clocks = Clocks::start();
    for n in 0..n {
        let asked = Instant::now();
        let answer = subject.call(|reply| Ask { n, reply }, PATIENCE)?;
        expect(answer, n).map_err(|reason| reason.to_string())?;
        times.push(u32::try_from(asked.elapsed().as_nanos())?);
    }
    Ok(clocks.latency(times))
}

/// How a process is started on the worker of another.
fn beside(node: &Node, other: &Address<Msg>) -> Result<SpawnOptions, Box<dyn Error>> {
    let other = node.process_info(other).ok_or("it has ended")?;
    Ok(SpawnOptions::new().worker(other.worker))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let bench = arguments.next().ok_or("which BENCH?")?;
    let (mut n, mut workers) = (None, 1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("a value is missing")?;
        match name.as_str() {
            "--n" => n = Some(value.parse()?),
            "--workers" => workers = value.parse()?,
            _ => return Err(format!("what is {name}?").into()),
        }
    }
    let n = n.unwrap_or(match bench.as_str() {
        "flood1" | "flood4" => 2_000_000,
        "spawn" => 50_000,
        "memory" => 100_000,
        _ => 200_000,
    });
    let node = NodeBuilder::new("bench@localhost")
        .workers(workers)
        .start()?;
    let result = match bench.as_str() {
        "pingpong" => pingpong(&node, n)?,
        "flood1" => flood(&node, 1, n)?,
        "flood4" => flood(&node, 4, n)?,
        "spawn" => spawn(&node, n)?,
        "memory" => memory(&node, n)?,
        "call" => call(&node, false, n)?,
        "call-inside" => call(&node, true, n)?,
        "call-outside" => call_outside(&node, n)?,
        _ => return Err(format!("no such bench: {bench}").into()),
    };
    println!(r#"{{"fw":"socktree","bench":"{bench}","rt":"{workers}",{result}}}"#);
    node.stop()?;
    Ok(())
}
