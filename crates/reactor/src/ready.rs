//! The sources that have something to do.

use std::collections::VecDeque;

use crate::Token;
use crate::entry::Flags;

/// A queue in which each source stands at most once.
///
/// Edge-triggered readiness is told once. From then on it lives here and in the source's
/// flags until a call on the socket finds nothing more: a budget that ends moves a source to
/// the back of this queue and never out of it.
#[derive(Debug, Default)]
pub(crate) struct ReadyList {
    queue: VecDeque<Token>,
}

impl ReadyList {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts a source at the back if there is something to do for it.
    pub(crate) fn list(&mut self, token: Token, flags: &mut Flags) {
        if flags.actionable() && !flags.has(Flags::LISTED) {
            flags.set(Flags::LISTED);
            self.queue.push_back(token);
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.queue.shrink_to_fit();
    }

    /// Takes the first. It may have been removed meanwhile; its token tells.
    pub(crate) fn pop(&mut self) -> Option<Token> {
        self.queue.pop_front()
    }
}
