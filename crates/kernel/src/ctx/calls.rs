//! Calls: messages that are answered, waited for or not.

use std::sync::Arc;
use std::time::Duration;

use crate::actor::Actor;
use crate::call::{Pending, Reply, RequestRef, Waiting};
use crate::ctx::Ctx;
use crate::ctx::timers::after;
use crate::error::{CallError, SendError};
use crate::id::Target;
use crate::message::Address;
use crate::meta::Inspection;

impl<A: Actor> Ctx<'_, A> {
    /// Sends a message that asks for an answer, and waits for it. The worker goes on meanwhile
    /// under another thread; this process handles nothing until the answer is there.
    ///
    /// `make` builds the message around the [`Reply`] that it carries. Where a handler can do
    /// something else in between, [`request`](Self::request) costs a fraction of this.
    ///
    /// # Errors
    ///
    /// At once if the message is refused ([`SendError`] says when), if it is a call to oneself, if
    /// the callee ends or drops the reply; [`CallError::Ending`] if this process is told to end
    /// meanwhile, by a signal that it does not trap; [`CallError::Timeout`] at last.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use socktree_kernel::{Actor, Ctx, Flow, Reply, Source, protocol};
    /// struct Price { item: String, reply: Reply<u32> }
    /// struct Buy(String);
    /// protocol!(Price, Buy);
    ///
    /// struct Shop;
    /// impl Actor for Shop {
    ///     type Msg = Buy;
    ///     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, Buy(item): Buy) -> Flow {
    ///         let price = ctx.call("prices", |reply| Price { item, reply }, Duration::from_secs(1))?;
    ///         println!("that is {price}");
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn call<T: Send + 'static, R: Send + 'static>(
        &mut self,
        to: impl Into<Target>,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let (core, to) = (self.process.core_ref(), to.into());
        if self.is_own(&to) {
            return Err(CallError::ToItself);
        }
        let send = |message| self.counted(core.node.ask(self.source(), &to, message));
        self.wait_for(make, timeout, send)
    }

    /// [`call`](Self::call) to a typed address.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_to<M: Send + 'static, T: Into<M>, R: Send + 'static>(
        &mut self,
        to: &Address<M>,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
    ) -> Result<R, CallError> {
        if to.pid() == self.pid() {
            return Err(CallError::ToItself);
        }
        let send = |message: T| self.counted(to.ask_from(self.source(), message.into()));
        self.wait_for(make, timeout, send)
    }

    fn wait_for<T, M, R: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
        send: impl FnOnce(T) -> Result<(), SendError<M>>,
    ) -> Result<R, CallError> {
        let (reply, waiting) = Waiting::new(self.now().checked_add(timeout));
        send(make(reply)).map_err(|refused| CallError::from(&refused))?;
        // Only a callee on another worker can be as fast.
        if !waiting.is_answered()
            && let Some(turn) = self.turn
        {
            turn.hand_over();
        }
        self.wait(&waiting, timeout)
    }

    fn wait<R: Send + 'static>(
        &self,
        waiting: &Arc<Waiting<R>>,
        timeout: Duration,
    ) -> Result<R, CallError> {
        let process = self.process;
        let must_end = || process.must_end(*self.trap_exit);
        process
            .core_ref()
            .interrupt_by_signals(Some(Arc::clone(waiting) as _));
        // A signal that came before has interrupted nothing.
        let answer = if must_end() && !waiting.is_answered() {
            waiting.close();
            Err(CallError::Ending)
        } else {
            waiting.wait(timeout, must_end)
        };
        process.core_ref().interrupt_by_signals(None);
        answer
    }

    /// Waits for a reply that something other than a process gives: a thread, or a
    /// [driver](crate::Driver), which may be this worker's. The worker goes on meanwhile under another
    /// thread. What `ask` does with the [`Reply`] must lead to an answer; dropping it is one.
    ///
    /// # Errors
    ///
    /// [`CallError::NoThread`] at once, and nothing was asked, if no thread is left to go on with the
    /// worker; [`CallError::Ending`] if this process is told to end meanwhile, by a signal that it does
    /// not trap; [`CallError::NoReply`] if the reply is dropped; [`CallError::Timeout`] at last.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::{thread, time::Duration};
    /// # use socktree_kernel::{Actor, Ctx, Flow, NoMessages, NodeBuilder, Source};
    /// struct Sum;
    /// impl Actor for Sum {
    ///     type Msg = NoMessages;
    ///     fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
    ///         let sum = ctx.wait_for_reply(Duration::from_secs(10), |reply| {
    ///             thread::spawn(move || reply.send((1..=1_000_000_u64).sum::<u64>()));
    ///         })?;
    ///         assert_eq!(sum, 500_000_500_000);
    ///         Ok(())
    ///     }
    /// #   fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, never: NoMessages) -> Flow {
    /// #       match never {}
    /// #   }
    /// }
    /// # let node = NodeBuilder::new("doc@localhost").start()?;
    /// # node.spawn(Sum)?;
    /// # node.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_reply<R: Send + 'static>(
        &mut self,
        timeout: Duration,
        ask: impl FnOnce(Reply<R>),
    ) -> Result<R, CallError> {
        if !self.may_wait() {
            return Err(CallError::NoThread);
        }
        let (reply, waiting) = Waiting::new(self.now().checked_add(timeout));
        ask(reply);
        self.wait(&waiting, timeout)
    }

    /// Sends a message that asks for an answer, which comes as a message to this process.
    ///
    /// `make` builds the message around the [`Reply`] that it carries, and `then` makes a message
    /// for this process out of what comes of it: once, whatever comes of it, an answer, a refused
    /// message or a timeout. `then` may run on any thread, also on one that drives a worker, so it
    /// must not block; what it has captured is how to tell one request from another. The request ends with this process, and can be
    /// [cancelled](Self::cancel_request) before. Its answer never finds this process's mailbox full.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use socktree_kernel::{Actor, CallError, Ctx, Flow, Reply, Source, protocol};
    /// struct Price { item: String, reply: Reply<u32> }
    /// protocol!(Price);
    ///
    /// struct Buy(String);
    /// struct Offer { item: String, price: Result<u32, CallError> }
    /// protocol! { enum Msg { Buy(Buy), Offer(Offer) } }
    ///
    /// struct Shop;
    /// impl Actor for Shop {
    ///     type Msg = Msg;
    ///     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: Msg) -> Flow {
    ///         match message {
    ///             Msg::Buy(Buy(item)) => {
    ///                 let about = item.clone();
    ///                 let ask = |reply| Price { item, reply };
    ///                 let then = |price| Offer { item: about, price };
    ///                 ctx.request("prices", ask, Duration::from_secs(1), then);
    ///             }
    ///             Msg::Offer(Offer { item, price: Ok(price) }) => println!("{item}: {price}"),
    ///             Msg::Offer(Offer { item, price: Err(error) }) => println!("{item}: {error}"),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn request<T: Send + 'static, R: Send + 'static, N: 'static>(
        &mut self,
        to: impl Into<Target>,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
        then: impl FnOnce(Result<R, CallError>) -> N + Send + 'static,
    ) -> RequestRef
    where
        A::Msg: From<N>,
    {
        let (core, to) = (self.process.core_ref(), to.into());
        let send = |message| self.counted(core.node.ask(self.source(), &to, message));
        self.ask(make, timeout, then, send)
    }

    /// [`request`](Self::request) to a typed address.
    pub fn request_to<M: Send + 'static, T: Into<M>, R: Send + 'static, N: 'static>(
        &mut self,
        to: &Address<M>,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
        then: impl FnOnce(Result<R, CallError>) -> N + Send + 'static,
    ) -> RequestRef
    where
        A::Msg: From<N>,
    {
        let send = |message: T| self.counted(to.ask_from(self.source(), message.into()));
        self.ask(make, timeout, then, send)
    }

    fn ask<T, M, R: Send + 'static, N: 'static>(
        &self,
        make: impl FnOnce(Reply<R>) -> T,
        timeout: Duration,
        then: impl FnOnce(Result<R, CallError>) -> N + Send + 'static,
        send: impl FnOnce(T) -> Result<(), SendError<M>>,
    ) -> RequestRef
    where
        A::Msg: From<N>,
    {
        let now = self.now();
        let deadline = now.checked_add(timeout);
        let then = |answer| A::Msg::from(then(answer));
        let mut asked = None;
        let timer = self.set_timer_at(after(now, timeout), |timer| {
            let pending = Pending::open(self.process.arc(), timer, deadline, then);
            let expiry = pending.expiry();
            asked = Some(pending);
            expiry
        });
        let pending = asked.unwrap_or_else(|| Pending::closed(deadline));
        if let Err(refused) = send(make(pending.reply())) {
            // Before the message is dropped, which answers as well.
            pending.refused(CallError::from(&refused));
        }
        RequestRef(timer)
    }

    /// What the target tells about itself, with what its actor adds ([`Actor::inspect`]): a
    /// [call](Self::call) that goes before the messages that wait for it. It is no message, and is
    /// counted as none.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn inspect_actor(
        &mut self,
        target: impl Into<Target>,
        timeout: Duration,
    ) -> Result<Inspection, CallError> {
        let (node, target) = (&self.process.core_ref().node, target.into());
        if self.is_own(&target) {
            return Err(CallError::ToItself);
        }
        let ask = |reply| node.ask_to_inspect(&target, reply);
        self.wait_for(|reply| reply, timeout, ask)
    }

    /// As [`inspect_actor`](Self::inspect_actor), with the answer as a message: a
    /// [request](Self::request).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use socktree_kernel::{Actor, CallError, Ctx, Flow, Inspection, Source, protocol};
    /// struct Look;
    /// struct Seen(Result<Inspection, CallError>);
    /// protocol! { enum Msg { Look(Look), Seen(Seen) } }
    ///
    /// struct Observer;
    /// impl Actor for Observer {
    ///     type Msg = Msg;
    ///     fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _: Source, message: Msg) -> Flow {
    ///         match message {
    ///             Msg::Look(Look) => drop(ctx.request_inspection("cache", Duration::from_secs(1), Seen)),
    ///             Msg::Seen(Seen(Ok(items))) => println!("{items:?}"),
    ///             Msg::Seen(Seen(Err(error))) => println!("{error}"),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn request_inspection<N: 'static>(
        &mut self,
        target: impl Into<Target>,
        timeout: Duration,
        then: impl FnOnce(Result<Inspection, CallError>) -> N + Send + 'static,
    ) -> RequestRef
    where
        A::Msg: From<N>,
    {
        let (node, target) = (&self.process.core_ref().node, target.into());
        let ask = |reply| node.ask_to_inspect(&target, reply);
        self.ask(|reply| reply, timeout, then, ask)
    }

    /// Gives a request up. True if no answer will come of it; false if that is on its way already,
    /// or has come, or if the request is not one of this process's.
    pub fn cancel_request(&mut self, request: RequestRef) -> bool {
        self.cancel(request.0)
    }
}
