//! Settings that a process hands down to those that it starts.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A snapshot: what is set later, elsewhere, does not show in it. Shared by all who have the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env(Option<Arc<BTreeMap<Box<str>, Arc<str>>>>);

impl Env {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<str>> {
        self.0.as_ref()?.get(name).cloned()
    }

    pub(crate) fn set(&mut self, name: &str, value: Arc<str>) {
        let all = Arc::make_mut(self.0.get_or_insert_default());
        all.insert(name.into(), value);
    }

    /// These settings, and those of `own` in place of the ones of the same name.
    pub(crate) fn with(&self, own: &Self) -> Self {
        let Some(settings) = &own.0 else {
            return self.clone();
        };
        if self.0.is_none() {
            return own.clone();
        }
        let mut all = self.clone();
        for (name, value) in settings.iter() {
            all.set(name, Arc::clone(value));
        }
        all
    }
}
