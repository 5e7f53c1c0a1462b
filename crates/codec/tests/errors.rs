//! What options refuse, by name, and what errors say.

use std::error::Error;

use socktree_codec::{
    Delimiter, EncodeError, FrameError, Framing, FramingError, LengthPrefix, Lines, Varint,
};

#[test]
fn prefix_options_that_are_wrong_are_named() {
    let cases = [
        (Framing::fixed(0), "fixed: must not be zero or empty"),
        (
            LengthPrefix::new().header(0).build(),
            "header: must not be zero or empty",
        ),
        (
            LengthPrefix::new().length_at(0, 5).build(),
            "length_at: a length field of 5 bytes; 1, 2, 3, 4 and 8 are possible",
        ),
        (
            LengthPrefix::new().header(4).length_at(2, 4).build(),
            "length_at: a length field of 4 bytes at 2 is outside a header of 4",
        ),
        (
            LengthPrefix::new()
                .length_at(usize::MAX, 4)
                .build()
                .map_err(|error| {
                    assert_eq!(error.field(), "length_at");
                    FramingError::LengthSize { size: 0 }
                }),
            "length_at: a length field of 0 bytes; 1, 2, 3, 4 and 8 are possible",
        ),
        (
            LengthPrefix::new().max_frame(3).build(),
            "max_frame: 3 is below the smallest possible frame of 4 bytes",
        ),
        (
            LengthPrefix::u8().adjust(-256).build(),
            "adjust: no frame is possible with -256",
        ),
        (
            LengthPrefix::u8().adjust(i64::MAX).unlimited().build(),
            "adjust: no frame is possible with 9223372036854775807",
        ),
        (
            LengthPrefix::u8().adjust(20).max_frame(20).build(),
            "adjust: no frame is possible with 20",
        ),
    ];
    for (framing, message) in cases {
        assert_eq!(framing.expect_err(message).to_string(), message);
    }
}

#[test]
fn the_other_options_that_are_wrong_are_named() {
    let cases = [
        (
            Varint::new().max_bytes(11).build(),
            "max_bytes: a varint of at most 11 bytes; 1 to 10 are possible",
        ),
        (
            Varint::new().max_frame(0).build(),
            "max_frame: 0 is below the smallest possible frame of 1 bytes",
        ),
        (
            Delimiter::new("").build(),
            "delimiter: must not be zero or empty",
        ),
        (
            Delimiter::new(vec![0; 65_537]).build(),
            "delimiter: 65537 bytes; at most 65536 are possible",
        ),
        (
            Delimiter::new("--").max_frame(1).build(),
            "max_frame: 1 is below the smallest possible frame of 2 bytes",
        ),
        (
            Lines::new().crlf(true).max_frame(1).build(),
            "max_frame: 1 is below the smallest possible frame of 2 bytes",
        ),
    ];
    for (framing, message) in cases {
        assert_eq!(framing.expect_err(message).to_string(), message);
    }
}

/// Edges of what is right: one step further is an error above.
#[test]
fn options_that_are_just_right() {
    let framings = [
        LengthPrefix::u8().adjust(-255).build(),
        LengthPrefix::u8().adjust(19).max_frame(20).build(),
        LengthPrefix::u8()
            .counts_header(true)
            .adjust(i64::MAX)
            .unlimited()
            .build(),
        LengthPrefix::new().max_frame(4).build(),
        Delimiter::new(vec![0; 65_536]).build(),
        Delimiter::new("--").max_frame(2).build(),
        Lines::new().max_frame(1).build(),
        Varint::new().max_bytes(1).max_frame(1).build(),
    ];
    let limits = framings.map(|framing| framing.expect("it is right").max_frame());
    let max = 1 << 20;
    let expected = [
        Some(max),
        Some(20),
        None,
        Some(4),
        Some(max),
        Some(2),
        Some(1),
        Some(1),
    ];
    assert_eq!(limits, expected);
}

#[test]
fn errors_say_what_happened() {
    let frame = [
        (
            FrameError::TooLarge { len: 5, max: 4 },
            "a frame of 5 bytes is above the limit of 4",
        ),
        (
            FrameError::Malformed {
                length: 1,
                header: 4,
            },
            "the length field says 1, which makes a frame shorter than the header of 4 bytes",
        ),
        (
            FrameError::BadVarint { bytes: 10 },
            "the length is not a valid varint, 10 bytes into it",
        ),
        (
            FrameError::Refused {
                at: 3,
                expected: "','",
            },
            "expected ',' at byte 3",
        ),
        (
            FrameError::UnexpectedEof { pending: 7 },
            "the stream ended inside a frame, 7 bytes into it",
        ),
    ];
    for (error, message) in frame {
        assert_eq!(error.to_string(), message);
        let wrapped = EncodeError::from(error.clone());
        assert_eq!(wrapped.to_string(), "not a frame");
        assert_eq!(
            wrapped.source().map(ToString::to_string),
            Some(error.to_string())
        );
    }
}

#[test]
fn refusals_say_what_happened() {
    let encode = [
        (
            EncodeError::TooLarge { len: 5, max: 4 },
            "a frame of 5 bytes is above the limit of 4",
        ),
        (
            EncodeError::WrongLength {
                len: 3,
                expected: 4,
            },
            "a payload of 3 bytes where every frame has 4",
        ),
        (
            EncodeError::LengthField { value: -1, size: 2 },
            "the length -1 does not fit a field of 2 bytes",
        ),
        (
            EncodeError::ContainsDelimiter { at: 0 },
            "the payload contains the delimiter at byte 0",
        ),
        (
            EncodeError::WrongHeader {
                len: 3,
                expected: 4,
            },
            "a header of 3 bytes where the framing has 4",
        ),
        (
            EncodeError::NotOneFrame { len: 9, frame: 4 },
            "9 bytes of which only 4 are the first frame",
        ),
    ];
    for (error, message) in encode {
        assert_eq!(error.to_string(), message);
        assert!(error.source().is_none());
    }
}
