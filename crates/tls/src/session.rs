//! One side of one TLS connection, without any input or output of its own.

mod engine;
mod incoming;
mod info;
mod outgoing;
pub(crate) mod permit;
mod reading;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use self::engine::Engine;
use self::incoming::Incoming;
pub use self::info::TlsInfo;
use self::outgoing::Outgoing;
use self::permit::Permit;
use crate::manager::Pick;
use crate::{CertManager, TlsError};

/// One side of one TLS connection: bytes in, bytes out, plaintext in, plaintext out.
///
/// A server's comes from [`CertManager::session`], a client's from
/// [`ClientTls::session`](crate::ClientTls::session). It owns no socket and reads no clock; this
/// is what its owner does:
///
/// | when | call |
/// |---|---|
/// | always before it waits | send [`output`](Self::output), then [`sent`](Self::sent) |
/// | the socket can be read and [`wants_read`](Self::wants_read) | [`receive`](Self::receive) |
/// | there is room for plaintext and [`has_more`](Self::has_more) | [`read`](Self::read), **whatever the socket says** |
/// | the socket has ended | [`receive_eof`](Self::receive_eof) |
/// | the time of [`deadline`](Self::deadline) has come | [`handle_timeout`](Self::handle_timeout) |
/// | there is something to say | [`write`](Self::write) |
/// | there is nothing more to say | [`close`](Self::close) |
///
/// Any of these may make new output. An error is final; what came before it is delivered first,
/// and an alert may be left in the output.
///
/// # Bounds
///
/// One bound, 64 KiB unless set otherwise, holds for each direction. Ciphertext that waits to be
/// sent makes [`write`](Self::write) take no more. What was received and not read, sealed or
/// opened, never passes it: [`room`](Self::room) says how much may be given. No more than a single
/// record of 16 KiB is ever opened ahead of the reader.
///
/// # Examples
///
/// ```
/// # let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let identity = socktree_tls::Identity::from_der([signed.cert.der().to_vec()], signed.signing_key.serialize_der())?;
/// # let roots = socktree_tls::Roots::from_der([signed.cert.der().to_vec()])?;
/// use socktree_tls::{CertManager, ClientTls, TlsSession};
/// use std::time::Instant;
///
/// let mut server = CertManager::new(identity)?.session(Instant::now())?;
/// let mut client = ClientTls::builder()
///     .roots(roots)
///     .build()?
///     .session("localhost", Instant::now())?;
///
/// /// Carries what one side has to say to the other. A socket would lie in between.
/// fn carry(from: &mut TlsSession, to: &mut TlsSession, plain: &mut [u8]) -> usize {
///     let mut bytes = from.output().to_vec();
///     from.sent(bytes.len());
///     to.receive(&mut bytes, plain).unwrap()
/// }
///
/// let mut plain = [0; 1024];
/// while client.is_handshaking() || server.is_handshaking() {
///     carry(&mut client, &mut server, &mut plain);
///     carry(&mut server, &mut client, &mut plain);
/// }
/// assert_eq!(server.info().unwrap().server_name.as_deref(), Some("localhost"));
///
/// client.write(b"hello")?;
/// let n = carry(&mut client, &mut server, &mut plain);
/// assert_eq!(&plain[..n], b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TlsSession {
    tls: Tls,
    incoming: Incoming,
    /// Plaintext of a record that found no room, and how much of it has been read since.
    rest: Vec<u8>,
    rest_read: usize,
    outgoing: Outgoing,
    limit: usize,
    /// Plaintext taken since everything was sent the last time.
    taken: usize,
    /// There while the handshake is under way.
    handshake: Option<Box<Handshake>>,
    failed: Option<Box<Failure>>,
    /// What the client asked for.
    name: Option<Box<str>>,
    /// Whether the peer's certificate is checked.
    verifies: bool,
    /// The handshake is over, and went well.
    established: bool,
    /// Plaintext, or a record that may hold some, waits for room.
    more: bool,
    /// The peer has sent its `close_notify`.
    peer_closed: bool,
    /// The socket has ended.
    eof: bool,
    /// We have sent ours, or will not send any.
    closed: bool,
}

enum Tls {
    /// A server's, before the first byte.
    Waiting(CertManager),
    Running(Engine),
}

/// What only a handshake needs.
struct Handshake {
    deadline: Option<Instant>,
    /// The server's resolver, which sees what the client asks for.
    pick: Option<Arc<Pick>>,
    /// The peer's first byte.
    first: Option<u8>,
    _permit: Option<Permit>,
}

struct Failure {
    error: TlsError,
    /// Whether the caller has seen it.
    told: bool,
}

/// How the peer has ended its direction; see [`TlsSession::peer_end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerEnd {
    /// It said so, with `close_notify`: this was all.
    Closed,
    /// The socket ended and it had not said so. Somebody on the way may have cut off the rest
    /// (RFC 8446, section 6.1).
    Truncated,
}

/// The first byte of a connection that speaks TLS: a handshake record.
const HANDSHAKE_RECORD: u8 = 22;
/// An alert of a server, for a client that speaks to something else than TLS 1.2 or later.
const ALERT_RECORD: u8 = 21;

/// A fatal alert `unrecognized_name`, in the clear as everything is before a ServerHello.
const UNRECOGNIZED_NAME: [u8; 7] = [ALERT_RECORD, 3, 3, 0, 2, 2, 112];

impl TlsSession {
    pub(crate) fn server(
        certs: CertManager,
        permit: Permit,
        deadline: Option<Instant>,
        limit: usize,
    ) -> Self {
        let handshake = Handshake {
            deadline,
            pick: None,
            first: None,
            _permit: Some(permit),
        };
        // A client that is not asked for a certificate shows none.
        Self::new(Tls::Waiting(certs), handshake, limit, true)
    }

    pub(crate) fn client(
        tls: UnbufferedClientConnection,
        name: Option<Box<str>>,
        deadline: Option<Instant>,
        limit: usize,
        verifies: bool,
    ) -> Self {
        let handshake = Handshake {
            deadline,
            pick: None,
            first: None,
            _permit: None,
        };
        let engine = Engine::Client(Box::new(tls));
        let mut session = Self::new(Tls::Running(engine), handshake, limit, verifies);
        session.name = name;
        // The ClientHello.
        session.run(&mut [], 0, &mut []);
        session
    }

    fn new(tls: Tls, handshake: Handshake, limit: usize, verifies: bool) -> Self {
        Self {
            tls,
            incoming: Incoming::default(),
            rest: Vec::new(),
            rest_read: 0,
            outgoing: Outgoing::default(),
            limit,
            taken: 0,
            handshake: Some(Box::new(handshake)),
            failed: None,
            name: None,
            verifies,
            established: false,
            more: false,
            peer_closed: false,
            eof: false,
            closed: false,
        }
    }

    /// Whether the handshake is still under way: no plaintext goes either way until it is over.
    ///
    /// It is over when it has failed as well.
    #[must_use]
    #[inline]
    pub fn is_handshaking(&self) -> bool {
        self.handshake.is_some()
    }

    /// What the handshake has agreed on; `None` until it has, and forever if it fails.
    ///
    /// Made anew by every call, with a copy of the peer's certificates.
    #[must_use]
    pub fn info(&self) -> Option<TlsInfo> {
        match &self.tls {
            Tls::Running(engine) if self.established => {
                TlsInfo::of(engine.state(), self.name.as_deref(), self.verifies)
            }
            _ => None,
        }
    }

    /// When the handshake has to be over, while it is under way.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.handshake.as_ref()?.deadline
    }

    /// Looks whether the handshake has taken too long. Call it when the time of
    /// [`deadline`](Self::deadline) has come; at any other time it does nothing.
    ///
    /// # Errors
    ///
    /// [`TlsError::TimedOut`], or the error that the session has failed with before.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), TlsError> {
        self.check()?;
        match self.deadline() {
            Some(deadline) if deadline <= now => self.fail(TlsError::TimedOut),
            _ => Ok(()),
        }
    }

    /// How the peer has ended its direction, once everything it sent before has been read.
    ///
    /// Ours may go on: a peer that has said all it has to say may still listen.
    #[must_use]
    pub fn peer_end(&self) -> Option<PeerEnd> {
        if self.more {
            None
        } else if self.peer_closed {
            Some(PeerEnd::Closed)
        } else if self.eof {
            Some(PeerEnd::Truncated)
        } else {
            None
        }
    }

    /// The error that the session has failed with.
    fn check(&self) -> Result<(), TlsError> {
        match &self.failed {
            Some(failure) => Err(failure.error.clone()),
            None => Ok(()),
        }
    }

    /// Ends the session. What was made before, and an alert, can still be sent.
    #[cold]
    fn fail(&mut self, error: TlsError) -> Result<(), TlsError> {
        self.note_failure(error);
        self.check()
    }

    #[cold]
    fn note_failure(&mut self, error: TlsError) {
        let told = false;
        self.failed = Some(Box::new(Failure { error, told }));
        self.handshake = None;
        self.incoming = Incoming::default();
        self.closed = true;
    }

    /// Makes an error of ours of what rustls says, and sends the alert that belongs to it.
    #[cold]
    fn refuse(&mut self, error: rustls::Error) {
        // It may have been over before the fault.
        self.settle();
        let handshake = self.handshake.as_deref();
        let asked = handshake
            .and_then(|handshake| handshake.pick.as_ref())
            .and_then(|pick| pick.asked());
        let begun_otherwise = handshake
            .and_then(|handshake| handshake.first)
            .is_some_and(|first| first != HANDSHAKE_RECORD && first != ALERT_RECORD);
        let refused = asked.filter(|asked| asked.refused);
        let error = if let Some(asked) = refused {
            TlsError::UnknownName(asked.name.clone())
        } else if begun_otherwise {
            TlsError::NotTls
        } else {
            TlsError::of(error)
        };
        if let Tls::Running(engine) = &mut self.tls {
            if refused.is_some() {
                // In place of rustls' `access_denied`, which would say something else.
                self.outgoing.clear();
                self.outgoing.extend(&UNRECOGNIZED_NAME);
            } else {
                engine.take_alert(&mut self.outgoing);
            }
        }
        self.note_failure(error);
    }

    /// Gives a server's session its engine, with its first byte: one that sends nothing costs
    /// nothing, and one that speaks has what is configured at that moment.
    fn start(&mut self) -> Result<(), TlsError> {
        let Tls::Waiting(certs) = &self.tls else {
            return Ok(());
        };
        let pick = Pick::new(certs.clone());
        match UnbufferedServerConnection::new(certs.config(&pick)) {
            Ok(tls) => {
                self.tls = Tls::Running(Engine::Server(Box::new(tls)));
                if let Some(handshake) = &mut self.handshake {
                    handshake.pick = Some(pick);
                }
                Ok(())
            }
            Err(error) => self.fail(TlsError::of(error)),
        }
    }

    /// Notes that the handshake is over, if it is.
    #[inline]
    fn settle(&mut self) {
        if self.handshake.is_some() {
            self.settle_handshake();
        }
    }

    #[cold]
    fn settle_handshake(&mut self) {
        let Tls::Running(engine) = &self.tls else {
            return;
        };
        if engine.state().is_handshaking() {
            return;
        }
        self.established = true;
        if let Some(handshake) = self.handshake.take()
            && let Some(asked) = handshake.pick.as_ref().and_then(|pick| pick.asked())
        {
            self.name.clone_from(&asked.name);
        }
    }
}

impl fmt::Debug for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSession")
            .field("handshaking", &self.is_handshaking())
            .field(
                "failed",
                &self.failed.as_ref().map(|failure| &failure.error),
            )
            .field("peer_end", &self.peer_end())
            .field("unsent", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}
