//! TLS on the simulated system: records cut anywhere, connections that end, break or stall at any
//! byte of a handshake, in virtual time (E01, E03, E04, E08 of the fault lists).
//!
//! The oracle: what a client gets back is a beginning of what it sent, and all of it where nothing
//! was cut; when all is over no descriptor, alias, timer, process or place for a handshake is left.

use std::env;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socktree::tcp::node_on;
use socktree::tls::{PeerEnd, TlsSession, Versions};
use socktree::{CertManager, ClientTls, Framing, LengthPrefix, TcpServer};
use socktree_reactor::sim::{Faults, Link, Peer, SimOs};
use socktree_tests::{Ask, Authority, Probe, Random, Served};

const CLIENTS: usize = 10;

/// What a client does, where counted in bytes of ciphertext that it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Sends everything, ends in good order, and reads to the end.
    Streams,
    /// Ends its direction of the socket after so many bytes, without a word.
    Stops(usize),
    /// Resets after so many bytes.
    Resets(usize),
    /// Says nothing more after so many bytes, and waits for the other side to end.
    Stalls(usize),
}

/// How a client came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    /// It went away itself, or stalled and was sent away.
    Ended,
    /// The connection was reset, or never came about.
    Cut,
}

#[derive(Clone, Debug, Default)]
struct Ledger(Arc<Mutex<(Vec<Outcome>, Vec<String>)>>);

impl Ledger {
    fn over(&self, outcome: Outcome) {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.0.push(outcome);
    }

    fn wrong(&self, what: String) {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.1.push(what);
    }
}

struct Client {
    kind: Kind,
    session: TlsSession,
    stream: Vec<u8>,
    /// How much of the stream the session has taken.
    written: usize,
    received: usize,
    /// Ciphertext that was sent.
    sent: usize,
    closed: bool,
    ended: bool,
    ledger: Ledger,
}

impl Client {
    fn new(kind: Kind, tls: &ClientTls, random: &mut Random, ledger: &Ledger) -> Self {
        let mut stream = Vec::new();
        for _ in 0..1 + random.below(12) {
            let most = 1 << random.below(12);
            let len = random.below(most);
            stream.extend(u16::try_from(len).expect("at most 2048").to_be_bytes());
            stream.extend(random.bytes(len));
        }
        let session = tls.session("localhost", Instant::now());
        Self {
            kind,
            session: session.expect("a right name"),
            stream,
            written: 0,
            received: 0,
            sent: 0,
            closed: false,
            ended: false,
            ledger: ledger.clone(),
        }
    }

    /// Takes what has arrived. False after a fault that nobody had injected.
    fn read(&mut self, link: &mut Link<'_>) -> bool {
        let mut plain = [0; 500];
        loop {
            let got = if self.session.has_more() {
                self.session.read(&mut plain)
            } else if self.session.wants_read() {
                let mut sealed = [0; 700];
                let n = link.read(&mut sealed[..self.session.room().min(700)]);
                if n == 0 {
                    return true;
                }
                self.session.receive(&mut sealed[..n], &mut plain)
            } else {
                return true;
            };
            let n = match got {
                Ok(n) => n,
                Err(error) => {
                    self.ledger.wrong(format!("{:?}: {error}", self.kind));
                    return false;
                }
            };
            let expected = self.stream.get(self.received..self.received + n);
            if expected != Some(&plain[..n]) {
                self.ledger
                    .wrong(format!("{:?}: other bytes than it sent", self.kind));
                return false;
            }
            self.received += n;
        }
    }

    /// How much ciphertext it sends at most.
    fn last(&self) -> usize {
        match self.kind {
            Kind::Streams => usize::MAX,
            Kind::Stops(at) | Kind::Resets(at) | Kind::Stalls(at) => at,
        }
    }

    fn send(&mut self, link: &mut Link<'_>) {
        let piece = 1 + usize::try_from(link.random(900)).unwrap_or(0);
        let end = self.stream.len().min(self.written + piece);
        let more = &self.stream[self.written..end];
        self.written += self.session.write(more).expect("a live session");
        if self.written == self.stream.len() && !self.closed && !self.session.is_handshaking() {
            self.closed = true;
            self.session.close().expect("a live session");
        }
        let output = self.session.output();
        let n = output.len().min(self.last() - self.sent);
        let n = link.write(&output[..n]);
        self.session.sent(n);
        self.sent += n;
    }

    /// The other side has ended.
    fn judge(&mut self) {
        if self.kind != Kind::Streams {
            return self.ledger.over(Outcome::Ended);
        }
        let told = self.session.receive_eof().map(|()| self.session.peer_end());
        let complete = self.received == self.stream.len();
        self.ledger.over(match told {
            Ok(Some(PeerEnd::Closed)) if complete => Outcome::Complete,
            // An end in good order is none if something is missing.
            Ok(Some(PeerEnd::Closed)) => {
                let Self {
                    received, stream, ..
                } = self;
                let what = format!("an end after {received} of {} bytes", stream.len());
                self.ledger.wrong(what);
                Outcome::Cut
            }
            _ => Outcome::Cut,
        });
    }
}

impl Peer for Client {
    fn step(&mut self, link: &mut Link<'_>) {
        if link.was_refused() || link.was_reset() {
            return self.ledger.over(Outcome::Cut);
        }
        if !self.read(link) {
            self.ledger.over(Outcome::Cut);
            return link.reset();
        }
        if link.at_end() {
            self.judge();
            return link.close();
        }
        self.send(link);
        if link.was_reset() {
            return self.ledger.over(Outcome::Cut);
        }
        if self.sent == self.last() {
            match self.kind {
                Kind::Resets(_) => {
                    self.ledger.over(Outcome::Ended);
                    return link.reset();
                }
                Kind::Stops(_) if !self.ended => {
                    self.ended = true;
                    link.half_close();
                }
                _ => {}
            }
        }
        if self.closed && !self.ended && self.session.output().is_empty() {
            self.ended = true;
            link.half_close();
        }
        if link.random(4) == 0 {
            let pause = link.random(200);
            link.sleep(Duration::from_millis(pause));
        }
    }
}

fn certs(seed: u64, authority: &Authority) -> CertManager {
    // No look at the certificates but the first: time would never stand still.
    let certs = authority.server().poll_every(Duration::MAX);
    // Every other time some have to make room for others.
    let places = if seed.is_multiple_of(2) { 1024 } else { 6 };
    let certs = certs.max_handshakes(places).build();
    certs.expect("a right pair")
}

/// What is left of a run, and what should be.
fn inspect(seed: u64, sim: &SimOs, served: Served, stay: usize) {
    assert_eq!(sim.live_peers(), stay, "seed {seed}: somebody waits");
    assert_eq!(sim.open_descriptors(), 1 + stay, "seed {seed}");
    assert_eq!(served.node.info().timers, 0, "seed {seed}");
    served.stop();
    assert_eq!(sim.open_descriptors(), 0, "seed {seed}");
}

/// One run; returns how many clients got everything.
fn run(seed: u64, faults: Faults, authority: &Authority) -> usize {
    let quiet = faults.reset == 0 && faults.accept_error == 0 && faults.clock_gap == 0;
    let mut random = Random::new(seed);
    let sim = SimOs::new(seed, faults);
    let versions = match random.below(2) {
        0 => Versions::Tls12,
        _ => Versions::Tls13,
    };
    let certs = certs(seed, authority);
    let tls = ClientTls::builder().roots(authority.roots());
    let tls = tls.versions(versions).build().expect("roots are there");
    let framing: Framing = if random.below(2) == 0 {
        Framing::raw()
    } else {
        let prefix = LengthPrefix::u16_be().strip(false);
        prefix.build().expect("a valid framing")
    };
    let credit = u32::try_from(1 + random.below(2000)).expect("it is small");
    let server = TcpServer::bind("10.1.1.1:7")
        .tls(&certs)
        .framing(framing)
        .read_credit(credit);
    let node = node_on("sim@localhost", sim.clone())
        .workers(1)
        .stuck_after(None)
        .start()
        .expect("a simulated node");
    sim.wait_quiescent();
    let served = Served::start_on(node, server, Probe::echo());
    sim.wait_quiescent();

    let ledger = Ledger::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let point = random.below(2500);
            let kind = match random.below(7) {
                0..4 => Kind::Streams,
                4 => Kind::Stops(point),
                5 => Kind::Resets(point),
                _ => Kind::Stalls(point),
            };
            Client::new(kind, &tls, &mut random, &ledger)
        })
        .collect();
    let streams = clients.iter().filter(|c| c.kind == Kind::Streams).count();
    let (dialled, addr) = (sim.clone(), served.addr());
    served.parent.ask(move |_| {
        for client in clients {
            dialled.dial(addr, client);
        }
    });
    sim.wait_quiescent();

    let (outcomes, wrong) = std::mem::take(&mut *ledger.0.lock().expect("nobody has panicked"));
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    let complete = outcomes.iter().filter(|o| **o == Outcome::Complete).count();
    // Those who stall after their handshakes are there for good, as without TLS.
    let stay = served.server.connections();
    assert_eq!(outcomes.len() + stay, CLIENTS, "seed {seed}: {outcomes:?}");
    assert_eq!(certs.handshakes(), 0, "seed {seed}");
    if quiet {
        let crowded = served.server.failed_handshakes();
        let crowded = crowded.iter().find(|(kind, _)| *kind == "crowded-out");
        let crowded = crowded.map_or(0, |(_, count)| usize::try_from(*count).expect("few"));
        let failed = served.server.failed_handshakes();
        assert!(
            complete + crowded >= streams,
            "seed {seed}: {outcomes:?} {failed:?}"
        );
    }
    inspect(seed, &sim, served, stay);
    complete
}

/// So many seeds, or as many as `SOCKTREE_SEEDS` says: for a night.
fn seeds(usual: u64) -> Range<u64> {
    let wanted = env::var("SOCKTREE_SEEDS").ok();
    0..wanted.map_or(usual, |count| count.parse().expect("a number"))
}

#[test]
fn without_faults_everything_is_complete() {
    let authority = Authority::new();
    let run = |seed| run(seed, Faults::none(), &authority);
    let complete: usize = seeds(30).map(run).sum();
    assert!(complete > 100, "{complete}");
}

#[test]
fn with_any_mix_of_faults_nothing_is_lost_or_left() {
    let authority = Authority::new();
    let run = |seed| run(seed, Faults::swarm(seed), &authority);
    let complete: usize = seeds(100).map(run).sum();
    assert!(complete > 100, "{complete}");
}
