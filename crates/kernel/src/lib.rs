//! Supervised actors for plain threads: processes with mailboxes, calls, links, monitors, timers,
//! supervisors and meta-processes.
//!
//! An [`Actor`] is a state and a few plain functions. A [`Node`] runs many of them on a few
//! threads, one message of each at a time, so the state needs no lock. When one ends, by returning
//! an error or by a panic, nothing else does: whoever watches it is told, and a [`Supervisor`]
//! starts it anew.
//!
//! # A supervised counter
//!
//! ```
//! use std::time::Duration;
//! use socktree_kernel::{Actor, Ctx, Flow, NodeBuilder, Reason, Reply, Source, Supervisor, protocol};
//!
//! struct Add(u8);
//! struct Get(Reply<u8>); // a call: it carries where its answer goes
//!
//! protocol! {
//!     /// The messages that a counter takes.
//!     enum Msg { Add(Add), Get(Get) }
//! }
//!
//! #[derive(Default)]
//! struct Counter { total: u8 }
//!
//! impl Actor for Counter {
//!     type Msg = Msg;
//!
//!     fn handle(&mut self, _ctx: &mut Ctx<'_, Self>, _from: Source, message: Msg) -> Flow {
//!         match message {
//!             Msg::Add(Add(n)) => {
//!                 let total = self.total.checked_add(n);
//!                 self.total = total.ok_or_else(|| Reason::error("the total does not fit"))?;
//!             }
//!             Msg::Get(Get(reply)) => {
//!                 reply.send(self.total);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let node = NodeBuilder::new("counting@localhost").start()?;
//!     node.spawn(Supervisor::one_for_one().child("counter", Counter::default))?;
//!
//!     let second = Duration::from_secs(1);
//!     node.send("counter", Add(200))?;
//!     assert_eq!(node.call("counter", Get, second)?, 200);
//!
//!     // One too many: this counter ends, and a new one takes its name and starts from zero.
//!     let ended = node.monitor("counter")?;
//!     node.send("counter", Add(100))?;
//!     assert_eq!(ended.wait().reason.to_string(), "the total does not fit");
//!     let total = loop {
//!         match node.call("counter", Get, second) {
//!             Ok(total) => break total,
//!             Err(_) => std::thread::yield_now(), // for the moment in which there is none
//!         }
//!     };
//!     assert_eq!(total, 0);
//!
//!     assert!(node.stop()?.is_clean());
//!     Ok(())
//! }
//! ```
//!
//! # Processes
//!
//! [`Node::spawn`] and [`Ctx::spawn`] start an actor as a *process*. Its [`init`](Actor::init) runs
//! before they return, on the calling thread; everything else runs on one of the node's workers,
//! always the same one. Whatever a callback can do goes through its [`Ctx`].
//!
//! A process is reached by its [`Pid`], by a [`Name`] that it is registered under, by an [`Alias`],
//! or by its typed [`Address`]. Whatever takes a target takes each of the first three, as
//! [`Target`]. Which messages it takes is said once, with [`protocol!`]; they are converted when
//! they are sent, so that a wrong type is the sender's error. A message that cannot be delivered
//! comes back inside the [`SendError`].
//!
//! A mailbox has no bound unless [one is set](SpawnOptions::mailbox). A message that finds no room
//! is the sender's error, or goes to the [fallback](SpawnOptions::fallback) that the receiver named.
//! Messages from one sender to one target arrive in the order in which they were sent, whatever
//! addresses it used; one that was [sent with a priority](Ctx::send_with_priority) overtakes
//! those of a lower one.
//!
//! # Calls
//!
//! A message that asks for an answer has a [`Reply`] in it. [`Node::call`] and [`Ctx::call`] send
//! one and wait for its answer; [`Ctx::request`] gets the answer as a message, and costs no thread
//! meanwhile. The callee answers at once, or keeps the reply for later, or sends it on: it is a
//! value. Every call ends, with its answer or with a [`CallError`]: at its deadline, or as soon as
//! the reply is dropped, which is also what the callee's end does to it.
//!
//! # Ends
//!
//! A process ends when a callback returns an error or panics, when an exit signal reaches it, or
//! when the node stops. The [`Reason`] says which. Then, in this order: it takes no messages any
//! more and its timers are cancelled; its meta-processes end; its name and aliases are free;
//! [`Actor::terminate`] is called; and those who watch it are told:
//!
//! - a [link](Ctx::link) gets an exit signal, and ends with the same reason, whichever that is,
//!   unless it [traps exits](Ctx::trap_exit);
//! - a [monitor](Ctx::monitor) gets a notice, [`Actor::down`];
//! - a thread that is no process [waits](Node::monitor).
//!
//! Links are one-way; [`Ctx::spawn_link`] makes two. Unlike in Erlang the end of a linked target
//! with [`Reason::Normal`] is no exception. A child that is [linked to its
//! parent](SpawnOptions::link_parent) ends with it, and cannot trap that, nor any other signal from
//! its parent, nor a [kill](Reason::Kill). Signals and notices have a lane of their own in the
//! mailbox: never bounded, never lost, served before messages.
//!
//! # Supervisors
//!
//! A [`Supervisor`] is a process that starts other processes, its children, and starts those again
//! that end when they should not. It can be a child of another, so that what one level cannot mend
//! is left to the next. It ends its children before itself, the last that was started first, and
//! waits for each to be gone. [`StartChild`], [`AddChild`], [`EnableChild`], [`DisableChild`],
//! [`ListChildren`] and [`RestartHistory`] are what can be asked of it meanwhile.
//!
//! A [`Pool`] keeps equal workers by the same rules, and hands each message to one of them.
//!
//! # Workers
//!
//! A worker is one thread at a time with one queue of processes that have something to do. A
//! process handles at most [so many messages](NodeBuilder::message_budget) before it goes to the
//! back of the queue. A handler that blocks keeps its thread, but not its worker: after
//! [a while](NodeBuilder::stuck_after), or at once with [`Ctx::blocking`], another thread goes on
//! with the queue, and the process comes back when its handler has returned.
//!
//! # Meta-processes
//!
//! What is not a process but has an address, such as a connection, is a *meta-process*
//! ([`Meta`]). A process owns it: it ends with its owner, and before anyone is told of that. The
//! crate itself knows no sockets; a [`Driver`], made by another crate, serves what is ready, and
//! is where a worker waits.
//!
//! An [`Event`] is a meta-process that comes with the crate: what its producer publishes goes to all
//! who have subscribed with [`Ctx::link_event`] or [`Ctx::monitor_event`].
//!
//! # Stopping
//!
//! [`Node::stop`] tells every process to end, waits for at most
//! [a deadline](NodeBuilder::stop_deadline), and names those that had not ended by then in its
//! [`StopReport`]. In a handler, [`Node::shutdown`] begins the same without waiting. The children
//! of supervisors are told by their supervisors, in order.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `test-kit` | `TestKit`: runs actors in a test, on its own thread, with a clock that only the test moves |
#![forbid(unsafe_code)]

mod actor;
mod call;
mod compaction;
mod ctx;
mod driver;
mod env;
mod error;
mod event;
mod guard;
mod id;
mod info;
mod mailbox;
mod message;
mod meta;
mod node;
mod numbers;
mod pool;
mod process;
mod reason;
mod registry;
mod relations;
mod spare;
mod supervisor;
mod sync;
#[cfg(any(test, feature = "test-kit"))]
mod test_kit;
mod timer;
mod watchdog;
mod worker;

pub use actor::{Actor, Down, Exit};
pub use call::{Reply, RequestRef};
pub use ctx::Ctx;
pub use driver::{Bustle, Driver, DriverFactory, DriverParts, DriverRemote, Wait};
pub use error::{CallError, NodeError, RelationError, SendError, SpawnError, StopReport};
pub use event::{
    Delivered, Event, EventError, EventNotice, Noticed, Published, Publisher, Silent, Subscription,
};
pub use id::{Alias, Name, Pid, Target};
pub use info::{MetaInfo, NodeInfo, ProcessInfo, ProcessState};
pub use log::{Level, LevelFilter};
pub use message::{
    Address, Envelope, Fallback, NoMessages, Priority, Protocol, Receipt, Sink, Source,
};
pub use meta::{
    BlockingMeta, Inspection, Meta, MetaExit, MetaHandle, MetaLife, MetaPort, MetaScope, RoomWaiter,
};
pub use node::{Ended, Node, NodeBuilder, SpawnOptions};
pub use pool::{InspectPool, Pool, PoolInfo, PoolMsg, ResizePool};
pub use reason::{Flow, Reason};
pub use supervisor::{
    AddChild, AutoShutdown, ChildError, ChildInfo, ChildSpec, ChildState, DisableChild,
    EnableChild, ListChildren, Restart, RestartHistory, RestartInfo, Shutdown, StartChild,
    Strategy, Supervisor, SupervisorMsg,
};
#[cfg(any(test, feature = "test-kit"))]
pub use test_kit::{Probe, Subject, TestKit};
pub use timer::TimerRef;
pub use worker::WorkerId;

/// Runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(hidden)]
pub mod __private {
    pub use crate::process::Process;
}
