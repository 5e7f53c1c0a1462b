//! Nodes with TCP: the factory that gives each worker of a kernel node an event loop.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use socktree_buffer::BufferPool;
use socktree_kernel::{
    Alias, Bustle, DriverFactory, DriverParts, DriverRemote, MetaScope, NodeBuilder, SpawnError,
    WorkerId,
};
use socktree_reactor::{Host, ListenOptions, Os, Reactor, Remote, System, Token};

use crate::connection::{Station, Tell};
use crate::driver::{Attempt, Command, TcpDriver};
use crate::server::ServerShared;

/// A node with TCP, to be configured and started.
///
/// The name is `name@host`, and for people alone: see [`NodeBuilder::new`]. Any other form is refused
/// when the node starts, with [`BadName`](socktree_kernel::NodeError::BadName).
///
/// # Examples
///
/// ```
/// let node = socktree_tcp::node("gateway@localhost").workers(2).start()?;
/// node.stop()?;
/// # Ok::<(), socktree_kernel::NodeError>(())
/// ```
pub fn node(name: impl Into<String>) -> NodeBuilder {
    node_on(name, System)
}

/// A node on another operating system, such as the reactor's simulated one.
///
/// One worker and no watchdog are what a simulation wants: then everything happens on one thread,
/// and the random numbers of the simulation decide.
pub fn node_on<O: Os>(name: impl Into<String>, os: O) -> NodeBuilder {
    NodeBuilder::new(name).driver(TcpDrivers {
        os,
        pool: BufferPool::default(),
        remotes: Arc::default(),
    })
}

struct TcpDrivers<O: Os> {
    os: O,
    pool: BufferPool,
    remotes: Remotes<O>,
}

/// The ways to all drivers of a node.
pub(crate) type Remotes<O> = Arc<RwLock<Vec<Peer<O>>>>;

/// A driver, for the others of its node.
pub(crate) struct Peer<O: Os> {
    pub(crate) remote: Remote<Command<O>>,
    /// The way in for drivers that it is to wake up for; none where that is not possible.
    pub(crate) host: Option<Host<O>>,
}

impl<O: Os> DriverFactory for TcpDrivers<O> {
    fn make(&self, worker: WorkerId) -> io::Result<DriverParts> {
        let reactor: Reactor<O, _, Command<O>> = Reactor::new(self.os.clone())?;
        let mut remotes = self.remotes.write().unwrap_or_else(PoisonError::into_inner);
        // The kernel has workers share the first one's thread, if any.
        let host = (worker.index() == 0).then(|| reactor.host());
        if let Some(Err(error)) = &host {
            log::debug!("each worker keeps a thread of its own: {error}");
        }
        remotes.push(Peer {
            remote: reactor.remote(),
            host: host.and_then(Result::ok),
        });
        drop(remotes);
        let line = Arc::new(Line {
            os: self.os.clone(),
            remote: reactor.remote(),
        });
        Ok(DriverParts {
            driver: Box::new(TcpDriver::new(
                reactor,
                worker,
                Arc::clone(&line),
                Arc::clone(&self.remotes),
                &self.pool,
            )),
            remote: Arc::clone(&line) as _,
            handle: Arc::new(TcpHandle {
                typed: Arc::clone(&line) as _,
                line,
            }),
        })
    }
}

/// The way to a worker's driver, from any thread.
pub(crate) struct Line<O: Os> {
    os: O,
    remote: Remote<Command<O>>,
}

impl<O: Os> Line<O> {
    /// A driver that has gone has closed everything, so what it is told no longer matters.
    pub(crate) fn post(&self, command: Command<O>) -> Result<(), NoDriver> {
        self.remote.post(command).map_err(|_| NoDriver)
    }
}

impl<O: Os> DriverRemote for Line<O> {
    fn wake(&self) {
        self.remote.wake();
    }

    fn now(&self) -> Instant {
        self.os.now()
    }

    fn bustle(&self) -> Bustle {
        Bustle::new(self.remote.sleeps(), self.remote.core_offers_taken())
    }
}

impl<O: Os> Station for Line<O> {
    fn tell(&self, token: Token, what: Tell) {
        let _gone = self.post(Command::Tell(token, what));
    }

    fn look_for(&self, alias: Alias) {
        let _gone = self.post(Command::LookFor(alias));
    }
}

/// What builders of servers and connections need of a line, whatever the operating system.
trait AnyLine: Station {
    fn listen(
        &self,
        addr: SocketAddr,
        options: &ListenOptions,
        server: &Arc<ServerShared>,
        station: Arc<dyn Station>,
    ) -> Result<SocketAddr, Result<io::Error, SpawnError>>;

    fn connect(&self, attempt: Attempt) -> Result<(), NoDriver>;

    fn as_station(self: Arc<Self>) -> Arc<dyn Station>;
}

impl<O: Os> AnyLine for Line<O> {
    fn listen(
        &self,
        addr: SocketAddr,
        options: &ListenOptions,
        server: &Arc<ServerShared>,
        station: Arc<dyn Station>,
    ) -> Result<SocketAddr, Result<io::Error, SpawnError>> {
        let listener = self.os.listen(addr, options).map_err(Ok)?;
        let local = self.os.listener_addr(&listener).map_err(Ok)?;
        server.bound(local, station);
        let life = server
            .scope
            .register(server.alias(), Arc::clone(server) as _)
            .map_err(Err)?;
        let command = Command::Listen(Box::new((listener, Arc::clone(server), life)));
        self.post(command).map_err(|_| Err(SpawnError::Stopping))?;
        Ok(local)
    }

    fn connect(&self, attempt: Attempt) -> Result<(), NoDriver> {
        self.post(Command::Connect(Box::new(attempt)))
    }

    fn as_station(self: Arc<Self>) -> Arc<dyn Station> {
        self
    }
}

/// What a worker's driver gives out to those who make servers and connections.
#[derive(Clone)]
pub(crate) struct TcpHandle {
    line: Arc<dyn AnyLine>,
    /// The same, for the drivers of other workers, who know the operating system's type.
    typed: Arc<dyn Any + Send + Sync>,
}

impl TcpHandle {
    pub(crate) fn of(scope: &MetaScope, worker: WorkerId) -> Result<Self, NoDriver> {
        let handle = scope.driver(worker);
        handle.downcast_ref::<Self>().cloned().ok_or(NoDriver)
    }

    pub(crate) fn line<O: Os>(&self) -> Option<Arc<Line<O>>> {
        Arc::clone(&self.typed).downcast().ok()
    }

    pub(crate) fn station(&self) -> Arc<dyn Station> {
        Arc::clone(&self.line).as_station()
    }

    /// Opens a listening socket and has the driver serve it. The outer error is the system's, the
    /// inner one the node's.
    pub(crate) fn listen(
        &self,
        addr: SocketAddr,
        options: &ListenOptions,
        server: &Arc<ServerShared>,
    ) -> Result<SocketAddr, Result<io::Error, SpawnError>> {
        self.line.listen(addr, options, server, self.station())
    }

    pub(crate) fn connect(&self, attempt: Attempt) -> Result<(), NoDriver> {
        self.line.connect(attempt)
    }
}

/// The node was made without TCP: by the kernel's own builder instead of [`node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoDriver;

impl fmt::Display for NoDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node has no TCP: make it with socktree's node() function")
    }
}

impl std::error::Error for NoDriver {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use socktree_kernel::{Actor, Ctx, Flow, NoMessages, Source, Wait};

    use super::*;

    /// Says which worker it was put on.
    struct Settler(Sender<WorkerId>);

    impl Actor for Settler {
        type Msg = NoMessages;

        fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
            self.0.send(ctx.meta_scope().worker())?;
            Ok(())
        }

        fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
            match never {}
        }
    }

    fn two_workers() -> [WorkerId; 2] {
        let node = node("settlers@localhost").workers(2);
        let node = node.start().expect("a node");
        let (tell, told) = channel();
        let mut ids = [(); 2].map(|()| {
            node.spawn(Settler(tell.clone())).expect("it starts");
            told.recv().expect("it says where it is")
        });
        node.stop().expect("nobody is stuck");
        ids.sort_unstable();
        assert_eq!(ids.map(WorkerId::index), [0, 1], "they start in turn");
        ids
    }

    /// What the host reports while a turn goes on with the one before has been seen by nobody: a
    /// driver that dozed then would not be told again.
    #[test]
    fn a_driver_dozes_only_after_a_turn_that_asked_the_system() {
        let [first, second] = two_workers();
        let drivers = TcpDrivers {
            os: System,
            pool: BufferPool::default(),
            remotes: Arc::default(),
        };
        let _host = drivers.make(first).expect("a driver");
        let mut guest = drivers.make(second).expect("a driver").driver;
        assert!(guest.nest(first));
        let to_guest = drivers.remotes.read().expect("nobody panics")[1]
            .remote
            .clone();
        let nobody = Token::from_bits(0);
        // More than a turn serves, less than two do.
        for _ in 0..100 {
            assert!(to_guest.post(Command::Accept(nobody)).is_ok());
        }
        guest.turn(Wait::No, &|| true);
        assert_eq!(guest.doze(&|| true), Wait::No, "some are left");
        guest.turn(Wait::No, &|| true);
        assert_eq!(guest.doze(&|| true), Wait::No, "nobody was asked");
        guest.turn(Wait::No, &|| true);
        assert_eq!(guest.doze(&|| true), Wait::Forever);
    }
}
