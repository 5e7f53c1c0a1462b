//! A simulated operating system: seeded, with virtual time and injected faults.
//!
//! [`SimOs`] stands where [`System`](crate::System) stands in production. It holds sockets,
//! buffers and a clock in memory, reports readiness edge by edge as epoll does, and commits
//! at a given rate every fault a real system may commit: see [`Faults`]. Remote ends are
//! state machines ([`Peer`]) that run inside the waits of the system under test.
//!
//! Driven from one thread, a run is a function of its seed, bit by bit
//! ([`SimOs::fingerprint`]). From several threads it is not, but everything else holds.
//!
//! # Time
//!
//! Time stands still while code runs and jumps when everybody waits: a test of a thirty
//! second timeout takes microseconds. A test thread that acts from outside while loops wait
//! with timeouts would always come too late; it takes the clock into its own hands with
//! [`SimOs::set_manual_clock`] and [`SimOs::advance`].
//!
//! # Examples
//!
//! A peer sends five bytes and waits for the answer; the loop below is an echo server that
//! is happy with five bytes.
//!
//! ```
//! use socktree_reactor::sim::{Faults, Link, SimOs};
//! use socktree_reactor::{Event, ListenOptions, Os, ReadOutcome, Reactor};
//!
//! let sim = SimOs::new(42, Faults::none());
//! let mut reactor = Reactor::<_, (), ()>::new(sim.clone())?;
//! let listener = sim.listen("10.1.1.1:7".parse()?, &ListenOptions::default())?;
//! let addr = sim.listener_addr(&listener)?;
//! reactor.listen(listener, ())?;
//!
//! let mut sent = false;
//! sim.dial(addr, move |link: &mut Link<'_>| {
//!     if !sent {
//!         sent = link.write(b"hello") == 5;
//!     }
//!     let mut answer = [0; 8];
//!     if link.read(&mut answer) == 5 {
//!         assert_eq!(&answer[..5], b"hello");
//!         link.close();
//!     }
//! });
//!
//! while sim.live_peers() > 0 {
//!     reactor.poll(None, || true)?;
//!     while let Some(event) = reactor.next_event() {
//!         match event {
//!             Event::Accepted { stream, .. } => drop(reactor.adopt(stream, ())?),
//!             Event::Readable(token) => {
//!                 let mut buffer = [0; 64];
//!                 let mut source = reactor.source(token).expect("it is ready");
//!                 match source.io.read(&mut buffer)? {
//!                     ReadOutcome::Data(n) => drop(source.io.write(&buffer[..n])?),
//!                     ReadOutcome::Eof => drop(reactor.remove(token)),
//!                     ReadOutcome::WouldBlock => {}
//!                 }
//!             }
//!             other => panic!("unexpected: {other:?}"),
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod calls;
mod faults;
mod os;
mod peer;
mod pollers;
mod rng;
mod state;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use faults::{Fault, Faults};
pub use os::{SimListener, SimPoller, SimStream, SimWaker};
pub use peer::{Link, Peer};

use faults::Injector;
use state::State;

/// A simulated operating system; clones are handles to the same one.
#[derive(Clone)]
pub struct SimOs {
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

impl SimOs {
    /// Makes a system whose chances come from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let changed = Arc::new(Condvar::new());
        let state = State::new(Injector::new(seed, faults), Arc::clone(&changed));
        Self {
            state: Arc::new(Mutex::new(state)),
            changed,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that fails while it holds the lock should not hide behind the others'
        // complaints about it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a remote end connect to a listener of the system under test.
    ///
    /// It arrives in the next wait. Nobody listening there is a last step with
    /// [`Link::was_refused`]; a full backlog makes it try again every second.
    pub fn dial(&self, addr: SocketAddr, peer: impl Peer + 'static) {
        self.state().add_peer(Box::new(peer), Some(addr));
    }

    /// Has remote ends answer the system under test at `addr`: `factory` makes one for each
    /// connection, given the address it comes from.
    ///
    /// At addresses with neither a factory nor a listener, connections are refused.
    pub fn on_connect<P: Peer + 'static>(
        &self,
        addr: SocketAddr,
        mut factory: impl FnMut(SocketAddr) -> P + Send + 'static,
    ) {
        let factory = move |from| -> Box<dyn Peer> { Box::new(factory(from)) };
        self.state().factories.insert(addr, Box::new(factory));
    }

    /// Has connection attempts to `addr` never end.
    pub fn black_hole(&self, addr: SocketAddr) {
        self.state().black_holes.push(addr);
    }

    /// Changes the faults from here on, for instance to none, to see that everything owed
    /// arrives in the end.
    pub fn set_faults(&self, faults: Faults) {
        self.state().dice.faults = faults;
    }

    /// How often a fault happened.
    pub fn injected(&self, fault: Fault) -> u64 {
        self.state().dice.counted(fault)
    }

    /// Bounds the sockets the system under test may hold; `None` lifts the bound.
    ///
    /// Beyond it accepts and connects fail with `EMFILE`, and as on a real system nothing
    /// reports when there is room again.
    pub fn set_descriptor_limit(&self, limit: Option<usize>) {
        self.state().descriptor_limit = limit;
    }

    /// Sockets the system under test holds: listeners and streams, not pollers.
    pub fn open_descriptors(&self) -> usize {
        self.state().descriptors
    }

    /// Remote ends that have not finished.
    pub fn live_peers(&self) -> usize {
        self.state().peers.len()
    }

    /// Virtual time since the system was made.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.state().now)
    }

    /// Whether time passes only by [`advance`](Self::advance).
    pub fn set_manual_clock(&self, manual: bool) {
        let mut state = self.state();
        state.manual_clock = manual;
        state.rouse();
    }

    /// Lets time pass, all at once.
    pub fn advance(&self, period: Duration) {
        self.state().advance(period);
    }

    /// How much time passes when a loop lets other threads have its core; none by default, as if
    /// there were no others.
    pub fn set_rivals_keep(&self, period: Duration) {
        self.state().rivals_keep = period;
    }

    /// Blocks until every loop of the system under test waits and nothing will happen by
    /// itself: no remote end can act and, unless the clock is manual, no timeout is running.
    ///
    /// For a test thread beside the loops' threads.
    pub fn wait_quiescent(&self) {
        let state = self.state();
        drop(
            self.changed
                .wait_while(state, |state| !state.is_quiescent())
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// A digest of everything the system under test was told so far.
    ///
    /// Equal in two runs with the same seed and the same program on one thread.
    pub fn fingerprint(&self) -> u64 {
        self.state().trace
    }
}

impl fmt::Debug for SimOs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimOs")
            .field("elapsed", &Duration::from_nanos(state.now))
            .field("descriptors", &state.descriptors)
            .field("peers", &state.peers.len())
            .finish_non_exhaustive()
    }
}
