//! How long a handler that blocks holds up the others: round trips of one owner while another, on the
//! same and only worker, sleeps for a second.
//!
//! ```text
//! cargo run --release -p socktree-bench --bin blocked-neighbour -- [ROUNDS] [SLEEP_MS] [blocking]
//!     [--workers N]
//! ```
//!
//! With the word `blocking` the sleep is announced by `ctx.blocking`; without, the watchdog has to
//! notice. With `--workers` there are several, and the two owners live on the first two of them,
//! which may share a thread. Prints the median and the longest round trip with and without the sleep.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its result")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use socktree::{Actor, Ctx, Flow, Source, TcpEvent, TcpServer};

/// Answers at once, or after a sleep.
struct Owner {
    sleep: Option<Duration>,
    announced: bool,
    listening: Sender<SocketAddr>,
}

impl Actor for Owner {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let server = ctx.spawn_meta(TcpServer::bind("127.0.0.1:0"))?;
        self.listening.send(server.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        let TcpEvent::Data { conn, data } = event else {
            return Ok(());
        };
        match self.sleep {
            Some(sleep) if self.announced => ctx.blocking(|| thread::sleep(sleep)),
            Some(sleep) => thread::sleep(sleep),
            None => {}
        }
        conn.write(data);
        Ok(())
    }
}

fn round_trip(stream: &mut TcpStream) -> io::Result<Duration> {
    let began = Instant::now();
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])?;
    Ok(began.elapsed())
}

/// The median and the longest of round trips made until `done`.
fn measure(
    quick: &mut TcpStream,
    mut done: impl FnMut() -> bool,
) -> io::Result<(Duration, Duration)> {
    let mut times = Vec::new();
    while !done() {
        times.push(round_trip(quick)?);
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times[times.len() - 1]))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut workers = 1;
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--workers" {
            let count = arguments.next().ok_or("--workers needs a number")?;
            workers = count.parse()?;
        } else {
            words.push(argument);
        }
    }
    let mut arguments = words.into_iter();
    let rounds: u32 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let sleep = Duration::from_millis(arguments.next().map_or(Ok(1000), |text| text.parse())?);
    let announced = arguments.next().is_some_and(|word| word == "blocking");

    let node = socktree::node("bench@localhost").workers(workers).start()?;
    let (listening, listens) = channel();
    let quick = Owner {
        sleep: None,
        announced: false,
        listening: listening.clone(),
    };
    node.spawn(quick)?;
    let mut quick = TcpStream::connect(listens.recv()?)?;
    node.spawn(Owner {
        sleep: Some(sleep),
        announced,
        listening,
    })?;
    let slow = listens.recv()?;
    quick.set_nodelay(true)?;
    round_trip(&mut quick)?;

    let until = Instant::now() + sleep;
    let (median, longest) = measure(&mut quick, || Instant::now() >= until)?;
    println!("nobody sleeps: median {median:?}, longest {longest:?}");
    for round in 1..=rounds {
        let mut asleep = TcpStream::connect(slow)?;
        asleep.write_all(b"x")?;
        let answered = thread::spawn(move || asleep.read_exact(&mut [0; 1]).map(|()| asleep));
        let (median, longest) = measure(&mut quick, || answered.is_finished())?;
        println!("round {round}, another sleeps: median {median:?}, longest {longest:?}");
        drop(answered.join());
    }
    node.stop()?;
    Ok(())
}
