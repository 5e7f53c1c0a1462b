//! The clients: what they send, when they end, and what they must get back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socktree_reactor::sim::{Link, Peer};
use socktree_tests::Random;

/// How a client came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has everything that it was to get.
    Complete,
    /// The owner ended it. Unless it cut the connection off, or closed in the middle of what we
    /// sent, everything that it wrote before is there.
    Closed,
    /// The client itself went away.
    Left,
    /// The connection was reset, or never came about.
    Cut,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends as fast as it can, ends its direction, and reads to the end.
    Streams,
    /// Waits for the answer to each piece: what is lost is not brought back by more.
    Lockstep,
    /// Resets after so many bytes.
    Resets(usize),
    /// Closes after so many bytes, whatever is on its way.
    Leaves(usize),
    /// Ends its direction after so many bytes, perhaps inside of a message.
    Stops(usize),
}

/// What the owner did with one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    /// Has handled its `Connect`.
    pub(crate) met: bool,
    pub(crate) wrote: usize,
    /// Ended it in good order.
    pub(crate) closed: bool,
    /// Cut it off.
    pub(crate) cut: bool,
}

/// What the owner and the clients know of each other.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By the client's address.
    pub(crate) owners: HashMap<SocketAddr, Owner>,
    /// The node was told to stop, which ends every connection in good order.
    pub(crate) stopping: bool,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) wrong: Vec<String>,
}

/// The ledger, shared by all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    pub(crate) fn get(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    id: usize,
    kind: Kind,
    stream: Vec<u8>,
    /// Where a message ends; the last is the stream's end.
    ends: Vec<usize>,
    sent: usize,
    received: usize,
    half_closed: bool,
    shared: Shared,
}

impl Client {
    /// A client with a stream of messages, each with two bytes of length in front.
    pub(crate) fn new(id: usize, random: &mut Random, shared: &Shared) -> Self {
        let (mut stream, mut ends) = (Vec::new(), vec![0]);
        for _ in 0..1 + random.below(20) {
            let most = 1 << random.below(9);
            let len = random.below(most + 1);
            let len_bytes = u16::try_from(len).expect("at most 257").to_be_bytes();
            stream.extend(len_bytes);
            stream.extend(random.bytes(len));
            ends.push(stream.len());
        }
        let point = random.below(stream.len() + 1);
        let kind = match random.below(8) {
            0..3 => Kind::Streams,
            3..5 => Kind::Lockstep,
            5 => Kind::Resets(point),
            6 => Kind::Leaves(point),
            _ => Kind::Stops(point),
        };
        Self {
            id,
            kind,
            stream,
            ends,
            sent: 0,
            received: 0,
            half_closed: false,
            shared: shared.clone(),
        }
    }

    fn wrong(&self, what: &str) {
        let Self {
            id,
            kind,
            sent,
            received,
            ..
        } = self;
        let text = format!("client {id} ({kind:?}, {sent} sent, {received} received) {what}");
        self.shared.get().wrong.push(text);
    }

    /// Reads what is there, which must be what comes next. False if it was not.
    fn read(&mut self, link: &mut Link<'_>) -> bool {
        let mut buffer = [0; 700];
        let n = link.read(&mut buffer);
        let expected = self.stream.get(self.received..self.received + n);
        let right = expected == Some(&buffer[..n]);
        if !right {
            self.wrong("got other bytes than it sent");
        }
        self.received += n;
        right
    }

    fn over(&self, outcome: Outcome) {
        self.shared.get().outcomes.push(outcome);
    }

    /// How much of the stream is sent at all.
    fn last(&self) -> usize {
        match self.kind {
            Kind::Streams | Kind::Lockstep => self.stream.len(),
            Kind::Resets(point) | Kind::Leaves(point) | Kind::Stops(point) => point,
        }
    }

    fn send(&mut self, link: &mut Link<'_>) {
        let between = self.ends.contains(&self.sent);
        if self.kind == Kind::Lockstep && between && self.received < self.sent {
            return;
        }
        let most = match self.kind {
            // One message at a time, which is answered as a whole.
            Kind::Lockstep => {
                let end = self.ends.iter().find(|end| **end > self.sent);
                end.copied().unwrap_or(self.sent)
            }
            _ => self.last(),
        };
        let piece = 1 + usize::try_from(link.random(600)).unwrap_or(0);
        let end = most.min(self.sent + piece);
        self.sent += link.write(&self.stream[self.sent..end]);
    }

    fn owner(&self, addr: SocketAddr) -> (Owner, bool) {
        let ledger = self.shared.get();
        let owner = ledger.owners.get(&addr).copied().unwrap_or_default();
        (owner, ledger.stopping)
    }

    /// What a reset means for this client.
    fn judge_reset(&self, addr: Option<SocketAddr>, setup: Setup) -> Outcome {
        // The owner may end it while we send; what it does not read makes a reset of that.
        let ours = addr.map(|addr| self.owner(addr));
        match ours {
            Some((owner, stopping)) if owner.closed || owner.cut || stopping => Outcome::Closed,
            Some((owner, _)) if setup.crashes && !owner.met => Outcome::Closed,
            None if self.shared.get().stopping => Outcome::Closed,
            _ => Outcome::Cut,
        }
    }

    /// What the end of the connection means for this client.
    fn judge(&self, addr: SocketAddr, setup: Setup) -> Outcome {
        let (owner, stopping) = self.owner(addr);
        if owner.cut || setup.crashes && !owner.met {
            return Outcome::Closed;
        }
        if setup.may_cut && self.received < owner.wrote {
            return Outcome::Cut;
        }
        if self.received != owner.wrote {
            self.wrong(&format!("lost an answer: {owner:?}"));
        }
        if owner.closed || stopping {
            return Outcome::Closed;
        }
        // Of a message that was cut nothing comes back.
        let whole = self.ends.iter().rev().find(|end| **end <= self.last());
        let due = if setup.framed {
            whole.copied().unwrap_or(0)
        } else {
            self.last()
        };
        if setup.may_cut && self.received < due {
            return Outcome::Cut;
        }
        if self.received != due {
            self.wrong(&format!("was cut short of {due} bytes"));
        }
        Outcome::Complete
    }
}

/// What a client has to know of its server and its system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) framed: bool,
    /// Connections may end by a fault.
    pub(crate) may_cut: bool,
    /// Owners crash, and may do so before they have met a connection that is theirs already.
    pub(crate) crashes: bool,
}

/// A client as the simulation drives it.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) client: Client,
    pub(crate) setup: Setup,
}

impl Peer for Driven {
    fn step(&mut self, link: &mut Link<'_>) {
        let client = &mut self.client;
        if !client.read(link) {
            return link.reset();
        }
        if link.was_refused() || link.was_reset() {
            let outcome = client.judge_reset(link.local_addr(), self.setup);
            return client.over(outcome);
        }
        if link.at_end() {
            if let Some(addr) = link.local_addr() {
                let outcome = client.judge(addr, self.setup);
                client.over(outcome);
            }
            return link.close();
        }
        client.send(link);
        if link.was_reset() {
            // By what was just sent to a side that is gone; there is no further step to see it.
            let outcome = client.judge_reset(link.local_addr(), self.setup);
            return client.over(outcome);
        }
        if client.sent == client.last() {
            match client.kind {
                Kind::Streams | Kind::Stops(_) if !client.half_closed => {
                    client.half_closed = true;
                    link.half_close();
                }
                Kind::Lockstep if client.received == client.sent => {
                    client.over(Outcome::Complete);
                    return link.close();
                }
                Kind::Resets(_) => {
                    client.over(Outcome::Left);
                    return link.reset();
                }
                Kind::Leaves(_) => {
                    client.over(Outcome::Left);
                    return link.close();
                }
                _ => {}
            }
        }
        if link.random(4) == 0 {
            let pause = link.random(200);
            link.sleep(Duration::from_millis(pause));
        }
    }
}
