//! Finding and writing a header, by options that have been checked.

use std::fmt;

use bytes::BufMut;

use crate::framing::{Whole, check_max};
use crate::{Affix, Boundary, EncodeError, FrameError};

/// Checked options: the length field lies inside the header, and `header <= max`.
pub(crate) struct PrefixRules {
    pub(crate) header: usize,
    /// Where the length field starts and ends.
    pub(crate) field: (usize, usize),
    pub(crate) little_endian: bool,
    /// Where the part handed out starts.
    pub(crate) start: usize,
    /// What to add to the length field to have the length of the whole frame.
    pub(crate) extra: i64,
    /// The largest number the length field can hold.
    pub(crate) most: u64,
    pub(crate) max: usize,
}

impl PrefixRules {
    #[inline]
    pub(crate) fn whole_frame(&self, received: &[u8]) -> Option<Whole> {
        let total = self.length(received)?.checked_add_signed(self.extra)?;
        let most = received.len().min(self.max) as u64;
        if total < self.header as u64 || total > most {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most the length of a slice"
        )]
        let len = total as usize;
        Some(Whole {
            start: self.start,
            len,
        })
    }

    pub(crate) fn find(&self, received: &[u8]) -> Result<Boundary, FrameError> {
        let Some(length) = self.length(received.get(..self.header).unwrap_or_default()) else {
            return Ok(Boundary::More { need: self.header });
        };
        let total = length.checked_add_signed(self.extra);
        match total.and_then(|total| usize::try_from(total).ok()) {
            Some(len) if (self.header..=self.max).contains(&len) => Ok(Boundary::Frame {
                len,
                payload: self.start..len,
            }),
            _ => Err(self.refuse(length, total)),
        }
    }

    /// The value of the length field, if it has been received.
    #[inline]
    fn length(&self, received: &[u8]) -> Option<u64> {
        let (start, end) = self.field;
        Some(read_uint(received.get(start..end)?, self.little_endian))
    }

    #[cold]
    fn refuse(&self, length: u64, total: Option<u64>) -> FrameError {
        let header = self.header as u64;
        // No total means a sum outside of u64: below with a negative `extra`, else above.
        let total = total.unwrap_or(if self.extra < 0 { 0 } else { u64::MAX });
        if total < header {
            return FrameError::Malformed { length, header };
        }
        FrameError::TooLarge {
            len: total,
            max: self.max as u64,
        }
    }

    /// A header for a payload of `len` bytes, zero but for the length field.
    #[inline]
    pub(crate) fn header(&self, len: usize) -> Result<Affix, EncodeError> {
        let value = self.length_field(len)?;
        Ok(Affix::filled(self.header, |header| {
            self.set_length(header, value)
        }))
    }

    /// Appends the same to `dst`.
    #[inline]
    pub(crate) fn put_header(&self, len: usize, dst: &mut impl BufMut) -> Result<(), EncodeError> {
        if let (4, (0, 4), false) = (self.header, self.field, self.little_endian) {
            let value = self.length_field(len)?;
            let value = u32::try_from(value).expect("the field has four bytes");
            dst.put_u32(value);
        } else {
            dst.put_slice(&self.header(len)?);
        }
        Ok(())
    }

    /// `template` with its length field set for a payload of `len` bytes.
    pub(crate) fn fill(&self, template: &[u8], len: usize) -> Result<Affix, EncodeError> {
        if template.len() != self.header {
            return Err(EncodeError::WrongHeader {
                len: template.len(),
                expected: self.header,
            });
        }
        let value = self.length_field(len)?;
        Ok(Affix::filled(self.header, |header| {
            header.copy_from_slice(template);
            self.set_length(header, value);
        }))
    }

    #[inline]
    fn set_length(&self, header: &mut [u8], value: u64) {
        let field = &mut header[self.field.0..self.field.1];
        write_uint(field, value, self.little_endian);
    }

    /// What the length field must say for a payload of `len` bytes.
    #[inline]
    fn length_field(&self, len: usize) -> Result<u64, EncodeError> {
        // Both are lengths of slices, each at most isize::MAX.
        let total = self.header + len;
        check_max(total, self.max)?;
        let value = i64::try_from(total)
            .unwrap_or(i64::MAX)
            .saturating_sub(self.extra);
        match u64::try_from(value) {
            Ok(value) if value <= self.most => Ok(value),
            _ => Err(EncodeError::LengthField {
                value,
                size: self.field.1 - self.field.0,
            }),
        }
    }
}

impl fmt::Debug for PrefixRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LengthPrefix")
            .field("header", &self.header)
            .field("length_at", &(self.field.0..self.field.1))
            .field("little_endian", &self.little_endian)
            .field("uncounted", &self.extra)
            .field("strip", &(self.start > 0))
            .field("max_frame", &self.max)
            .finish()
    }
}

/// The largest number a field of `size` bytes holds; `None` for sizes that are not possible.
pub(super) fn most(size: usize) -> Option<u64> {
    match size {
        1 => Some(0xFF),
        2 => Some(0xFFFF),
        3 => Some(0xFF_FFFF),
        4 => Some(0xFFFF_FFFF),
        8 => Some(u64::MAX),
        _ => None,
    }
}

/// Reads an unsigned number of up to eight bytes.
///
/// The usual sizes get a load of their own: this runs once per frame.
#[inline]
fn read_uint(field: &[u8], little_endian: bool) -> u64 {
    if let Ok(bytes) = <[u8; 4]>::try_from(field) {
        let value = u32::from_be_bytes(bytes);
        return u64::from(if little_endian {
            value.swap_bytes()
        } else {
            value
        });
    }
    if let Ok(bytes) = <[u8; 2]>::try_from(field) {
        let value = u16::from_be_bytes(bytes);
        return u64::from(if little_endian {
            value.swap_bytes()
        } else {
            value
        });
    }
    let shift = |value, byte: &u8| value << 8 | u64::from(*byte);
    if little_endian {
        field.iter().rev().fold(0, shift)
    } else {
        field.iter().fold(0, shift)
    }
}

/// Writes the low bytes of `value`, as many as `field` has, which hold all of it.
#[inline]
fn write_uint(field: &mut [u8], value: u64, little_endian: bool) {
    let bytes = if little_endian {
        value.swap_bytes()
    } else {
        value
    }
    .to_be_bytes();
    let bytes = if little_endian {
        &bytes[..field.len()]
    } else {
        &bytes[8 - field.len()..]
    };
    match (
        <&mut [u8; 4]>::try_from(&mut *field),
        <&[u8; 4]>::try_from(bytes),
    ) {
        (Ok(field), Ok(bytes)) => *field = *bytes,
        _ => field.copy_from_slice(bytes),
    }
}
