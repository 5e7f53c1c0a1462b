//! A worker's driver: it serves the listeners and connections of that worker.

mod accept;
mod certs;
mod command;
mod connect;
mod handshakes;
mod lookup;

use std::cell::OnceCell;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use socktree_buffer::{BufferPool, ReadBuffer};
use socktree_kernel::{Driver, MetaExit, MetaLife, Receipt, Wait, WorkerId};
use socktree_reactor::{Doze, Event, Os, Reactor, Remote, SourceIo, SourceMut, Token};

pub(crate) use command::{Accepted, Attempt, Command};

use crate::connection::{Buffers, Connection, Fate, Shut, Tell};
use crate::driver::connect::Connecting;
use crate::driver::handshakes::Handshakes;
use crate::driver::lookup::Lookups;
use crate::event::DisconnectReason;
use crate::node::{Line, Remotes};
use crate::server::ServerShared;

/// Readiness that one turn serves before processes get to run, if it brings few bytes. Few enough that
/// what reading has touched, the kernel's and ours, is still in a cache of the core's own when the
/// answers are written.
const EVENTS_PER_TURN: usize = 64;

/// How long a driver keeps the memory of a burst after the last activity. Long enough that a
/// service that is used never notices, short enough that one that idles gives back what it has.
const TIDY_AFTER: Duration = Duration::from_millis(500);

/// What a source of the loop is.
pub(crate) enum Owned {
    Connection(Box<Connection>),
    /// An attempt to connect, with what is left to try.
    Connecting(Box<Connecting>),
    Listener(Box<Listening>),
    /// Nothing, while an attempt becomes a connection.
    Vacant,
}

pub(crate) struct Listening {
    server: Arc<ServerShared>,
    life: MetaLife,
}

pub(crate) struct TcpDriver<O: Os> {
    reactor: Reactor<O, Owned, Command<O>>,
    worker: WorkerId,
    line: Arc<Line<O>>,
    /// Every driver of the node.
    remotes: Remotes<O>,
    /// The loops of the others, so that the end of a connection need not ask a table that all of
    /// them share. All drivers are made before the first of them takes a turn.
    others: OnceCell<Box<[Remote<Command<O>>]>>,
    lookups: Lookups,
    handshakes: Handshakes,
    buffers: Buffers,
    /// Connections to look at when the processes have run.
    touched: Vec<Token>,
    /// Those of them that are still to be looked at now.
    flushing: Vec<Token>,
    /// Those that have waited for credit which is there now.
    credited: Vec<Token>,
    /// The connection that something is being done with: found there later, it was left in the
    /// middle by a panic.
    stepping: Option<Token>,
    /// The last turn ended in the middle, to let processes run.
    in_turn: bool,
    /// The last turn went on with the one before, so it did not ask the system.
    continued: bool,
    /// Connections whose owner has been told of the end and whose socket is still there.
    lingering: usize,
    /// Something was served since the last look, and whether a next look is due.
    active: bool,
    look_due: bool,
}

impl<O: Os> TcpDriver<O> {
    pub(crate) fn new(
        reactor: Reactor<O, Owned, Command<O>>,
        worker: WorkerId,
        line: Arc<Line<O>>,
        remotes: Remotes<O>,
        pool: &BufferPool,
    ) -> Self {
        let mut buffer = ReadBuffer::new(pool);
        // Has the pool make the block now, in a place where it is in nobody's way: one that was
        // made at the peak of a burst would keep the allocator from giving back what lies below.
        let _made = buffer.spare_mut();
        buffer.release();
        Self {
            reactor,
            worker,
            line,
            remotes,
            others: OnceCell::new(),
            lookups: Lookups::default(),
            handshakes: Handshakes::default(),
            buffers: Buffers {
                plain: buffer,
                sealed: ReadBuffer::new(pool),
                unhandled: 0,
            },
            touched: Vec::with_capacity(EVENTS_PER_TURN),
            flushing: Vec::new(),
            credited: Vec::new(),
            stepping: None,
            in_turn: false,
            continued: false,
            lingering: 0,
            active: false,
            look_due: false,
        }
    }

    /// Does something with a connection, and what follows from it.
    #[inline]
    fn with(
        &mut self,
        token: Token,
        step: impl FnOnce(&mut Connection, &mut SourceIo<'_, O, Command<O>>) -> Fate,
    ) {
        if let Some(SourceMut {
            data: Owned::Connection(connection),
            mut io,
        }) = self.reactor.source(token)
        {
            self.stepping = Some(token);
            let fate = step(connection, &mut io);
            self.stepping = None;
            if !matches!(fate, Fate::Lives) {
                self.apply(token, fate);
            }
        }
    }

    /// A panic has left a connection in the middle of something: in the drop of somebody's bytes,
    /// say, where user code runs on this thread. What it was about to hand over is lost, so it must
    /// not go on as if nothing were.
    ///
    /// Asked before anything else is done with a connection, as that would take the mark away.
    #[inline]
    fn recover(&mut self) {
        if let Some(token) = self.stepping.take() {
            self.apply(token, Fate::resets(DisconnectReason::Aborted));
            // And those to whom that was to be done next.
            self.credit_back();
        }
    }

    /// Reads from the next source, if reading is what comes next; true if the processes should run
    /// before more is read.
    #[inline]
    fn read_next(&mut self) -> Option<bool> {
        let source = self.reactor.next_readable()?;
        let token = source.token();
        self.active = true;
        self.stepping = Some(token);
        let fate = read(source, &mut self.touched, &mut self.buffers);
        self.stepping = None;
        Some(self.after_read(token, fate))
    }

    #[inline]
    fn after_read(&mut self, token: Token, fate: Fate) -> bool {
        if !matches!(fate, Fate::Lives) {
            self.apply(token, fate);
        }
        self.buffers.is_a_turns_worth()
    }

    fn readable(&mut self, token: Token) -> bool {
        let Some(source) = self.reactor.source(token) else {
            return false;
        };
        self.active = true;
        self.stepping = Some(token);
        let fate = read(source, &mut self.touched, &mut self.buffers);
        self.stepping = None;
        self.after_read(token, fate)
    }

    #[cold]
    fn apply(&mut self, token: Token, fate: Fate) {
        match fate {
            Fate::Lives => {}
            Fate::Lingers(reason) => {
                let Some(SourceMut {
                    data: Owned::Connection(connection),
                    mut io,
                }) = self.reactor.source(token)
                else {
                    return;
                };
                if !connection.is_lingering() {
                    self.lingering += 1;
                    let handshaking = connection.is_handshaking();
                    connection.linger(&mut io, reason.into());
                    if handshaking {
                        self.alert_waits(token);
                    }
                }
            }
            Fate::Ends(reason) => {
                if let Some(SourceMut {
                    data: Owned::Connection(connection),
                    mut io,
                }) = self.reactor.source(token)
                {
                    connection.farewell(&mut io);
                }
                self.end(token, reason.into());
            }
            Fate::Resets(reason) => {
                if let Some(mut source) = self.reactor.source(token) {
                    // A socket that is no longer connected needs no reset.
                    let _not_connected = source.io.set_reset_on_close();
                }
                self.end(token, reason.into());
            }
        }
    }

    /// Closes the socket, and only then tells anyone.
    fn end(&mut self, token: Token, reason: DisconnectReason) {
        if let Some(SourceMut {
            data: Owned::Connection(connection),
            mut io,
        }) = self.reactor.source(token)
            && (connection.shared.queued() > 0 || connection.is_broken())
        {
            // Bytes are dropped: an end in good order would hide that from the peer.
            let _not_connected = io.set_reset_on_close();
        }
        match self.reactor.remove(token) {
            Some(Owned::Connection(mut connection)) => {
                if connection.is_lingering() {
                    self.lingering -= 1;
                }
                if let Some(server) = &connection.shared.group().server {
                    server.count_ended();
                }
                log::debug!("{}: {reason}", connection.shared.alias());
                connection.end(reason);
            }
            Some(Owned::Connecting(connecting)) => connecting.fail(reason),
            Some(Owned::Listener(_) | Owned::Vacant) | None => return,
        }
        self.descriptor_freed();
    }

    /// How many workers the node has.
    fn workers(&self) -> usize {
        let remotes = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
        remotes.len()
    }

    /// Lets listeners of other workers go on that have run out of descriptors; ours does already.
    fn descriptor_freed(&self) {
        let others = self.others.get_or_init(|| {
            let remotes = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
            let others = remotes.iter().enumerate();
            let others = others.filter(|(index, _)| *index != self.worker.index());
            others.map(|(_, peer)| peer.remote.clone()).collect()
        });
        for other in others {
            other.descriptor_freed();
        }
    }

    /// One event; true if the processes should run before the next.
    #[inline(never)]
    fn serve(&mut self, event: Event<O, Command<O>>) -> bool {
        match event {
            Event::Readable(token) => return self.readable(token),
            Event::Writable(token) => self.with(token, |connection, io| connection.writable(io)),
            Event::Hangup(token) => self.with(token, |connection, io| connection.hung_up(io)),
            Event::Deadline(token) => {
                let now = self.reactor.now();
                self.with(token, |connection, io| connection.deadline(io, now));
                self.connect_deadline(token);
            }
            Event::Accepted {
                listener,
                stream,
                peer,
            } => self.accepted(listener, stream, peer),
            Event::Connected(token) => self.connected(token),
            Event::ConnectFailed { token, error } => {
                self.connect_failed(token, DisconnectReason::from_io(&error));
            }
            Event::ListenerFailed { token, error } => self.listener_failed(token, error),
            Event::Command(command) => self.command(command),
        }
        false
    }

    fn command(&mut self, command: Command<O>) {
        match command {
            Command::Tell(token, what) => self.told(token, what),
            Command::Listen(listen) => {
                let (listener, server, life) = *listen;
                self.listen(listener, server, life);
            }
            Command::Adopt(accepted, sink) => self.adopt(*accepted, sink),
            Command::Accept(listener) => self.accept_again(listener),
            Command::Connect(attempt) => self.connect(*attempt),
            Command::LookFor(alias) => self.look_for(alias),
            Command::LookedUp(alias, found) => self.looked_up(alias, found),
            Command::PollCerts(listener) => self.poll_certs(listener),
            Command::CertsPolled(listener, due) => self.certs_polled(listener, due),
            Command::Tidy => self.tidy(),
        }
    }

    /// Gives back the memory of the last burst if nothing has happened since. Not even a small
    /// piece is kept: one that was allocated at the peak keeps the allocator from giving back
    /// everything below it.
    fn tidy(&mut self) {
        self.look_due = false;
        if mem::take(&mut self.active) {
            self.look_again();
        } else {
            self.buffers.plain.release();
            self.buffers.sealed.release();
            self.reactor.release_spare_memory();
        }
    }

    #[cold]
    fn look_again(&mut self) {
        if let Some(at) = self.reactor.after(TIDY_AFTER) {
            self.reactor.schedule(at, Command::Tidy);
            self.look_due = true;
        }
    }

    fn told(&mut self, token: Token, what: Tell) {
        if let Some(Owned::Connecting(connecting)) = self.reactor.data(token) {
            connecting.shared().look();
            if let Some(reason) = connecting.shared().given_up() {
                return self.end(token, reason);
            }
        }
        if let Tell::Exit(why) = what {
            return self.exit(token, *why);
        }
        self.with(token, |connection, io| match what {
            Tell::Flush => connection.flush(io),
            Tell::Room => connection.room(io),
            Tell::Pause => connection.pause(io),
            Tell::Exit(_) => Fate::Lives,
        });
    }

    /// Credit that connections have waited for is there.
    #[inline]
    fn credit_back(&mut self) {
        while let Some(token) = self.credited.pop() {
            self.credit_back_to(token);
        }
    }

    #[inline(never)]
    fn credit_back_to(&mut self, token: Token) {
        self.with(token, |connection, io| connection.credit_back(io));
        if let Some(Owned::Connection(connection)) = self.reactor.data_mut(token)
            && connection.awaits_answers()
        {
            touch(&mut self.touched, token, connection);
        }
    }

    fn exit(&mut self, token: Token, why: MetaExit) {
        match self.reactor.data_mut(token) {
            Some(Owned::Connection(_)) => {
                self.with(token, |connection, io| exit_connection(connection, io, why));
            }
            Some(Owned::Connecting(_)) => self.end(token, end_of_attempt(&why)),
            Some(Owned::Listener(_)) => self.close_listener(token, why),
            Some(Owned::Vacant) | None => {}
        }
    }
}

/// Why an attempt to connect is over that was told to end.
fn end_of_attempt(why: &MetaExit) -> DisconnectReason {
    match why {
        MetaExit::Requested(exit) if exit.is_clean() => DisconnectReason::Closed,
        MetaExit::Requested(_) => DisconnectReason::Aborted,
        MetaExit::ParentEnded(_) => DisconnectReason::ParentDown,
        MetaExit::OwnerEnded(_) => DisconnectReason::OwnerDown,
    }
}

/// What a connection does when it is told to end.
fn exit_connection<O: Os, C>(
    connection: &mut Connection,
    io: &mut SourceIo<'_, O, C>,
    why: MetaExit,
) -> Fate {
    if connection.is_handshaking() {
        return Fate::ends(end_of_attempt(&why));
    }
    let (reason, exit) = match why {
        MetaExit::Requested(exit) if exit.is_clean() => {
            connection.shared.shut(Shut::Close);
            return connection.flush(io);
        }
        MetaExit::Requested(_) => return Fate::ends(DisconnectReason::Aborted),
        MetaExit::ParentEnded(exit) => (DisconnectReason::ParentDown, exit),
        MetaExit::OwnerEnded(exit) => (DisconnectReason::OwnerDown, exit),
    };
    if exit.is_clean() {
        connection.leave(io, reason)
    } else {
        Fate::ends(reason)
    }
}

/// Reads once.
///
/// The owner's answers need not be announced one by one: the connection is looked at once the
/// owner has run.
#[inline(always)]
fn read<O: Os>(
    source: SourceMut<'_, O, Owned, Command<O>>,
    touched: &mut Vec<Token>,
    buffers: &mut Buffers,
) -> Fate {
    let SourceMut { data, mut io } = source;
    let Owned::Connection(connection) = data else {
        return Fate::Lives;
    };
    touch(touched, io.token(), connection);
    connection.read(&mut io, buffers)
}

#[inline]
fn touch(touched: &mut Vec<Token>, token: Token, connection: &mut Connection) {
    if !mem::replace(&mut connection.touched, true) {
        connection.shared.watch();
        touched.push(token);
    }
}

impl<O: Os> Driver for TcpDriver<O> {
    fn turn(&mut self, wait: Wait, may_sleep: &dyn Fn() -> bool) {
        self.recover();
        self.buffers.unhandled = 0;
        self.continued = mem::take(&mut self.in_turn);
        if !self.continued {
            let until = match wait {
                Wait::No => Some(self.reactor.now()),
                Wait::Until(at) => Some(at),
                Wait::Forever => None,
            };
            let allowed = wait != Wait::No;
            if let Err(error) = self.reactor.poll(until, || allowed && may_sleep()) {
                // Nothing can be served any more, and a loop that goes on would spin.
                panic!("the event loop has failed: {error}");
            }
        }
        for _ in 0..EVENTS_PER_TURN {
            let hot = if let Some(hot) = self.read_next() {
                hot
            } else if let Some(event) = self.reactor.next_event() {
                self.serve(event)
            } else {
                return;
            };
            if hot {
                break;
            }
        }
        self.in_turn = true;
    }

    fn handled(&mut self, receipts: &mut Vec<Receipt>) {
        for receipt in receipts.drain(..) {
            let token = Token::from_bits(receipt.token);
            if let Some(Owned::Connection(connection)) = self.reactor.data_mut(token)
                && connection.handled(receipt.amount)
            {
                self.credited.push(token);
            }
        }
        // Not before all are counted: it may end a connection, and drop a user's bytes.
        if !self.credited.is_empty() {
            self.recover();
            self.credit_back();
        }
    }

    fn flush(&mut self) {
        self.recover();
        // What is touched while this runs belongs to the next flush; what a panic has left of the
        // last one, to this.
        if self.flushing.is_empty() {
            mem::swap(&mut self.touched, &mut self.flushing);
            self.flushing.reverse();
        }
        while let Some(token) = self.flushing.pop() {
            self.with(token, |connection, io| {
                connection.touched = false;
                connection.flush(io)
            });
        }
        if self.active && !self.look_due {
            self.look_again();
        }
    }

    fn nest(&mut self, host: WorkerId) -> bool {
        let remotes = self.remotes.read().unwrap_or_else(PoisonError::into_inner);
        let host = remotes.get(host.index()).and_then(|peer| peer.host.clone());
        drop(remotes);
        let name = u32::try_from(self.worker.index()).unwrap_or(u32::MAX);
        match host.map(|host| self.reactor.nest(&host, name)) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                log::warn!("{} needs a thread of its own: {error}", self.worker);
                false
            }
            None => false,
        }
    }

    fn unnest(&mut self) {
        self.reactor.unnest();
    }

    fn doze(&mut self, may_sleep: &dyn Fn() -> bool) -> Wait {
        // Only after a turn that asked the system does the host know of everything.
        if self.in_turn || self.continued {
            return Wait::No;
        }
        match self.reactor.doze(may_sleep) {
            Doze::Refused => Wait::No,
            Doze::Until(at) => Wait::Until(at),
            Doze::UntilWoken => Wait::Forever,
        }
    }

    fn next_guest(&mut self) -> Option<usize> {
        usize::try_from(self.reactor.next_nested()?).ok()
    }

    fn is_busy(&self) -> bool {
        self.lingering > 0
    }
}
