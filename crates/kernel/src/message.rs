//! What travels between processes, and how it is converted at the moment it is pushed.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::Reply;
use crate::error::{CallError, SendError};
use crate::id::{Alias, Name, Pid, Target};
use crate::node::call_from_outside;
use crate::process::Process;
use crate::worker::WorkerId;
use crate::{Actor, meta::RoomWaiter};

/// Who sent a message.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{Actor, Ctx, Flow, Source};
/// # struct Parrot;
/// # socktree_kernel::protocol!(Word);
/// # struct Word(&'static str);
/// # impl Actor for Parrot {
/// #     type Msg = Word;
/// fn handle(&mut self, ctx: &mut Ctx<'_, Self>, from: Source, word: Word) -> Flow {
///     if let Some(sender) = from.target() {
///         ctx.send(sender, word)?;
///     }
///     Ok(())
/// }
/// # }
/// # let _ = Parrot;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A process.
    Process(Pid),
    /// A meta-process, and the process that owns it.
    Meta {
        /// The meta-process.
        alias: Alias,
        /// Its parent.
        parent: Pid,
    },
    /// A thread that is no process.
    Outside,
}

impl Source {
    /// Where to answer: the sender's pid or alias. `None` for a thread, which has no address; it
    /// [calls](crate::Node::call) if it wants an answer.
    pub fn target(&self) -> Option<Target> {
        match *self {
            Self::Process(pid) => Some(pid.into()),
            Self::Meta { alias, .. } => Some(alias.into()),
            Self::Outside => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => pid.fmt(f),
            Self::Meta { alias, parent } => write!(f, "{alias} of {parent}"),
            Self::Outside => f.write_str("outside"),
        }
    }
}

/// Which messages go before which others to the same process.
///
/// Messages of one sender to one target keep their order among equals. Signals, such as exits and
/// notices, go before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are Ergo's three")]
pub enum Priority {
    /// What [`Ctx::send`](crate::Ctx::send) sends.
    #[default]
    Normal,
    /// Before the normal ones that wait.
    High,
    /// Before all others.
    Max,
}

/// What a process gets that another one had no room for: see
/// [`SpawnOptions::fallback`](crate::SpawnOptions::fallback).
#[derive(Debug)]
#[non_exhaustive]
pub struct Fallback {
    /// The process whose mailbox is full.
    pub full: Pid,
    /// The name that it is registered under.
    pub name: Option<Name>,
    /// The message, as it was sent or as its actor takes it: [`Protocol::open`] knows both.
    pub message: Envelope,
}
crate::protocol!(Fallback);

/// A message whose type is known only at run time.
#[derive(Debug)]
pub struct Envelope(Box<dyn Any + Send>);

impl Envelope {
    /// Wraps a message.
    pub fn new<T: Send + 'static>(message: T) -> Self {
        Self(Box::new(message))
    }

    /// Takes the message out if it is a `T`.
    ///
    /// # Errors
    ///
    /// Gives the envelope back if it holds something else.
    pub fn open<T: 'static>(self) -> Result<T, Self> {
        self.0.downcast().map(|message| *message).map_err(Self)
    }

    /// Whether a `T` is in it.
    pub fn holds<T: 'static>(&self) -> bool {
        self.0.is::<T>()
    }
}

/// The set of message types that an actor takes.
///
/// Messages are converted when they are *pushed*: a type that the receiver does not take is an
/// error at the sender, at once. A `From` of your own that does so runs while the receiver's mailbox
/// is locked: it must not send, block or spawn. Do not write this by hand: use [`protocol!`](crate::protocol)
/// for an enum of several types or a type of one's own.
pub trait Protocol: Sized + Send + 'static {
    /// Converts what arrived under a dynamic address.
    ///
    /// # Errors
    ///
    /// Gives the envelope back if its type is none of this protocol's.
    fn open(envelope: Envelope) -> Result<Self, Envelope>;

    /// The process as a taker of messages of the type `wanted`, as an `Arc<dyn Sink<Wanted>>`.
    #[doc(hidden)]
    fn sink<A: Actor<Msg = Self>>(process: Arc<Process<A>>, wanted: TypeId)
    -> Option<Box<dyn Any>>;
}

/// Says which message types an actor takes.
///
/// Two forms: an enum with one type a variant, for actors that take several; or the names of
/// types that are a protocol by themselves.
///
/// # Examples
///
/// ```
/// use socktree_kernel::protocol;
///
/// struct Add(u64);
/// struct Reset;
/// protocol! {
///     /// What a counter takes.
///     enum Msg { Add(Add), Reset(Reset) }
/// }
///
/// struct Tick;
/// protocol!(Tick);
/// # let _ = (Msg::from(Add(1)), Msg::from(Reset), Tick);
/// # match Msg::from(Add(1)) { Msg::Add(Add(n)) => assert_eq!(n, 1), Msg::Reset(Reset) => {} }
/// ```
#[macro_export]
macro_rules! protocol {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident($type:ty)),+ $(,)? }) => {
        $(#[$meta])*
        $vis enum $name { $($(#[$vmeta])* $variant($type)),+ }
        $(impl ::core::convert::From<$type> for $name {
            fn from(message: $type) -> Self { $name::$variant(message) }
        })+
        impl $crate::Protocol for $name {
            fn open(envelope: $crate::Envelope) -> ::core::result::Result<Self, $crate::Envelope> {
                let envelope = match envelope.open::<Self>() {
                    Ok(message) => return Ok(message),
                    Err(envelope) => envelope,
                };
                $(let envelope = match envelope.open::<$type>() {
                    Ok(message) => return Ok($name::$variant(message)),
                    Err(envelope) => envelope,
                };)+
                Err(envelope)
            }
            fn sink<A: $crate::Actor<Msg = Self>>(
                process: ::std::sync::Arc<$crate::__private::Process<A>>,
                wanted: ::core::any::TypeId,
            ) -> ::core::option::Option<::std::boxed::Box<dyn ::core::any::Any>> {
                if wanted == ::core::any::TypeId::of::<Self>() {
                    let sink: ::std::sync::Arc<dyn $crate::Sink<Self>> = process;
                    return Some(::std::boxed::Box::new(sink));
                }
                $(if wanted == ::core::any::TypeId::of::<$type>() {
                    let sink: ::std::sync::Arc<dyn $crate::Sink<$type>> = process;
                    return Some(::std::boxed::Box::new(sink));
                })+
                None
            }
        }
    };
    ($($type:ty),+ $(,)?) => {
        $(impl $crate::Protocol for $type {
            fn open(envelope: $crate::Envelope) -> ::core::result::Result<Self, $crate::Envelope> {
                envelope.open::<Self>()
            }
            fn sink<A: $crate::Actor<Msg = Self>>(
                process: ::std::sync::Arc<$crate::__private::Process<A>>,
                wanted: ::core::any::TypeId,
            ) -> ::core::option::Option<::std::boxed::Box<dyn ::core::any::Any>> {
                if wanted == ::core::any::TypeId::of::<Self>() {
                    let sink: ::std::sync::Arc<dyn $crate::Sink<Self>> = process;
                    return Some(::std::boxed::Box::new(sink));
                }
                None
            }
        })+
    };
}

/// A protocol without messages: for actors that only watch, supervise or own meta-processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "there is no message, and never will be one"
)]
pub enum NoMessages {}
protocol!(NoMessages);

/// What a driver gets back once a message that it delivered has been handled.
///
/// The kernel only carries it: the meaning of both numbers is the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which of the driver's sources delivered the message.
    pub token: u64,
    /// How much credit comes back. Nothing is reported for 0.
    pub amount: u32,
}

impl Receipt {
    /// For a message of which nobody wants to hear again.
    pub const NONE: Self = Self {
        token: 0,
        amount: 0,
    };
}

/// A process as a taker of `T`, without the price of a box or a downcast for every message.
///
/// Drivers of meta-processes keep one for each source, so that what arrives there goes straight
/// into the mailbox of the process that owns it.
pub trait Sink<T>: Send + Sync {
    /// Puts a message into the mailbox.
    ///
    /// The receipt goes back to the driver of *this process's* worker once the handler returned.
    ///
    /// # Errors
    ///
    /// Gives the message back if the process has ended or its mailbox is full.
    fn deliver(&self, from: Source, receipt: Receipt, message: T) -> Result<(), SendError<T>>;

    /// Puts a message into the mailbox even if that is full: for the notices, one at a time for
    /// each source, that must not be lost.
    ///
    /// # Errors
    ///
    /// Gives the message back if the process has ended.
    fn deliver_always(
        &self,
        from: Source,
        receipt: Receipt,
        message: T,
    ) -> Result<(), SendError<T>>;

    /// Puts a message into the mailbox, ahead of those of a lower priority.
    ///
    /// # Errors
    ///
    /// As [`deliver`](Self::deliver).
    fn deliver_with(
        &self,
        from: Source,
        priority: Priority,
        message: T,
    ) -> Result<(), SendError<T>>;

    /// Sends a message that the mailbox has no room for where the process wants it instead.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if there is no such place, or if it does not take the message.
    fn divert(&self, from: Source, message: T) -> Result<(), SendError<T>>;

    /// The process behind it.
    fn pid(&self) -> Pid;

    /// The worker that the process lives on, now and for good.
    fn worker(&self) -> WorkerId;

    /// How many messages wait or are being handled.
    fn waiting(&self) -> u64;

    /// The time by the node's clock, which is virtual in a simulation.
    fn now(&self) -> Instant;

    /// Calls `waiter` once when the mailbox has room again. Returns false, and does not keep the
    /// waiter, if there is room now.
    fn when_room(&self, waiter: RoomWaiter) -> bool;
}

/// The typed address of a process: sends are checked by the compiler.
///
/// Made by [`Ctx::me`](crate::Ctx::me), [`Ctx::spawn`](crate::Ctx::spawn) and
/// [`Node::spawn`](crate::Node::spawn).
pub struct Address<M> {
    sink: Arc<dyn Sink<M>>,
}

impl<M: Send + 'static> Address<M> {
    pub(crate) fn new(sink: Arc<dyn Sink<M>>) -> Self {
        Self { sink }
    }

    /// The number of the process.
    pub fn pid(&self) -> Pid {
        self.sink.pid()
    }

    /// Sends from a thread that is no process; actors use [`Ctx::send_to`](crate::Ctx::send_to),
    /// which tells the receiver who sent.
    ///
    /// # Errors
    ///
    /// Gives the message back if the process has ended or its mailbox is full.
    pub fn send(&self, message: impl Into<M>) -> Result<(), SendError<M>> {
        self.send_from(Source::Outside, message.into())
    }

    /// Sends a message that asks for an answer, and waits for it, on a thread that is no process;
    /// actors use [`Ctx::call_to`](crate::Ctx::call_to).
    ///
    /// `make` builds the message around the [`Reply`] that it carries; with a tuple struct such as
    /// `Get(Reply<u64>)` that is its name.
    ///
    /// # Errors
    ///
    /// As [`Node::call`](crate::Node::call).
    pub fn call<T: Into<M>, R: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let ask = |message: T| self.ask_from(Source::Outside, message.into());
        call_from_outside(self.sink.now(), make, timeout, ask)
    }

    /// As [`send`](Self::send), ahead of what has a lower priority.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_with_priority(
        &self,
        message: impl Into<M>,
        priority: Priority,
    ) -> Result<(), SendError<M>> {
        self.send_from_with(Source::Outside, message.into(), priority)
    }

    #[inline]
    pub(crate) fn send_from(&self, from: Source, message: M) -> Result<(), SendError<M>> {
        match self.sink.deliver(from, Receipt::NONE, message) {
            Ok(()) => Ok(()),
            Err(SendError::Full(message)) => self.sink.divert(from, message),
            Err(refused) => Err(refused),
        }
    }

    pub(crate) fn send_from_with(
        &self,
        from: Source,
        message: M,
        priority: Priority,
    ) -> Result<(), SendError<M>> {
        match self.sink.deliver_with(from, priority, message) {
            Ok(()) => Ok(()),
            Err(SendError::Full(message)) => self.sink.divert(from, message),
            Err(refused) => Err(refused),
        }
    }

    /// For calls: another process could not answer for this one.
    pub(crate) fn ask_from(&self, from: Source, message: M) -> Result<(), SendError<M>> {
        self.sink.deliver(from, Receipt::NONE, message)
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self {
            sink: Arc::clone(&self.sink),
        }
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.sink.pid())
    }
}

impl<M: Send + 'static> From<&Address<M>> for Target {
    fn from(address: &Address<M>) -> Self {
        Self::Pid(address.pid())
    }
}
