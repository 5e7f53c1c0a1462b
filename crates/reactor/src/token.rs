//! The name of a source.

use std::fmt;

/// How the poller's machine word is shared: half for the slot, half for the generation, which
/// is 32 bits each on a 64-bit machine and 16 on a 32-bit one.
const HALF: u32 = usize::BITS / 2;

/// The bits of a generation.
const GENERATION_MASK: u32 = u32::MAX >> (32 - HALF);

/// How many sources one loop can hold; the top slot is not used for them, because the word with
/// all bits set belongs to the waker, and the others to nested loops.
pub(crate) const MAX_SOURCES: usize = (1 << HALF) - 1;

/// Names a listener or stream of one [`Reactor`](crate::Reactor).
///
/// A slot in a table and the generation of its tenant. The operating system hands a closed
/// descriptor's number to the next socket at once, and a table does the same with its slots;
/// the generation keeps what was meant for the former tenant - a late event, a timer, a
/// message - from reaching the new one. Generations are handed out in sequence over all
/// slots, so a token comes back only after 2³² registrations (2¹⁶ on a 32-bit machine), and
/// then only if the slot matches too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    slot: u32,
    generation: u32,
}

impl Token {
    pub(crate) fn new(slot: usize, generation: u32) -> Self {
        debug_assert!(slot < MAX_SOURCES);
        let slot = u32::try_from(slot).expect("the table refuses more than MAX_SOURCES");
        Self {
            slot,
            generation: generation & GENERATION_MASK,
        }
    }

    /// The token as one number, for what has to carry it through a place that knows no tokens.
    /// Never [`u64::MAX`].
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The token that [`to_bits`](Self::to_bits) made a number of. Any other number is a stale
    /// token.
    #[expect(clippy::cast_possible_truncation, reason = "each half has 32 bits")]
    pub fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }

    /// The token of the nested loop of this name; `None` if the name is too large.
    pub(crate) fn of_nested(name: u32) -> Option<Self> {
        (name < GENERATION_MASK).then_some(Self {
            slot: u32::try_from(MAX_SOURCES).ok()?,
            generation: name,
        })
    }

    /// The name of the nested loop that this is the token of.
    pub(crate) fn nested(self) -> Option<u32> {
        (self.slot() == MAX_SOURCES).then_some(self.generation)
    }

    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }

    pub(crate) fn pack(self) -> usize {
        ((self.generation as usize) << HALF) | self.slot as usize
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half has at most 32 bits"
    )]
    pub(crate) fn unpack(word: usize) -> Self {
        Self {
            slot: (word & MAX_SOURCES) as u32,
            generation: (word >> HALF) as u32,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}#{})", self.slot, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_trip_through_the_poller() {
        for slot in [0, 1, 77, MAX_SOURCES - 1] {
            for generation in [0, 1, GENERATION_MASK - 1, GENERATION_MASK] {
                let token = Token::new(slot, generation);
                assert_eq!(Token::unpack(token.pack()), token);
                assert_ne!(token.pack(), usize::MAX, "that word is the waker's");
            }
        }
    }

    #[test]
    fn a_nested_loop_is_no_source_and_not_the_waker() {
        for name in [0, 1, GENERATION_MASK - 1] {
            let token = Token::of_nested(name).unwrap();
            assert_eq!(Token::unpack(token.pack()).nested(), Some(name));
            assert_ne!(token.pack(), usize::MAX, "that word is the waker's");
        }
        assert_eq!(Token::of_nested(GENERATION_MASK), None);
        assert_eq!(Token::new(MAX_SOURCES - 1, 5).nested(), None);
    }

    #[test]
    fn generations_wrap_within_their_half() {
        let last = Token::new(3, GENERATION_MASK);
        let next = Token::new(3, GENERATION_MASK.wrapping_add(1));
        assert_eq!(next.generation(), 0);
        assert_ne!(last, next);
        assert_eq!(Token::unpack(next.pack()), next);
    }
}
