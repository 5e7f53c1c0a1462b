//! What a manager reports.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::ServeFor;
use crate::CertError;

/// What [`CertManager::poll`](crate::CertManager::poll) has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertEvent {
    /// Files have changed, and what is in them is served from the next handshake on.
    Reloaded {
        /// What it is served for.
        which: ServeFor,
        /// The last second in which the new certificate is valid.
        not_after: SystemTime,
    },
    /// Files have changed, and what is in them is refused: what was served before still is.
    ///
    /// Said once for each content.
    ReloadFailed {
        /// What it would have been served for.
        which: ServeFor,
        /// Why it is refused.
        error: CertError,
    },
    /// The file with the authorities of clients has changed, and they are trusted from the next
    /// handshake on. Nothing is resumed that began before.
    ClientCaReloaded {
        /// How many authorities there are in it.
        authorities: usize,
    },
    /// The file with the authorities of clients has changed, and what is in it is refused: who was
    /// trusted before still is.
    ///
    /// Said once for each content.
    ClientCaReloadFailed {
        /// Why it is refused.
        error: CertError,
    },
    /// The end of a certificate is nearer than
    /// [`warn_before`](crate::CertManagerBuilder::warn_before). Said once for each certificate.
    ExpiresSoon {
        /// The names it is served for.
        names: Vec<String>,
        /// Whether it is a default certificate.
        default: bool,
        /// The last second in which it is valid.
        not_after: SystemTime,
    },
    /// A certificate has expired. It is still served: an error that names the date tells a client
    /// more than a connection that is refused. Said once for each certificate.
    Expired {
        /// The names it is served for.
        names: Vec<String>,
        /// Whether it is a default certificate.
        default: bool,
        /// The last second in which it was valid.
        not_after: SystemTime,
    },
}

/// A certificate in use, as [`CertManager::certificates`](crate::CertManager::certificates) lists
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertStatus {
    /// The names it is served for, sorted.
    pub names: Vec<String>,
    /// Whether it is a default certificate.
    pub default: bool,
    /// The first second in which it is valid.
    pub not_before: SystemTime,
    /// The last second in which it is valid.
    pub not_after: SystemTime,
}

impl fmt::Display for CertEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reloaded { which, .. } => write!(f, "a new certificate {which}"),
            Self::ReloadFailed { which, error } => {
                write!(f, "the new certificate {which} is refused: {error}")
            }
            Self::ClientCaReloaded { authorities } => {
                write!(f, "{authorities} authorities of clients are trusted now")
            }
            Self::ClientCaReloadFailed { error } => {
                write!(f, "the new authorities of clients are refused: {error}")
            }
            Self::ExpiresSoon { names, default, .. } => {
                write!(
                    f,
                    "the certificate for {} expires soon",
                    Whom(names, *default)
                )
            }
            Self::Expired { names, default, .. } => {
                let whom = Whom(names, *default);
                write!(
                    f,
                    "the certificate for {whom} has expired, and is still served"
                )
            }
        }
    }
}

/// What a certificate is served for.
struct Whom<'n>(&'n [String], bool);

impl fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.1.then_some("all other names");
        let all = self.0.iter().map(String::as_str).chain(others);
        for (n, name) in all.enumerate() {
            let between = if n == 0 { "" } else { ", " };
            write!(f, "{between}{name}")?;
        }
        Ok(())
    }
}

/// Who wants to hear of events.
#[derive(Clone, Default)]
pub(super) struct Observer(Option<Arc<Hear>>);

type Hear = dyn Fn(&CertEvent) + Send + Sync;

impl Observer {
    pub(super) fn new(hear: impl Fn(&CertEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    pub(super) fn tell(&self, events: &[CertEvent]) {
        if let Some(hear) = &self.0 {
            events.iter().for_each(|event| hear(event));
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer" } else { "None" })
    }
}
