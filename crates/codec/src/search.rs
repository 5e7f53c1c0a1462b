//! Finding one byte among many.

/// How many bytes are compared at once: one AVX2 or two SSE2 registers.
const LANES: usize = 32;

/// Finds the first `byte` in `haystack`.
///
/// `position` alone stops at every byte to decide, which the compiler cannot vectorise. Whole
/// lanes are compared without leaving early instead, and only the lane that has the byte is
/// looked at again.
#[inline]
pub(crate) fn find_byte(haystack: &[u8], byte: u8) -> Option<usize> {
    let (lanes, rest) = haystack.as_chunks::<LANES>();
    let skipped = lanes.iter().position(|lane| {
        lane.iter()
            .fold(false, |seen, other| seen | (*other == byte))
    });
    let (from, within) = match skipped {
        Some(lane) => (lane * LANES, &lanes[lane][..]),
        None => (lanes.len() * LANES, rest),
    };
    within
        .iter()
        .position(|other| *other == byte)
        .map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::find_byte;

    #[test]
    fn agrees_with_position_at_every_place() {
        for len in 0..100 {
            let mut haystack = vec![0u8; len];
            assert_eq!(find_byte(&haystack, 1), None);
            for at in (0..len).rev() {
                haystack[at] = 1;
                assert_eq!(find_byte(&haystack, 1), Some(at));
            }
        }
    }
}
