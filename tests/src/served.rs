//! A node with one server on it.

use std::net::SocketAddr;

use socktree::kernel::{Meta, NodeInfo};
use socktree::{Address, ListenError, Node, ServerHandle, SpawnOptions, TcpServer};

use crate::probe::{Ask, Probe, Said, Watch};
use crate::until::until;

/// A node, the process that owns a server, and what it tells.
#[derive(Debug)]
pub struct Served {
    /// The node.
    pub node: Node,
    /// The server's parent.
    pub parent: Address<Said>,
    /// The server.
    pub server: ServerHandle,
    /// What the parent's probe saw.
    pub watch: Watch,
    before: NodeInfo,
}

impl Served {
    /// A server on a port of the system's choice, to be configured.
    pub fn any() -> TcpServer {
        TcpServer::bind("127.0.0.1:0")
    }

    /// A node of its own for one test.
    pub fn node(workers: usize) -> Node {
        let node = socktree::node("tests@localhost").workers(workers);
        node.start().expect("a node")
    }

    /// Starts the server under a probe on a node with two workers.
    pub fn start<M>(server: M, probe: (Probe, Watch)) -> Self
    where
        M: Meta<Probe, Handle = ServerHandle, Error = ListenError> + Send + 'static,
    {
        Self::start_on(Self::node(2), server, probe)
    }

    /// Starts the server under a probe on this node.
    pub fn start_on<M>(node: Node, server: M, probe: (Probe, Watch)) -> Self
    where
        M: Meta<Probe, Handle = ServerHandle, Error = ListenError> + Send + 'static,
    {
        Self::start_with(node, SpawnOptions::new(), server, probe)
    }

    /// Starts the server under a probe on this node, the probe with these options.
    pub fn start_with<M>(
        node: Node,
        options: SpawnOptions,
        server: M,
        (probe, watch): (Probe, Watch),
    ) -> Self
    where
        M: Meta<Probe, Handle = ServerHandle, Error = ListenError> + Send + 'static,
    {
        let parent = node.spawn_with(probe, options);
        let parent = parent.expect("nothing can fail in its init");
        let server = parent.ask(|ctx| ctx.spawn_meta(server)).expect("a server");
        let before = node.info();
        Self {
            node,
            parent,
            server,
            watch,
            before,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Takes what there is now as what there has to be in the end.
    pub fn rebase(&mut self) {
        self.before = self.node.info();
    }

    /// Waits until nothing is left of what was made since the start: no alias, no process, no
    /// timer (O2 of the fault list).
    pub fn settle(&self) {
        let what = format!("back to {:?}", self.before);
        until(&what, || (self.node.info() == self.before).then_some(()));
        until("no connection left", || {
            (self.server.connections() == 0).then_some(())
        });
    }

    /// Expects that nothing is left and that every connection was seen to end, and stops the node
    /// in good order.
    pub fn finish(self) {
        self.settle();
        until("a Disconnect for each Connect", || {
            self.watch.all_over().then_some(())
        });
        self.stop();
    }

    /// Stops the node in good order. Owners end with it, and hear no more of their connections.
    pub fn stop(self) {
        let report = self.node.stop().expect("not inside a handler");
        assert!(report.is_clean(), "{report}");
    }
}
