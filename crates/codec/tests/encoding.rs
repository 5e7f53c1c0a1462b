//! What is written: vectors, refusals, and frames that leave in pieces.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use socktree_codec::{
    Affix, Delimiter, EncodeError, FrameError, Framing, LengthPrefix, Lines, Varint,
};

fn encode(framing: &Framing, payload: &str) -> Result<Vec<u8>, EncodeError> {
    let mut encoded = framing.encode(Bytes::copy_from_slice(payload.as_bytes()))?;
    Ok(encoded.copy_to_bytes(encoded.remaining()).to_vec())
}

#[test]
fn headers_are_what_the_reader_expects() {
    let cases: [(Framing, &[u8]); 10] = [
        (LengthPrefix::u8().build().unwrap(), b"\x03abc"),
        (LengthPrefix::u16_le().build().unwrap(), b"\x03\0abc"),
        (LengthPrefix::u24_be().build().unwrap(), b"\0\0\x03abc"),
        (LengthPrefix::u32_le().build().unwrap(), b"\x03\0\0\0abc"),
        (
            LengthPrefix::u64_be().build().unwrap(),
            b"\0\0\0\0\0\0\0\x03abc",
        ),
        (
            LengthPrefix::u16_be().counts_header(true).build().unwrap(),
            b"\0\x05abc",
        ),
        (
            LengthPrefix::u16_be().adjust(2).build().unwrap(),
            b"\0\x01abc",
        ),
        (
            LengthPrefix::u8().header(3).build().unwrap(),
            b"\x03\0\0abc",
        ),
        (
            LengthPrefix::u8()
                .header(3)
                .length_at(2, 1)
                .build()
                .unwrap(),
            b"\0\0\x03abc",
        ),
        (Framing::raw(), b"abc"),
    ];
    for (framing, wire) in cases {
        assert_eq!(encode(&framing, "abc").unwrap(), wire, "{framing:?}");
        let mut joined = b"before".to_vec();
        framing.encode_into(b"abc", &mut joined).unwrap();
        assert_eq!(joined, [b"before", wire].concat());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let large = |len, max| EncodeError::TooLarge { len, max };
    let field = |value, size| EncodeError::LengthField { value, size };
    let contains = |at| EncodeError::ContainsDelimiter { at };
    let wide = "x".repeat(256);
    let cases = [
        (
            LengthPrefix::u8().max_frame(3).build().unwrap(),
            "abc",
            large(4, 3),
        ),
        (LengthPrefix::u8().build().unwrap(), &wide, field(256, 1)),
        (
            LengthPrefix::u8().adjust(2).build().unwrap(),
            "a",
            field(-1, 1),
        ),
        (
            Varint::new().max_frame(3).build().unwrap(),
            "abc",
            large(4, 3),
        ),
        (
            Varint::new().max_bytes(1).build().unwrap(),
            &wide,
            field(256, 1),
        ),
        (
            Framing::fixed(2).unwrap(),
            "abc",
            EncodeError::WrongLength {
                len: 3,
                expected: 2,
            },
        ),
        (Delimiter::new("--").build().unwrap(), "a--b", contains(1)),
        (Delimiter::new("--").build().unwrap(), "a-", contains(1)),
        (Delimiter::new("aab").build().unwrap(), "xaabx", contains(1)),
        (
            Delimiter::new("--").max_frame(4).build().unwrap(),
            "abc",
            large(5, 4),
        ),
        (Lines::new().build().unwrap(), "a\nb", contains(1)),
        (Lines::new().build().unwrap(), "ab\r", contains(2)),
        (
            Lines::new().crlf(true).max_frame(4).build().unwrap(),
            "abc",
            large(5, 4),
        ),
    ];
    for (framing, payload, error) in cases {
        assert_eq!(encode(&framing, payload), Err(error.clone()), "{framing:?}");
        let mut joined = Vec::new();
        assert_eq!(
            framing.encode_into(payload.as_bytes(), &mut joined),
            Err(error)
        );
        assert!(joined.is_empty());
    }
}

#[test]
fn what_only_looks_wrong_is_written() {
    let cases = [
        (Delimiter::new("--").build().unwrap(), "a-b", "a-b--"),
        (Delimiter::new("ab").build().unwrap(), "xa", "xaab"),
        (Lines::new().crlf(true).build().unwrap(), "ab\r", "ab\r\r\n"),
        (Lines::new().keep(true).build().unwrap(), "ab\r", "ab\r\n"),
        (Lines::new().build().unwrap(), "a\rb", "a\rb\n"),
        (Varint::new().max_bytes(1).build().unwrap(), "", "\0"),
    ];
    for (framing, payload, wire) in cases {
        assert_eq!(
            encode(&framing, payload).unwrap(),
            wire.as_bytes(),
            "{framing:?}"
        );
    }
    let full = "x".repeat(255);
    assert!(encode(&LengthPrefix::u8().build().unwrap(), &full).is_ok());
    assert!(encode(&Varint::new().max_bytes(1).build().unwrap(), &full[..127]).is_ok());
    assert_eq!(
        encode(&Varint::new().build().unwrap(), &full[..128]).unwrap()[..2],
        [0x80, 1]
    );
}

#[test]
fn a_header_of_ones_own_gets_its_length() {
    let framing = LengthPrefix::new()
        .header(4)
        .length_at(1, 2)
        .build()
        .unwrap();
    let encoded = framing.encode_with(&[9, 8, 7, 6], "ab".into()).unwrap();
    assert_eq!(encoded.header(), [9, 0, 2, 6]);
    let wrong = |len, expected| Err(EncodeError::WrongHeader { len, expected });
    assert_eq!(framing.encode_with(&[9], "ab".into()), wrong(1, 4));
    let lines = Lines::new().build().unwrap();
    assert_eq!(
        lines.encode_with(&[], "ab".into()).unwrap().trailer(),
        b"\n"
    );
    assert_eq!(lines.encode_with(&[9], "ab".into()), wrong(1, 0));
    // Longer than what is kept in place.
    let framing = LengthPrefix::u16_be().header(40).build().unwrap();
    let encoded = framing.encode_with(&[5; 40], "ab".into()).unwrap();
    assert_eq!(
        (&encoded.header()[..3], encoded.header().len()),
        (&[0, 2, 5][..], 40)
    );
    assert_eq!(
        framing.encode("ab".into()).unwrap().header()[..3],
        [0, 2, 0]
    );
}

#[test]
fn one_frame_is_told_from_less_and_more() {
    let framing = LengthPrefix::u16_be().strip(true).build().unwrap();
    let eof = |pending| Err(EncodeError::Invalid(FrameError::UnexpectedEof { pending }));
    assert_eq!(framing.check_frame(b"\0\x02ab"), Ok(2..4));
    assert_eq!(framing.check_frame(b""), eof(0));
    assert_eq!(framing.check_frame(b"\0"), eof(1));
    assert_eq!(framing.check_frame(b"\0\x02a"), eof(3));
    assert_eq!(
        framing.check_frame(b"\0\x02abc"),
        Err(EncodeError::NotOneFrame { len: 5, frame: 4 })
    );
    assert_eq!(Framing::raw().check_frame(b"abc"), Ok(0..3));
    let framing = LengthPrefix::u8().counts_header(true).build().unwrap();
    let malformed = FrameError::Malformed {
        length: 0,
        header: 1,
    };
    assert_eq!(
        framing.check_frame(b"\0"),
        Err(EncodeError::Invalid(malformed))
    );
}

/// Takes `encoded` out in steps of `step` bytes, by vectored chunks.
#[test]
fn a_frame_leaves_in_pieces_of_any_size() {
    let long = Affix::new(&[b'-'; 40]);
    assert_eq!(long.len(), 40);
    for framing in [
        LengthPrefix::u32_be().build().unwrap(),
        LengthPrefix::u8().header(40).build().unwrap(),
        Delimiter::new("--").build().unwrap(),
        Delimiter::new(&long).build().unwrap(),
    ] {
        let whole = encode(&framing, "payload").unwrap();
        for step in 1..=whole.len() {
            let mut encoded = framing.encode("payload".into()).unwrap();
            let mut written = Vec::new();
            while !encoded.is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = encoded.chunks_vectored(&mut slices);
                assert!(count > 0);
                assert_eq!(*slices[0], *encoded.chunk());
                let shown: Vec<u8> = slices[..count]
                    .iter()
                    .flat_map(|s| s.iter().copied())
                    .collect();
                let step = step.min(shown.len());
                written.extend_from_slice(&shown[..step]);
                encoded.advance(step);
                assert_eq!(encoded.len(), whole.len() - written.len());
            }
            assert_eq!(written, whole);
            assert_eq!((encoded.chunk(), encoded.remaining()), (&[][..], 0));
            assert_eq!(encoded.chunks_vectored(&mut [IoSlice::new(&[])]), 0);
        }
    }
}

#[test]
#[should_panic(expected = "advanced beyond the end of the frame")]
fn a_frame_has_an_end() {
    Framing::raw().encode("abc".into()).unwrap().advance(4);
}

#[test]
fn affixes_are_equal_by_what_they_hold() {
    let short = Affix::new(b"\r\n");
    assert_eq!(short, Affix::from(Bytes::from_static(b"\r\n")));
    assert_ne!(short, Affix::default());
    assert_eq!(format!("{short:?}"), "b\"\\r\\n\"");
    assert_eq!(short.as_ref(), b"\r\n");
    assert!(size_of::<Affix>() <= 24);
    for len in [Affix::INLINE - 1, Affix::INLINE, Affix::INLINE + 1] {
        let bytes = vec![7; len];
        let (copied, shared) = (Affix::new(&bytes), Affix::from(Bytes::from(bytes.clone())));
        assert_eq!((&copied[..], &copied), (&bytes[..], &shared));
    }
}
