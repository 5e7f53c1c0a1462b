//! Events: one publishes, any number of processes get it.
//!
//! An event is a meta-process of its producer's. Its subscribers are those that link to it or
//! monitor it, so whatever ends a relation, an `unlink` or the subscriber's own end, ends a
//! subscription as well; and its end is told as every end is.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Instant;

use crate::actor::Actor;
use crate::ctx::Ctx;
use crate::error::{RelationError, SendError, SpawnError};
use crate::id::{Alias, Name, Pid, Target};
use crate::message::{Envelope, Protocol, Receipt, Sink, Source};
use crate::meta::{Inspection, Meta, MetaExit, MetaLife, MetaPort, MetaScope};
use crate::process::Process;
use crate::protocol;
use crate::relations::Kind;
use crate::sync::{lock, read, write};

/// An event that is to be registered: the argument of [`Ctx::spawn_meta`], which gives out the
/// [`Publisher`].
///
/// `T` is what is published. The process that registers it is its producer: the event ends with it,
/// and whoever subscribed is told, by an exit signal or by a notice. To end it before, send its
/// alias an exit with [`Reason::Unregistered`](crate::Reason::Unregistered).
///
/// `T` is cloned for each subscriber while the event is locked, so that all get everything in the
/// same order. What costs much to clone belongs into an `Arc`. A `clone` or a `drop` that itself
/// publishes, subscribes or leaves panics: it would wait for itself.
///
/// # Examples
///
/// ```
/// use socktree_kernel::{Actor, Ctx, Event, Flow, NoMessages, NodeBuilder, Published, Source};
///
/// #[derive(Clone, Debug, PartialEq)]
/// struct Price(u32);
///
/// struct Exchange;
/// impl Actor for Exchange {
///     type Msg = NoMessages;
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         // Whoever subscribes later still gets the latest price.
///         let prices = ctx.spawn_meta(Event::new("prices").buffer(1))?;
///         let delivered = ctx.publish(&prices, Price(41));
///         assert_eq!(delivered.reached, 0);
///         Ok(())
///     }
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
///         match never {}
///     }
/// }
///
/// struct Trader;
/// impl Actor for Trader {
///     type Msg = Published<Price>;
///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
///         let prices = ctx.monitor_event::<Price>("prices")?;
///         assert_eq!(prices.latest[0].value, Price(41));
///         Ok(())
///     }
///     fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: Published<Price>) -> Flow { Ok(()) }
/// }
///
/// let node = NodeBuilder::new("doc@localhost").start()?;
/// node.spawn(Exchange)?;
/// node.spawn(Trader)?;
/// # node.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an event exists once it is given to `Ctx::spawn_meta`"]
pub struct Event<T, N = Silent> {
    name: Name,
    buffer: usize,
    kind: PhantomData<fn() -> (T, N)>,
}

/// An [`Event`] that tells its producer nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Silent;

/// An [`Event`] that tells its producer of the first and of the last subscriber.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Noticed;

impl<T> Event<T> {
    /// An event of this name, which no other event of the node may have; a process may. Nothing is
    /// kept of what was published.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            buffer: 0,
            kind: PhantomData,
        }
    }

    /// Tells the producer, by an [`EventNotice`], when there is somebody to publish for, and when
    /// there is nobody any more.
    pub fn noticed(self) -> Event<T, Noticed> {
        Event {
            name: self.name,
            buffer: self.buffer,
            kind: PhantomData,
        }
    }
}

impl<T, N> Event<T, N> {
    /// Keeps this many of the latest values for those who subscribe later. None by default.
    pub fn buffer(mut self, values: usize) -> Self {
        self.buffer = values;
        self
    }
}

impl<T, N> fmt::Debug for Event<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a subscriber gets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published<T> {
    /// Which event.
    pub event: Name,
    /// When it was published, by the node's clock.
    pub at: Instant,
    /// What.
    pub value: T,
}

/// Tells a producer whether anybody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "somebody listens or nobody does")]
pub enum EventNotice {
    /// The first has subscribed.
    Wanted(Name),
    /// The last has left, by its own wish or because it ended.
    Unwanted(Name),
}
protocol!(EventNotice);

/// A subscription that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subscription<T> {
    /// The event as an address: what the notice of its end names, and what to
    /// [unlink](Ctx::unlink) or [demonitor](Ctx::demonitor) to leave.
    pub alias: Alias,
    /// What was published last, oldest first, as far as the event keeps it. What is published
    /// from then on arrives as messages: nothing is missed in between, and nothing comes twice.
    pub latest: Vec<Published<T>>,
}

/// How far something published got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "who could not take it has missed it"]
pub struct Delivered {
    /// How many subscribers have it in their mailboxes.
    pub reached: usize,
    /// Whose mailbox was full.
    pub missed: Vec<Pid>,
}

/// Why an event was not registered, or not subscribed to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventError {
    /// There is no event of this name.
    Unknown(Name),
    /// There is one of this name already.
    Taken(Name),
    /// The event publishes values of another type.
    WrongType(Name),
    /// The name is longer than [`Name::MAX_LEN`]; here is its length in bytes.
    NameTooLong(usize),
    /// The process is ending.
    Spawn(SpawnError),
    /// It is subscribed already, in this way, or is ending.
    Relation(RelationError),
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no event {name}"),
            Self::Taken(name) => write!(f, "there is an event {name} already"),
            Self::WrongType(name) => write!(f, "the event {name} publishes another type"),
            Self::NameTooLong(len) => {
                write!(f, "the name has {len} bytes, {} are allowed", Name::MAX_LEN)
            }
            Self::Spawn(error) => error.fmt(f),
            Self::Relation(error) => error.fmt(f),
        }
    }
}

// Without a source: the texts are those of the errors within, which hold their causes already.
impl Error for EventError {}

/// The right to publish: whoever has it may, from any thread and any process.
pub struct Publisher<T> {
    topic: Arc<Topic<T>>,
}

impl<T: Clone + Send + 'static> Publisher<T> {
    /// Publishes from a thread that is no process; actors use [`Ctx::publish`], which tells the
    /// subscribers who did. Nobody gets it if the event has ended.
    pub fn publish(&self, value: T) -> Delivered {
        self.topic.publish(Source::Outside, value)
    }

    /// The event as an address.
    pub fn alias(&self) -> Alias {
        self.topic.alias
    }
}

impl<T> Clone for Publisher<T> {
    fn clone(&self) -> Self {
        Self {
            topic: Arc::clone(&self.topic),
        }
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("event", &self.topic.name)
            .finish_non_exhaustive()
    }
}

/// The events of a node, by name.
#[derive(Default)]
pub(crate) struct Events(RwLock<HashMap<Name, Arc<dyn Any + Send + Sync>>>);

/// One event.
struct Topic<T> {
    name: Name,
    alias: Alias,
    scope: MetaScope,
    buffer: usize,
    /// Told of the first and of the last subscriber.
    producer: Option<Arc<dyn Sink<EventNotice>>>,
    /// Held while something is published, so that all subscribers get all in the same order.
    audience: Mutex<Audience<T>>,
}

struct Audience<T> {
    subscribers: BTreeMap<Pid, Subscriber<T>>,
    latest: VecDeque<Published<T>>,
    /// `None` once it has ended.
    life: Option<MetaLife>,
}

struct Subscriber<T> {
    sink: Arc<dyn Sink<Published<T>>>,
    /// Both ways are one subscription.
    link: bool,
    monitor: bool,
}

thread_local! {
    /// Whether this thread holds an audience, and so may just be in a value's code.
    static HOLDS_AUDIENCE: Cell<bool> = const { Cell::new(false) };
}

/// An audience in hand.
struct Open<'a, T>(MutexGuard<'a, Audience<T>>);

impl<T> Deref for Open<'_, T> {
    type Target = Audience<T>;

    fn deref(&self) -> &Audience<T> {
        &self.0
    }
}

impl<T> DerefMut for Open<'_, T> {
    fn deref_mut(&mut self) -> &mut Audience<T> {
        &mut self.0
    }
}

impl<T> Drop for Open<'_, T> {
    fn drop(&mut self) {
        HOLDS_AUDIENCE.set(false);
    }
}

impl<T> Topic<T> {
    /// Values are cloned and dropped with an audience in hand. One whose code came back here would
    /// wait for itself; so would two events whose values publish each other's.
    fn open(&self) -> Open<'_, T> {
        assert!(
            !HOLDS_AUDIENCE.get(),
            "the clone and the drop of a value that is published may not use events"
        );
        let audience = lock(&self.audience);
        HOLDS_AUDIENCE.set(true);
        Open(audience)
    }
}

impl<T: Clone + Send + 'static> Topic<T> {
    fn publish(&self, from: Source, value: T) -> Delivered {
        let published = Published {
            event: self.name.clone(),
            at: self.scope.now(),
            value,
        };
        let mut delivered = Delivered::default();
        let mut audience = self.open();
        if audience.life.is_none() {
            return delivered;
        }
        for subscriber in audience.subscribers.values() {
            let sink = &subscriber.sink;
            match sink.deliver(from, Receipt::NONE, published.clone()) {
                Ok(()) => delivered.reached += 1,
                Err(SendError::Full(_)) => delivered.missed.push(sink.pid()),
                // It is about to leave.
                Err(_) => {}
            }
        }
        if self.buffer > 0 {
            if audience.latest.len() == self.buffer {
                audience.latest.pop_front();
            }
            audience.latest.push_back(published);
        }
        delivered
    }

    fn subscribe(&self, sink: Arc<dyn Sink<Published<T>>>, kind: Kind) -> Vec<Published<T>> {
        let mut audience = self.open();
        if audience.life.is_none() {
            // It has ended since, and the subscriber will hear of that.
            return Vec::new();
        }
        let is_first = audience.subscribers.is_empty();
        let subscriber = audience.subscribers.entry(sink.pid());
        let subscriber = subscriber.or_insert_with(|| Subscriber {
            sink,
            link: false,
            monitor: false,
        });
        *subscriber.flag(kind) = true;
        if is_first {
            self.notice(EventNotice::Wanted);
        }
        audience.latest.iter().cloned().collect()
    }

    fn leave(&self, pid: Pid, kind: Kind) {
        let mut audience = self.open();
        let subscribers = &mut audience.subscribers;
        let Some(subscriber) = subscribers.get_mut(&pid) else {
            return;
        };
        *subscriber.flag(kind) = false;
        if subscriber.link || subscriber.monitor {
            return;
        }
        subscribers.remove(&pid);
        if subscribers.is_empty() {
            self.notice(EventNotice::Unwanted);
        }
    }

    /// Under the lock, so that two notices do not change places.
    fn notice(&self, make: fn(Name) -> EventNotice) {
        if let Some(producer) = &self.producer {
            let from = Source::Meta {
                alias: self.alias,
                parent: self.scope.parent(),
            };
            // Refused only by a producer that has ended, and the event will with it.
            let notice = make(self.name.clone());
            let _ended = producer.deliver_always(from, Receipt::NONE, notice);
        }
    }
}

impl<T> Subscriber<T> {
    fn flag(&mut self, kind: Kind) -> &mut bool {
        match kind {
            Kind::Link => &mut self.link,
            Kind::Monitor => &mut self.monitor,
        }
    }
}

/// The event as its node sees it.
struct Port<T>(Arc<Topic<T>>);

impl<T: Clone + Send + 'static> MetaPort for Port<T> {
    fn send(&self, _: Source, message: Envelope) -> Result<(), SendError<Envelope>> {
        Err(SendError::NotAccepted(message))
    }

    fn exit(&self, why: MetaExit) {
        let (MetaExit::Requested(reason)
        | MetaExit::ParentEnded(reason)
        | MetaExit::OwnerEnded(reason)) = why;
        let topic = &self.0;
        let mut audience = topic.open();
        let life = audience.life.take();
        let subscribers = std::mem::take(&mut audience.subscribers);
        let latest = std::mem::take(&mut audience.latest);
        drop(audience);
        // The name first: whoever hears of the end can register it anew.
        if let Some(life) = life {
            topic.scope.events().remove(&topic.name);
            life.end(&reason);
        }
        drop((subscribers, latest));
    }

    fn inspect(&self) -> Inspection {
        let audience = self.0.open();
        vec![
            ("event", self.0.name.as_str().to_owned()),
            ("subscribers", audience.subscribers.len().to_string()),
            ("buffered", audience.latest.len().to_string()),
        ]
    }

    fn unwatched(&self, watcher: Pid, linked: bool) {
        let kind = if linked { Kind::Link } else { Kind::Monitor };
        self.0.leave(watcher, kind);
    }
}

impl Events {
    /// Takes a name if it is free.
    fn insert<T: Send + 'static>(&self, topic: &Arc<Topic<T>>) -> bool {
        let mut events = write(&self.0);
        let is_free = !events.contains_key(&topic.name);
        if is_free {
            events.insert(topic.name.clone(), Arc::clone(topic) as _);
        }
        is_free
    }

    fn remove(&self, name: &Name) {
        let event = write(&self.0).remove(name);
        drop(event);
    }

    fn find<T: Send + 'static>(&self, name: &Name) -> Result<Arc<Topic<T>>, EventError> {
        let event = read(&self.0).get(name).cloned();
        let event = event.ok_or_else(|| EventError::Unknown(name.clone()))?;
        let topic = event.downcast();
        topic.map_err(|_| EventError::WrongType(name.clone()))
    }
}

impl<T, N> Event<T, N>
where
    T: Clone + Send + 'static,
{
    fn register<A: Actor>(
        self,
        ctx: &Ctx<'_, A>,
        producer: Option<Arc<dyn Sink<EventNotice>>>,
    ) -> Result<Publisher<T>, EventError> {
        if self.name.as_str().len() > Name::MAX_LEN {
            return Err(EventError::NameTooLong(self.name.as_str().len()));
        }
        let scope = ctx.meta_scope();
        let topic = Arc::new(Topic {
            name: self.name,
            alias: scope.new_alias(),
            scope,
            buffer: self.buffer,
            producer,
            audience: Mutex::new(Audience {
                subscribers: BTreeMap::new(),
                latest: VecDeque::new(),
                life: None,
            }),
        });
        // Whoever ends it from now on waits until it has begun.
        let mut audience = topic.open();
        if !topic.scope.events().insert(&topic) {
            return Err(EventError::Taken(topic.name.clone()));
        }
        let port = Arc::new(Port(Arc::clone(&topic)));
        match topic.scope.register(topic.alias, port) {
            Ok(life) => audience.life = Some(life),
            Err(error) => {
                topic.scope.events().remove(&topic.name);
                return Err(EventError::Spawn(error));
            }
        }
        drop(audience);
        Ok(Publisher { topic })
    }
}

impl<A: Actor, T: Clone + Send + 'static> Meta<A> for Event<T> {
    type Handle = Publisher<T>;
    type Error = EventError;

    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<Publisher<T>, EventError> {
        self.register(ctx, None)
    }
}

impl<A: Actor, T: Clone + Send + 'static> Meta<A> for Event<T, Noticed>
where
    A::Msg: From<EventNotice>,
{
    type Handle = Publisher<T>;
    type Error = EventError;

    fn spawn(self, ctx: &mut Ctx<'_, A>) -> Result<Publisher<T>, EventError> {
        let producer = ctx.sink();
        self.register(ctx, Some(producer))
    }
}

impl<A: Actor> Ctx<'_, A> {
    /// Publishes in the name of this process.
    ///
    /// The value is in the mailboxes of all subscribers when this returns, except those that were
    /// full, which the answer names. Nobody gets it if the event has ended.
    pub fn publish<T: Clone + Send + 'static>(
        &self,
        publisher: &Publisher<T>,
        value: T,
    ) -> Delivered {
        let from = Source::Process(self.pid());
        let delivered = publisher.topic.publish(from, value);
        self.count_sent(delivered.reached as u64);
        delivered
    }

    /// Subscribes to an event by a [link](Self::link): when it ends, this process gets an exit
    /// signal. [`unlink`](Self::unlink) from its alias leaves it.
    ///
    /// Whoever subscribes in both ways gets each value once, until it has left both.
    ///
    /// # Errors
    ///
    /// [`EventError::Unknown`] if there is no such event, [`EventError::WrongType`] if it publishes
    /// something else, [`EventError::Relation`] if it is linked already.
    pub fn link_event<T: Clone + Send + 'static>(
        &mut self,
        event: impl Into<Name>,
    ) -> Result<Subscription<T>, EventError>
    where
        A::Msg: From<Published<T>>,
    {
        self.subscribe(&event.into(), Kind::Link)
    }

    /// Subscribes to an event by a [monitor](Self::monitor): when it ends, [`Actor::down`] is
    /// called. [`demonitor`](Self::demonitor) of its alias leaves it.
    ///
    /// # Errors
    ///
    /// As [`link_event`](Self::link_event).
    pub fn monitor_event<T: Clone + Send + 'static>(
        &mut self,
        event: impl Into<Name>,
    ) -> Result<Subscription<T>, EventError>
    where
        A::Msg: From<Published<T>>,
    {
        self.subscribe(&event.into(), Kind::Monitor)
    }

    fn subscribe<T: Clone + Send + 'static>(
        &mut self,
        name: &Name,
        kind: Kind,
    ) -> Result<Subscription<T>, EventError>
    where
        A::Msg: From<Published<T>>,
    {
        let topic: Arc<Topic<T>> = self.meta_scope().events().find(name)?;
        let target = Target::Alias(topic.alias);
        // The relation first: from here on, its end is told.
        let related = match kind {
            Kind::Link => self.link(target),
            Kind::Monitor => self.monitor(target),
        };
        related.map_err(|error| match error {
            RelationError::Unknown => EventError::Unknown(name.clone()),
            other => EventError::Relation(other),
        })?;
        Ok(Subscription {
            alias: topic.alias,
            latest: topic.subscribe(self.sink(), kind),
        })
    }
}

impl<T: Send + 'static> Protocol for Published<T> {
    fn open(envelope: Envelope) -> Result<Self, Envelope> {
        envelope.open()
    }

    fn sink<A: Actor<Msg = Self>>(
        process: Arc<Process<A>>,
        wanted: TypeId,
    ) -> Option<Box<dyn Any>> {
        (wanted == TypeId::of::<Self>()).then(|| {
            let sink: Arc<dyn Sink<Self>> = process;
            Box::new(sink) as _
        })
    }
}
