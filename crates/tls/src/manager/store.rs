//! The certificates that are served, by name.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::{CertEvent, CertStatus, NamePolicy, ServeFor};
use crate::CertError;
use crate::facts::normal_name;
use crate::identity::Loaded;

/// A certificate in use.
pub(super) struct Served {
    pub(super) loaded: Loaded,
    /// Which watched pair of files it came from.
    pub(super) watch: Option<usize>,
    /// What has been said about its end: nothing, that it is near, that it has come.
    said: AtomicU8,
}

impl Served {
    pub(super) fn new(loaded: Loaded, watch: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            loaded,
            watch,
            said: AtomicU8::new(0),
        })
    }
}

type Slot = Vec<Arc<Served>>;

/// Several certificates for a name stand side by side: the first one whose key the client can
/// check is used, so an ECDSA certificate may have an RSA one behind it for old clients.
#[derive(Default)]
pub(super) struct Store {
    default: Slot,
    /// By name in its normal form; wildcards with their `*.`.
    names: HashMap<Box<str>, Slot>,
}

/// What a ClientHello leads to.
pub(super) enum Choice {
    Serve(Arc<CertifiedKey>),
    Refuse,
}

impl Store {
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
        unknown: NamePolicy,
        missing: NamePolicy,
    ) -> Choice {
        let (slot, policy) = match name {
            Some(name) => (self.find(name), unknown),
            None => (None, missing),
        };
        let slot = match (slot, policy) {
            (Some(slot), _) => slot,
            (None, NamePolicy::Default) => &self.default,
            (None, NamePolicy::Refuse) => return Choice::Refuse,
        };
        let usable = |served: &&Arc<Served>| {
            let key = &served.loaded.key.key;
            key.choose_scheme(schemes).is_some()
        };
        // If none is usable the handshake fails, and rustls says best why.
        match slot.iter().find(usable).or_else(|| slot.first()) {
            Some(served) => Choice::Serve(Arc::clone(&served.loaded.key)),
            None => Choice::Refuse,
        }
    }

    fn find(&self, name: &str) -> Option<&Slot> {
        // Some clients leave it there, against RFC 6066, section 3.
        let name = name.strip_suffix('.').unwrap_or(name);
        if let Some(slot) = self.names.get(name) {
            return Some(slot);
        }
        let (_, rest) = name.split_once('.')?;
        self.names.get(format!("*.{rest}").as_str())
    }

    /// Puts certificates beside those that are there.
    pub(super) fn add(&mut self, targets: Vec<(Target, Slot)>) {
        for (target, slot) in targets {
            match target {
                Target::Default => self.default.extend(slot),
                Target::Name(name) => self.names.entry(name).or_default().extend(slot),
            }
        }
    }

    /// Puts certificates in the place of those that are there.
    pub(super) fn replace(&mut self, targets: Vec<(Target, Slot)>) {
        for (target, slot) in targets {
            match target {
                Target::Default => self.default = slot,
                Target::Name(name) => {
                    self.names.insert(name, slot);
                }
            }
        }
    }

    /// Puts what was read from files in the place of what was read from them before.
    pub(super) fn reload(&mut self, watch: usize, targets: Vec<(Target, Slot)>) {
        let from_files = |served: &Arc<Served>| served.watch == Some(watch);
        let mut place = HashMap::new();
        if let Some(at) = self.default.iter().position(from_files) {
            place.insert(Target::Default, at);
        }
        for (name, slot) in &self.names {
            if let Some(at) = slot.iter().position(from_files) {
                place.insert(Target::Name(name.clone()), at);
            }
        }
        self.default.retain(|served| !from_files(served));
        for slot in self.names.values_mut() {
            slot.retain(|served| !from_files(served));
        }
        for (target, new) in targets {
            let at = place.get(&target).copied();
            let slot = match target {
                Target::Default => &mut self.default,
                Target::Name(name) => self.names.entry(name).or_default(),
            };
            let at = at.unwrap_or(slot.len()).min(slot.len());
            slot.splice(at..at, new);
        }
        self.names.retain(|_, slot| !slot.is_empty());
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.names.remove(name).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.default.is_empty() && self.names.is_empty()
    }

    /// Every certificate once, with what it is served for.
    fn each(&self) -> Vec<(&Arc<Served>, Vec<String>, bool)> {
        let mut found: Vec<(&Arc<Served>, Vec<String>, bool)> = Vec::new();
        let mut places: HashMap<*const Served, usize> = HashMap::new();
        let named = self
            .names
            .iter()
            .flat_map(|(name, slot)| slot.iter().map(move |served| (Some(name), served)));
        for (name, served) in self
            .default
            .iter()
            .map(|served| (None, served))
            .chain(named)
        {
            let at = *places.entry(Arc::as_ptr(served)).or_insert_with(|| {
                found.push((served, Vec::new(), false));
                found.len() - 1
            });
            match name {
                Some(name) => found[at].1.push(name.to_string()),
                None => found[at].2 = true,
            }
        }
        for (_, names, _) in &mut found {
            names.sort_unstable();
        }
        found
    }

    pub(super) fn status(&self) -> Vec<CertStatus> {
        self.each()
            .into_iter()
            .map(|(served, names, default)| CertStatus {
                names,
                default,
                not_before: served.loaded.facts.not_before,
                not_after: served.loaded.facts.not_after,
            })
            .collect()
    }

    /// Says of each certificate once that its end is near, and once that it has come.
    pub(super) fn expiring(&self, now: SystemTime, ahead: Duration, events: &mut Vec<CertEvent>) {
        const NEAR: u8 = 1;
        const OVER: u8 = 2;
        for (served, names, default) in self.each() {
            let not_after = served.loaded.facts.not_after;
            let state = match not_after.duration_since(now) {
                Err(_) => OVER,
                Ok(left) if left <= ahead => NEAR,
                Ok(_) => 0,
            };
            if state <= served.said.fetch_max(state, Ordering::Relaxed) {
                continue;
            }
            events.push(if state == OVER {
                CertEvent::Expired {
                    names,
                    default,
                    not_after,
                }
            } else {
                CertEvent::ExpiresSoon {
                    names,
                    default,
                    not_after,
                }
            });
        }
    }
}

/// One place to serve from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Default,
    Name(Box<str>),
}

/// Where these certificates are served, once each is known to be right for its names.
pub(super) fn targets(
    which: &ServeFor,
    slot: &[Arc<Served>],
) -> Result<Vec<(Target, Slot)>, CertError> {
    if slot.is_empty() {
        return Err(CertError::NoCertificate);
    }
    match which {
        ServeFor::Default => Ok(vec![(Target::Default, slot.to_vec())]),
        ServeFor::Name(name) => {
            let name = normal_name(name).ok_or_else(|| CertError::BadName(name.clone()))?;
            if !slot.iter().all(|served| served.loaded.covers(&name)) {
                return Err(CertError::NameNotCovered(name.into()));
            }
            Ok(vec![(Target::Name(name), slot.to_vec())])
        }
        ServeFor::ItsNames => {
            let mut found: Vec<(Target, Slot)> = Vec::new();
            for served in slot {
                let names = &served.loaded.facts.names;
                if names.is_empty() {
                    return Err(CertError::NameNotCovered(String::new()));
                }
                for name in names {
                    let target = Target::Name(name.clone());
                    match found.iter_mut().find(|(known, _)| *known == target) {
                        Some((_, slot)) => slot.push(Arc::clone(served)),
                        None => found.push((target, vec![Arc::clone(served)])),
                    }
                }
            }
            Ok(found)
        }
    }
}
