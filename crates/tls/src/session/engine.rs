//! rustls' unbuffered connections, one step at a time.
//!
//! The rules of that interface, which the session above relies on:
//!
//! - bytes are decrypted and joined in place, so what was shown and not yet discarded has to be
//!   shown again, unchanged, in front of what is new;
//! - a step takes at most one record of data, and it has to be taken out before the next;
//! - to write, a step is needed that finds nothing to read. Records are therefore shown one by
//!   one: what was shown has been worked off, and showing it again leads to no surprise.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error};

use super::incoming::Plain;
use super::outgoing::Outgoing;

/// A connection of either side.
pub(super) enum Engine {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What a step has led to.
pub(super) enum Step {
    /// Something has been done, and there may be more to do.
    Progress,
    /// Data has been taken out of a record.
    Data,
    /// Nothing can be done without more bytes.
    Quiet,
    /// The peer will send nothing more.
    PeerClosed,
    Failed(Error),
}

/// What is to be done when there is nothing to read.
#[derive(Clone, Copy)]
pub(super) enum Act<'p> {
    Read,
    Encrypt(&'p [u8]),
    Close,
    UpdateKeys,
}

/// How much longer a record is than what is in it, at most: header, tag, explicit nonce or
/// content type. rustls says exactly if this is not enough.
const RECORD_OVERHEAD: usize = 64;

impl Engine {
    pub(super) fn state(&self) -> &CommonState {
        match self {
            Self::Server(tls) => tls,
            Self::Client(tls) => tls,
        }
    }

    /// Shows `input` to rustls. Returns how many bytes of it are done with, and what happened.
    #[inline]
    pub(super) fn step(
        &mut self,
        input: &mut [u8],
        plain: &mut Plain<'_>,
        out: &mut Outgoing,
    ) -> (usize, Step) {
        self.act(input, Act::Read, plain, out)
    }

    #[inline]
    pub(super) fn act(
        &mut self,
        input: &mut [u8],
        act: Act<'_>,
        plain: &mut Plain<'_>,
        out: &mut Outgoing,
    ) -> (usize, Step) {
        match self {
            Self::Server(tls) => take(tls.process_tls_records(input), act, plain, out),
            Self::Client(tls) => take(tls.process_tls_records(input), act, plain, out),
        }
    }

    /// The same, for a connection whose end we have announced.
    ///
    /// With debug assertions rustls 0.23 panics if a bad record follows our own `close_notify`:
    /// it takes its alert for a second fatal one. Without them it is right.
    #[cold]
    pub(super) fn step_closed(
        &mut self,
        input: &mut [u8],
        plain: &mut Plain<'_>,
        out: &mut Outgoing,
    ) -> (usize, Step) {
        catch_unwind(AssertUnwindSafe(|| self.step(input, plain, out)))
            .unwrap_or((0, Step::Failed(Error::DecryptError)))
    }

    /// Takes out an alert after a failure. Nothing is shown any more: to go on reading would
    /// only fail again.
    pub(super) fn take_alert(&mut self, out: &mut Outgoing) {
        let mut rest = Vec::new();
        while self.state().wants_write() {
            let mut plain = Plain::nowhere(&mut rest);
            let _ = self.step(&mut [], &mut plain, out);
        }
    }
}

/// Does what a status asks for.
#[inline]
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    act: Act<'_>,
    plain: &mut Plain<'_>,
    out: &mut Outgoing,
) -> (usize, Step) {
    let UnbufferedStatus { discard, state } = status;
    let state = match state {
        Ok(state) => state,
        Err(error) => return (discard, Step::Failed(error)),
    };
    let step = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => plain.put(record.payload),
                    Err(error) => return (discard, Step::Failed(error)),
                }
            }
            Step::Data
        }
        ConnectionState::EncodeTlsData(mut encode) => {
            // rustls says how much it needs.
            let mut room = 0;
            loop {
                match out.fill(room, |to| encode.encode(to)) {
                    Ok(_) | Err(EncodeError::AlreadyEncoded) => break Step::Progress,
                    Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
                }
            }
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Step::Progress
        }
        ConnectionState::PeerClosed => Step::PeerClosed,
        ConnectionState::WriteTraffic(mut traffic) => match act {
            Act::Read => Step::Quiet,
            Act::Encrypt(data) => encrypt(data.len() + RECORD_OVERHEAD, out, |to| {
                traffic.encrypt(data, to)
            }),
            Act::Close => encrypt(RECORD_OVERHEAD, out, |to| traffic.queue_close_notify(to)),
            Act::UpdateKeys => match traffic.refresh_traffic_keys() {
                Ok(()) => Step::Quiet,
                Err(error) => Step::Failed(error),
            },
        },
        // Early data is not accepted, so there is none.
        _ => Step::Quiet,
    };
    (discard, step)
}

fn encrypt(
    room: usize,
    out: &mut Outgoing,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Step {
    let mut room = room;
    loop {
        match out.fill(room, &mut write) {
            Ok(_) => return Step::Quiet,
            Err(EncryptError::InsufficientSize(size)) => room = size.required_size,
            Err(EncryptError::EncryptExhausted) => return Step::Failed(Error::EncryptError),
        }
    }
}
