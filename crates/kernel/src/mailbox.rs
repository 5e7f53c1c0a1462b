//! A process's mailbox: bounded lanes for messages and an unbounded one for control signals.

#[cfg(all(test, loom))]
mod interleavings;

use std::any::Any;
use std::collections::VecDeque;

use crate::actor::Down;
use crate::call::Reply;
use crate::error::SendError;
use crate::guard::caught;
use crate::guard::contain;
use crate::id::{Pid, Target};
use crate::message::{Priority, Receipt, Source};
use crate::meta::{Inspection, RoomWaiter};
use crate::reason::Reason;
use crate::sync::seam::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::seam::{Mutex, lock};

/// Empty lanes above this many messages give their memory back, so that a burst is not paid for
/// in memory until the process ends; below it, keeping the buffer saves an allocation a burst.
const KEPT_CAPACITY: usize = 64;

/// From this many signals on it is looked whether there are inspections among them that nobody waits
/// for any more: each time they have doubled, so that a look costs each of them a small share.
const LOOKED_THROUGH: usize = 32;

/// One message with what has to stay beside it.
pub(crate) struct Entry<M> {
    pub(crate) from: Source,
    pub(crate) receipt: Receipt,
    pub(crate) message: M,
}

/// What travels in the control lane: never bounded, never dropped, served first.
pub(crate) enum Signal {
    /// End, unless exits are trapped.
    Exit {
        from: Target,
        reason: Reason,
        trappable: bool,
    },
    /// End now.
    Kill,
    /// A monitored target has ended.
    Down(Down),
    /// Somebody wants to know what the actor tells about itself.
    Inspect(Reply<Inspection>),
}

/// What few mailboxes ever have, in a box: messages that go before others, and those who wait for
/// room.
struct Seldom<M> {
    max: VecDeque<Entry<M>>,
    high: VecDeque<Entry<M>>,
    waiters: Vec<RoomWaiter>,
}

impl<M> Default for Seldom<M> {
    fn default() -> Self {
        Self {
            max: VecDeque::new(),
            high: VecDeque::new(),
            waiters: Vec::new(),
        }
    }
}

impl<M> Seldom<M> {
    fn pop(&mut self) -> Option<Entry<M>> {
        self.max.pop_front().or_else(|| self.high.pop_front())
    }

    fn has_messages(&self) -> bool {
        !self.max.is_empty() || !self.high.is_empty()
    }

    fn is_empty(&self) -> bool {
        !self.has_messages() && self.waiters.is_empty()
    }
}

/// What goes before ordinary messages.
pub(crate) enum Urgent<M> {
    Signal(Signal),
    Message(Entry<M>),
}

/// What a run does next when it has handled all that it took.
pub(crate) enum Next<M> {
    /// Handle this; what had come after it is in the batch.
    Message(Entry<M>),
    /// Look at what goes before messages.
    Urgent,
    /// Nothing: the process is idle from now on, and the next push schedules it.
    Rest,
}

/// The lanes, and whether the process is on a run queue or running.
struct Lanes<M> {
    /// The oldest ordinary message: most find the mailbox empty, and so need no buffer.
    first: Option<Entry<M>>,
    /// Those after it.
    main: VecDeque<Entry<M>>,
    control: VecDeque<Signal>,
    seldom: Option<Box<Seldom<M>>>,
    /// True from the push that found the process idle until a run finds all lanes empty: at most
    /// one run-queue entry exists for a process.
    scheduled: bool,
    closed: bool,
    /// Somebody waits for room: nobody else finds any until then. Others would take each place that
    /// becomes free before it.
    reserved: bool,
    /// Messages ever pushed; with `handled` this gives the depth.
    pushed: u64,
}

impl<M> Lanes<M> {
    #[inline(always)]
    fn append(&mut self, entry: Entry<M>) {
        self.pushed += 1;
        if self.first.is_none() {
            self.first = Some(entry);
        } else {
            self.main.push_back(entry);
        }
    }

    /// Whoever inspects a busy process again and again does so in vain, but not for good.
    fn drop_unwanted_inspections(&mut self) {
        let signals = self.control.len();
        if signals >= LOOKED_THROUGH && signals.is_power_of_two() {
            let is_unwanted = |signal: &Signal| match signal {
                Signal::Inspect(reply) => !reply.is_wanted(),
                _ => false,
            };
            self.control.retain(|signal| !is_unwanted(signal));
        }
    }

    fn seldom(&mut self) -> &mut Seldom<M> {
        self.seldom.get_or_insert_default()
    }

    fn has_messages_ahead(&self) -> bool {
        self.seldom
            .as_ref()
            .is_some_and(|seldom| seldom.has_messages())
    }

    /// Gives memory back that is not needed any more.
    fn tidy(&mut self) {
        if self.seldom.as_ref().is_some_and(|seldom| seldom.is_empty()) {
            self.seldom = None;
        }
        if self.control.is_empty() && self.control.capacity() > KEPT_CAPACITY {
            self.control = VecDeque::new();
        }
    }
}

/// What an ended process leaves in its mailbox.
pub(crate) struct Left<I> {
    pub(crate) messages: I,
    pub(crate) signals: VecDeque<Signal>,
    pub(crate) waiters: Vec<RoomWaiter>,
}

pub(crate) struct Mailbox<M> {
    lanes: Mutex<Lanes<M>>,
    /// Whether something is in the control lane or ahead of the main lane. Written under the lock,
    /// and read before every message without it.
    urgent: AtomicBool,
    /// Messages handled. Written by the running thread alone, so a plain store is enough.
    handled: AtomicU64,
    /// How many messages may wait; `u64::MAX` for no bound.
    capacity: u64,
}

/// Why a push put nothing into the mailbox.
pub(crate) enum Refused<T> {
    Send(SendError<T>),
    /// Converting the message panicked; it is gone.
    Conversion(Reason),
}

/// What a push asks of the caller.
#[must_use = "an idle process must be put on its worker's run queue"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The process was idle: put it on the run queue.
    Schedule,
    /// It is there already.
    Scheduled,
}

impl Pushed {
    fn now_scheduled(flag: &mut bool) -> Self {
        if std::mem::replace(flag, true) {
            Self::Scheduled
        } else {
            Self::Schedule
        }
    }
}

/// The message as the process takes it. A message that is one already needs no conversion, and no
/// protection from one.
#[inline(always)]
pub(crate) fn converted<T: 'static, M: From<T> + 'static>(message: T) -> Result<M, Reason> {
    let mut message = Some(message);
    let same = (&mut message as &mut dyn Any).downcast_mut::<Option<M>>();
    match (same.and_then(Option::take), message) {
        (Some(message), _) => Ok(message),
        (None, Some(message)) => caught(|| Ok(M::from(message))),
        (None, None) => unreachable!("a message that was taken is there"),
    }
}

impl<M> Mailbox<M> {
    /// Starts out as scheduled: nothing runs before `init` is done.
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        let capacity = capacity.map_or(u64::MAX, |n| n as u64);
        Self {
            lanes: Mutex::new(Lanes {
                first: None,
                main: VecDeque::new(),
                control: VecDeque::new(),
                seldom: None,
                scheduled: true,
                closed: false,
                reserved: false,
                pushed: 0,
            }),
            urgent: AtomicBool::new(false),
            handled: AtomicU64::new(0),
            capacity,
        }
    }

    /// The conversion may be the user's, and is made under the lock; what it breaks is the
    /// process that takes such messages, never the sender.
    #[inline(always)]
    pub(crate) fn push<T>(
        &self,
        from: Source,
        receipt: Receipt,
        message: T,
        whatever_the_bound: bool,
    ) -> Result<Pushed, Refused<T>>
    where
        T: 'static,
        M: From<T> + 'static,
    {
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            return Err(Refused::Send(SendError::Terminated(message)));
        }
        if !whatever_the_bound && self.is_full(&lanes) {
            return Err(Refused::Send(SendError::Full(message)));
        }
        match converted(message) {
            Ok(message) => {
                lanes.append(Entry {
                    from,
                    receipt,
                    message,
                });
                Ok(Pushed::now_scheduled(&mut lanes.scheduled))
            }
            Err(reason) => Err(Refused::Conversion(reason)),
        }
    }

    /// Converts under the lock, after the mailbox is known to take the message: what is refused
    /// comes back as it was.
    pub(crate) fn push_with<T>(
        &self,
        from: Source,
        receipt: Receipt,
        message: T,
        convert: impl FnOnce(T) -> Result<M, SendError<T>>,
    ) -> Result<Pushed, SendError<T>> {
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            return Err(SendError::Terminated(message));
        }
        if self.is_full(&lanes) {
            return Err(SendError::Full(message));
        }
        let message = convert(message)?;
        lanes.append(Entry {
            from,
            receipt,
            message,
        });
        Ok(Pushed::now_scheduled(&mut lanes.scheduled))
    }

    /// Puts a message ahead of ordinary ones. Otherwise as [`push_with`](Self::push_with).
    pub(crate) fn push_ahead<T>(
        &self,
        from: Source,
        priority: Priority,
        message: T,
        convert: impl FnOnce(T) -> Result<M, Refused<T>>,
    ) -> Result<Pushed, Refused<T>> {
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            return Err(Refused::Send(SendError::Terminated(message)));
        }
        if self.is_full(&lanes) {
            return Err(Refused::Send(SendError::Full(message)));
        }
        let entry = Entry {
            from,
            receipt: Receipt::NONE,
            message: convert(message)?,
        };
        let lane = match priority {
            Priority::Normal => {
                lanes.append(entry);
                return Ok(Pushed::now_scheduled(&mut lanes.scheduled));
            }
            Priority::High => &mut lanes.seldom().high,
            Priority::Max => &mut lanes.seldom().max,
        };
        lane.push_back(entry);
        lanes.pushed += 1;
        self.urgent.store(true, Ordering::Release);
        Ok(Pushed::now_scheduled(&mut lanes.scheduled))
    }

    /// `None` if the process has ended: a signal to it has no effect any more.
    pub(crate) fn signal(&self, signal: Signal) -> Option<Pushed> {
        let mut lanes = lock(&self.lanes);
        if lanes.closed {
            return None;
        }
        match signal {
            Signal::Kill => lanes.control.push_front(signal),
            Signal::Inspect(_) => {
                lanes.drop_unwanted_inspections();
                lanes.control.push_back(signal);
            }
            _ => lanes.control.push_back(signal),
        }
        self.urgent.store(true, Ordering::Release);
        Some(Pushed::now_scheduled(&mut lanes.scheduled))
    }

    /// Takes what goes before ordinary messages: signals first.
    #[inline]
    pub(crate) fn take_urgent(&self) -> Option<Urgent<M>> {
        if !self.urgent.load(Ordering::Acquire) {
            return None;
        }
        self.take_from_lanes()
    }

    #[inline(never)]
    fn take_from_lanes(&self) -> Option<Urgent<M>> {
        let mut lanes = lock(&self.lanes);
        let urgent = match lanes.control.pop_front() {
            Some(signal) => Some(Urgent::Signal(signal)),
            None => lanes
                .seldom
                .as_mut()
                .and_then(|seldom| seldom.pop())
                .map(Urgent::Message),
        };
        if lanes.control.is_empty() && !lanes.has_messages_ahead() {
            self.urgent.store(false, Ordering::Release);
            lanes.tidy();
        }
        urgent
    }

    /// Whether a signal waits that ends a process which does, or does not, trap exits.
    pub(crate) fn has_final_signal(&self, traps_exits: bool) -> bool {
        let is_final = |signal: &Signal| match signal {
            Signal::Kill => true,
            Signal::Exit { trappable, .. } => !(*trappable && traps_exits),
            Signal::Down(_) | Signal::Inspect(_) => false,
        };
        self.urgent.load(Ordering::Acquire) && lock(&self.lanes).control.iter().any(is_final)
    }

    /// Takes what has arrived: the oldest message, and into the drained `batch` those after it.
    pub(crate) fn refill(&self, batch: &mut VecDeque<Entry<M>>) -> Next<M> {
        debug_assert!(
            batch.is_empty(),
            "a batch is handled before the next is taken"
        );
        if batch.capacity() > KEPT_CAPACITY {
            *batch = VecDeque::new();
        }
        let mut lanes = lock(&self.lanes);
        if !lanes.reserved {
            return self.next_of(&mut lanes, batch);
        }
        let mut waiters = Vec::new();
        if self.depth_of(&lanes) < self.capacity {
            lanes.reserved = false;
            waiters = std::mem::take(&mut lanes.seldom().waiters);
            lanes.tidy();
        }
        let next = self.next_of(&mut lanes, batch);
        drop(lanes);
        for waiter in waiters {
            // A driver's code, which has no place among the reasons of this process.
            contain("a waiter for room", waiter);
        }
        next
    }

    #[inline]
    fn next_of(&self, lanes: &mut Lanes<M>, batch: &mut VecDeque<Entry<M>>) -> Next<M> {
        if self.urgent.load(Ordering::Relaxed) {
            return Next::Urgent;
        }
        let Some(first) = lanes.first.take() else {
            lanes.scheduled = false;
            return Next::Rest;
        };
        if !lanes.main.is_empty() {
            std::mem::swap(&mut lanes.main, batch);
        }
        Next::Message(first)
    }

    fn is_full(&self, lanes: &Lanes<M>) -> bool {
        lanes.reserved || self.depth_of(lanes) >= self.capacity
    }

    fn depth_of(&self, lanes: &Lanes<M>) -> u64 {
        lanes.pushed - self.handled.load(Ordering::Acquire)
    }

    /// The running thread has handled one more message.
    pub(crate) fn count_handled(&self) {
        let handled = self.handled.load(Ordering::Relaxed);
        self.handled.store(handled + 1, Ordering::Release);
    }

    /// Keeps the waiter if the mailbox is full; it is called when there is room, or when the
    /// process ends.
    pub(crate) fn when_room(&self, waiter: RoomWaiter) -> bool {
        let mut lanes = lock(&self.lanes);
        if lanes.closed || !self.is_full(&lanes) {
            return false;
        }
        lanes.seldom().waiters.push(waiter);
        lanes.reserved = true;
        true
    }

    /// Ends the `init` phase. `Schedule` if something arrived meanwhile.
    pub(crate) fn open_for_runs(&self) -> Pushed {
        let mut lanes = lock(&self.lanes);
        lanes.scheduled = lanes.first.is_some() || self.urgent.load(Ordering::Relaxed);
        if lanes.scheduled {
            Pushed::Schedule
        } else {
            Pushed::Scheduled
        }
    }

    /// Refuses everything from now on and gives back what was waiting.
    pub(crate) fn close(&self) -> Left<impl Iterator<Item = Entry<M>>> {
        let mut lanes = lock(&self.lanes);
        lanes.closed = true;
        lanes.scheduled = true;
        let first = lanes.first.take();
        let main = std::mem::take(&mut lanes.main);
        let signals = std::mem::take(&mut lanes.control);
        let seldom = lanes
            .seldom
            .take()
            .map_or_else(Seldom::default, |seldom| *seldom);
        drop(lanes);
        let ahead = seldom.max.into_iter().chain(seldom.high);
        Left {
            messages: first.into_iter().chain(main).chain(ahead),
            signals,
            waiters: seldom.waiters,
        }
    }

    /// Messages waiting or being handled, messages ever pushed, and whether there is nothing to do.
    pub(crate) fn depth(&self) -> (u64, u64, bool) {
        let lanes = lock(&self.lanes);
        (self.depth_of(&lanes), lanes.pushed, !lanes.scheduled)
    }
}

impl Signal {
    /// What a stopping node and an ending parent send.
    pub(crate) fn ordered(from: Pid, reason: Reason) -> Self {
        Self::Exit {
            from: Target::Pid(from),
            reason,
            trappable: false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Mailbox, Signal};
    use crate::call::Waiting;
    use crate::sync::lock;

    #[test]
    fn inspections_that_nobody_waits_for_do_not_pile_up() {
        let mailbox = Mailbox::<u64>::new(None);
        let ask = || {
            let (reply, waiting) = Waiting::new(None);
            let _scheduled = mailbox.signal(Signal::Inspect(reply));
            waiting
        };
        let wanted: Vec<_> = (0..40).map(|_| ask()).collect();
        for _ in 0..10_000 {
            ask().close();
        }
        let waiting = lock(&mailbox.lanes).control.len();
        assert!(waiting <= 128, "{waiting}");
        drop(mailbox);
        assert!(wanted.iter().all(|waiting| waiting.is_answered()));
    }
}
