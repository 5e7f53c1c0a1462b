//! Files that are watched for new certificates, by what is in them.

use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::ServeFor;
use crate::identity::read;
use crate::{CertError, Identity};

/// How soon files that have changed are looked at again.
///
/// A pair is loaded when two looks in a row have found the same: between them nobody was writing.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// A pair of files.
pub(super) struct Watch {
    pub(super) which: ServeFor,
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    /// What was in them when they were last loaded, or refused.
    judged: Option<u64>,
    /// What was in them at the last look, where that is something else.
    seen: Option<u64>,
}

/// What a look at a pair of files found.
pub(super) enum Look {
    Unchanged,
    /// To be looked at again soon.
    Changing,
    Changed(Result<Identity, CertError>),
}

pub(super) struct Watcher {
    /// `None` is for a pair that has been replaced by hand: places in here are names.
    pub(super) watches: Vec<Option<Watch>>,
    pub(super) due: Option<Instant>,
}

impl Watch {
    pub(super) fn new(which: ServeFor, chain: PathBuf, key: PathBuf) -> Self {
        Self {
            which,
            chain,
            key,
            judged: None,
            seen: None,
        }
    }

    /// Reads the pair for the first time, which has to succeed.
    pub(super) fn open(&mut self) -> Result<Identity, CertError> {
        let (mark, identity) = self.read();
        self.judged = Some(mark);
        identity
    }

    pub(super) fn look(&mut self) -> Look {
        let (mark, identity) = self.read();
        if self.judged == Some(mark) {
            self.seen = None;
            return Look::Unchanged;
        }
        if self.seen != Some(mark) {
            self.seen = Some(mark);
            return Look::Changing;
        }
        self.seen = None;
        self.judged = Some(mark);
        Look::Changed(identity)
    }

    /// The identity, and a mark of what was read: the same for the same content, or failure.
    fn read(&self) -> (u64, Result<Identity, CertError>) {
        let mut mark = DefaultHasher::new();
        let (chain, key) = match (read(&self.chain), read(&self.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (Err(error), _) | (_, Err(error)) => {
                mark.write(error.to_string().as_bytes());
                return (mark.finish(), Err(error));
            }
        };
        mark.write_usize(chain.len());
        mark.write(&chain);
        mark.write(&key);
        (mark.finish(), Identity::from_pem(&chain, &key))
    }
}
