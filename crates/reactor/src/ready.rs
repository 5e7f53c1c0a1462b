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
    /// The source being served, out of the queue for the time.
    current: Option<Token>,
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

    /// The source being served.
    #[inline]
    pub(crate) fn current(&self) -> Option<Token> {
        self.current
    }

    /// Takes the first to be served. It may have been removed meanwhile; its token tells.
    #[inline]
    pub(crate) fn serve_next(&mut self) -> Option<Token> {
        self.current = self.queue.pop_front();
        self.current
    }

    /// Ends the service of the current source.
    #[inline]
    pub(crate) fn leave_current(&mut self) -> Option<Token> {
        self.current.take()
    }

    /// Ends the service of a source in which nothing is left to do, so that nobody has to look at
    /// it once more to find that out.
    #[inline]
    pub(crate) fn drained(&mut self, token: Token, flags: Flags) {
        // One look at the slot will do: whatever else was served under it is gone.
        if !flags.actionable() && self.current.is_some_and(|t| t.slot() == token.slot()) {
            self.current = None;
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.queue.shrink_to_fit();
    }
}
