//! Files that are watched for new certificates, by what is in them.

use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::ServeFor;
use crate::identity::read;
use crate::{CertError, Identity, Roots};

/// How soon files that have changed are looked at again.
///
/// They are loaded when two looks in a row have found the same: between them nobody was writing.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// What a look at files found.
pub(super) enum Look<T> {
    Unchanged,
    /// To be looked at again soon.
    Changing,
    Changed(Result<T, CertError>),
}

/// What was in files before.
#[derive(Default)]
struct Marks {
    /// When they were last loaded, or refused.
    judged: Option<u64>,
    /// At the last look, where that is something else.
    seen: Option<u64>,
}

impl Marks {
    fn look<T>(&mut self, mark: u64, found: Result<T, CertError>) -> Look<T> {
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
        Look::Changed(found)
    }
}

/// A pair of files.
pub(super) struct Watch {
    pub(super) which: ServeFor,
    chain: PathBuf,
    key: PathBuf,
    marks: Marks,
}

/// A file with the authorities whose clients are trusted.
pub(super) struct RootsWatch {
    path: PathBuf,
    pub(super) required: bool,
    marks: Marks,
}

pub(super) struct Watcher {
    /// `None` is for a pair that has been replaced by hand: places in here are names.
    pub(super) watches: Vec<Option<Watch>>,
    pub(super) roots: Option<RootsWatch>,
    pub(super) due: Option<Instant>,
}

impl Watch {
    pub(super) fn new(which: ServeFor, chain: PathBuf, key: PathBuf) -> Self {
        Self {
            which,
            chain,
            key,
            marks: Marks::default(),
        }
    }

    /// Reads the pair for the first time, which has to succeed.
    pub(super) fn open(&mut self) -> Result<Identity, CertError> {
        let (mark, identity) = self.read();
        self.marks.judged = Some(mark);
        identity
    }

    pub(super) fn look(&mut self) -> Look<Identity> {
        let (mark, identity) = self.read();
        self.marks.look(mark, identity)
    }

    /// The identity, and a mark of what was read: the same for the same content, or failure.
    fn read(&self) -> (u64, Result<Identity, CertError>) {
        let mut mark = DefaultHasher::new();
        let (chain, key) = match (read(&self.chain), read(&self.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (Err(error), _) | (_, Err(error)) => return (mark_of(&error), Err(error)),
        };
        mark.write_usize(chain.len());
        mark.write(&chain);
        mark.write(&key);
        (mark.finish(), Identity::from_pem(&chain, &key))
    }
}

impl RootsWatch {
    /// Reads the file for the first time, which has to succeed.
    pub(super) fn open(path: PathBuf, required: bool) -> Result<(Self, Roots), CertError> {
        let mut watch = Self {
            path,
            required,
            marks: Marks::default(),
        };
        let (mark, roots) = watch.read();
        watch.marks.judged = Some(mark);
        Ok((watch, roots?))
    }

    pub(super) fn look(&mut self) -> Look<Roots> {
        let (mark, roots) = self.read();
        self.marks.look(mark, roots)
    }

    fn read(&self) -> (u64, Result<Roots, CertError>) {
        match read(&self.path) {
            Ok(text) => {
                let mut mark = DefaultHasher::new();
                mark.write(&text);
                (mark.finish(), Roots::from_pem(&text))
            }
            Err(error) => (mark_of(&error), Err(error)),
        }
    }
}

/// The same failure is not reported again.
fn mark_of(error: &CertError) -> u64 {
    let mut mark = DefaultHasher::new();
    mark.write(error.to_string().as_bytes());
    mark.finish()
}
