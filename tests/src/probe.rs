//! An owner of connections that does what a test says and tells the test what it saw.

use std::collections::HashSet;
use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use socktree::{
    Actor, Address, Alias, Conn, Ctx, DisconnectReason, Down, Exit, Flow, Reason, Source, TcpEvent,
    protocol,
};

use crate::until::DEADLINE;

type Script = Box<dyn FnMut(&mut Ctx<'_, Probe>, &TcpEvent) -> Flow + Send>;
type Step = Box<dyn FnOnce(&mut Ctx<'_, Probe>) -> Flow + Send>;

/// Something that a test wants done inside the actor.
pub struct Do(Step);

impl Do {
    /// A step to be sent, at once or by a timer.
    pub fn new(step: impl FnOnce(&mut Ctx<'_, Probe>) -> Flow + Send + 'static) -> Self {
        Self(Box::new(step))
    }
}

impl fmt::Debug for Do {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Do")
    }
}

protocol! {
    /// What a [`Probe`] takes.
    #[derive(Debug)]
    #[expect(clippy::exhaustive_enums, reason = "for the tests of this package alone")]
    pub enum Said {
        /// From a connection.
        Net(TcpEvent),
        /// From the test.
        Do(Do),
    }
}

/// What a process can hear besides messages.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "for the tests of this package alone"
)]
pub enum Notice {
    /// See [`Actor::down`].
    Down(Down),
    /// See [`Actor::exit`].
    Exit(Exit),
    /// See [`Actor::terminate`].
    Terminated(Reason),
}

/// The actor. Each event goes to the script first and then to the test's [`Watch`].
pub struct Probe {
    init: Option<Step>,
    script: Script,
    ear: Ear,
}

/// Where probes tell what they saw.
#[derive(Clone, Debug)]
pub struct Ear {
    events: Sender<TcpEvent>,
    notices: Sender<Notice>,
}

/// The test's side of probes. It checks that each connection begins with one `Connect` and ends
/// with one `Disconnect`, and that nothing follows.
#[derive(Debug)]
pub struct Watch {
    ear: Ear,
    events: Receiver<TcpEvent>,
    notices: Receiver<Notice>,
    lives: Mutex<Lives>,
}

#[derive(Debug, Default)]
struct Lives {
    live: HashSet<Alias>,
    over: HashSet<Alias>,
}

impl Probe {
    /// An owner that does nothing but tell.
    pub fn new() -> (Self, Watch) {
        let watch = Watch::new();
        (watch.ear().probe(), watch)
    }

    /// An owner that answers each message with itself.
    pub fn echo() -> (Self, Watch) {
        let (probe, watch) = Self::new();
        (probe.echoing(), watch)
    }

    /// Answers each message with itself.
    #[must_use]
    pub fn echoing(self) -> Self {
        self.on(|_, event| {
            if let TcpEvent::Data { conn, data } = event {
                conn.write(data.clone());
            }
            Ok(())
        })
    }

    /// Does this with each event.
    #[must_use]
    pub fn on(
        mut self,
        script: impl FnMut(&mut Ctx<'_, Self>, &TcpEvent) -> Flow + Send + 'static,
    ) -> Self {
        self.script = Box::new(script);
        self
    }

    /// Does this in [`Actor::init`].
    #[must_use]
    pub fn init(mut self, step: impl FnOnce(&mut Ctx<'_, Self>) -> Flow + Send + 'static) -> Self {
        self.init = Some(Box::new(step));
        self
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl Actor for Probe {
    type Msg = Said;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        self.init.take().map_or(Ok(()), |init| init(ctx))
    }

    fn handle(&mut self, ctx: &mut Ctx<'_, Self>, _from: Source, said: Said) -> Flow {
        match said {
            Said::Do(Do(step)) => step(ctx),
            Said::Net(event) => {
                let flow = (self.script)(ctx, &event);
                // A test that is over does not listen any more.
                let _over = self.ear.events.send(event);
                flow
            }
        }
    }

    fn down(&mut self, _: &mut Ctx<'_, Self>, down: Down) -> Flow {
        let _over = self.ear.notices.send(Notice::Down(down));
        Ok(())
    }

    fn exit(&mut self, _: &mut Ctx<'_, Self>, exit: Exit) -> Flow {
        let _over = self.ear.notices.send(Notice::Exit(exit));
        Ok(())
    }

    fn terminate(&mut self, _: &mut Ctx<'_, Self>, reason: &Reason) {
        let _over = self.ear.notices.send(Notice::Terminated(reason.clone()));
    }
}

impl Ear {
    /// A further owner that tells the same test.
    pub fn probe(&self) -> Probe {
        Probe {
            init: None,
            script: Box::new(|_, _| Ok(())),
            ear: self.clone(),
        }
    }
}

impl Watch {
    fn new() -> Self {
        let (tell, events) = mpsc::channel();
        let (notify, notices) = mpsc::channel();
        Self {
            ear: Ear {
                events: tell,
                notices: notify,
            },
            events,
            notices,
            lives: Mutex::default(),
        }
    }

    /// For probes that nobody listens to.
    pub fn deaf() -> Ear {
        Self::new().ear()
    }

    /// For further probes that tell this watch.
    pub fn ear(&self) -> Ear {
        self.ear.clone()
    }

    /// The next event of any connection.
    pub fn next(&self) -> TcpEvent {
        let event = self.events.recv_timeout(DEADLINE);
        let event = event.unwrap_or_else(|_| panic!("no event in {DEADLINE:?}"));
        self.check(&event);
        event
    }

    /// The next event, if there is one now.
    pub fn try_next(&self) -> Option<TcpEvent> {
        let event = self.events.try_recv().ok()?;
        self.check(&event);
        Some(event)
    }

    /// The oracle of the life cycle (O3 of the fault list).
    fn check(&self, event: &TcpEvent) {
        let alias = event.conn().alias();
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let right = match event {
            TcpEvent::Connect { .. } => !lives.over.contains(&alias) && lives.live.insert(alias),
            TcpEvent::ConnectFailed { .. } => {
                !lives.live.contains(&alias) && lives.over.insert(alias)
            }
            TcpEvent::Disconnect { .. } => lives.live.remove(&alias) && lives.over.insert(alias),
            _ => lives.live.contains(&alias),
        };
        drop(lives);
        assert!(right, "out of order: {event:?}");
    }

    /// The next event, which must be a `Connect`.
    pub fn connect(&self) -> Conn {
        match self.next() {
            TcpEvent::Connect { conn } => conn,
            other => panic!("not a Connect: {other:?}"),
        }
    }

    /// The next event, which must be a message.
    pub fn data(&self) -> Bytes {
        match self.next() {
            TcpEvent::Data { data, .. } => data,
            other => panic!("not a message: {other:?}"),
        }
    }

    /// The next bytes, however they are cut into messages.
    pub fn bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            bytes.extend(self.data());
        }
        assert_eq!(bytes.len(), len, "more bytes than expected");
        bytes
    }

    /// The next end of a connection, whatever comes before it.
    pub fn disconnect(&self) -> (Conn, DisconnectReason) {
        loop {
            if let TcpEvent::Disconnect { conn, reason } = self.next() {
                return (conn, reason);
            }
        }
    }

    /// Why the next connection ended.
    pub fn ended(&self) -> DisconnectReason {
        self.disconnect().1
    }

    /// The next notice.
    pub fn notice(&self) -> Notice {
        let notice = self.notices.recv_timeout(DEADLINE);
        notice.unwrap_or_else(|_| panic!("no notice in {DEADLINE:?}"))
    }

    /// Whether every connection that was seen to begin was seen to end.
    pub fn all_over(&self) -> bool {
        while self.try_next().is_some() {}
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.live.is_empty()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // What nobody looked at has to be in order, too.
        while !thread::panicking() && self.try_next().is_some() {}
    }
}

/// Has things done inside of an actor.
pub trait Ask {
    /// Has this done, and gives the result.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Ctx<'_, Probe>) -> T + Send + 'static,
    ) -> T;

    /// Has this done, and does not wait. An error ends the actor.
    fn tell(&self, step: impl FnOnce(&mut Ctx<'_, Probe>) -> Flow + Send + 'static);
}

impl Ask for Address<Said> {
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Ctx<'_, Probe>) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = mpsc::channel();
        self.tell(move |ctx| {
            let _gone = answer.send(question(ctx));
            Ok(())
        });
        let answer = answered.recv_timeout(DEADLINE);
        answer.expect("the actor answers")
    }

    fn tell(&self, step: impl FnOnce(&mut Ctx<'_, Probe>) -> Flow + Send + 'static) {
        self.send(Do::new(step)).expect("the actor lives");
    }
}
