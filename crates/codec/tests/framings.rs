//! Vectors for each framing.

use bytes::Bytes;
use socktree_codec::{
    Decoder, Delimiter, FrameError, Framing, FramingError, LengthPrefix, Lines, Varint,
};

/// Decodes `stream` in one piece and byte by byte, and wants the same of both.
fn decode(framing: &Framing, stream: &[u8]) -> (Vec<Bytes>, Result<usize, FrameError>) {
    let [whole, single] = [stream.len().max(1), 1].map(|size| {
        let mut decoder = Decoder::new(framing.clone());
        let mut frames = Vec::new();
        for piece in stream.chunks(size) {
            let mut feed = decoder.feed(piece);
            loop {
                match feed.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.copied(piece)),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
        }
        (frames, Ok(decoder.pending()))
    });
    assert_eq!(whole, single, "{framing:?}");
    whole
}

/// What `stream` is: these frames, and then so many bytes or an error.
fn check(
    framing: Result<Framing, FramingError>,
    stream: &[u8],
    frames: &[&[u8]],
    end: Result<usize, FrameError>,
) {
    let framing = framing.expect("the options are right");
    let (found, ended) = decode(&framing, stream);
    assert_eq!(
        (
            found.iter().map(|frame| &frame[..]).collect::<Vec<_>>(),
            ended
        ),
        (frames.to_vec(), end)
    );
}

#[test]
fn length_prefixes() {
    let four = || LengthPrefix::new().header(4).length_at(2, 2);
    let kept: &[&[u8]] = &[b"\x07\x01\0\x02ab", b"\x08\0\0\0"];
    check(
        four().build(),
        b"\x07\x01\0\x02ab\x08\0\0\0\x09",
        kept,
        Ok(1),
    );
    check(
        four().strip(true).build(),
        b"\x07\x01\0\x02ab\x08\0\0\0",
        &[b"ab", b""],
        Ok(0),
    );
    check(
        four().little_endian().strip(true).build(),
        b"..\x02\0ab",
        &[b"ab"],
        Ok(0),
    );
    check(
        LengthPrefix::u8().counts_header(true).build(),
        b"\x01\x03ab",
        &[b"\x01", b"\x03ab"],
        Ok(0),
    );
    check(
        LengthPrefix::u8().adjust(2).strip(true).build(),
        b"\x01abc",
        &[b"abc"],
        Ok(0),
    );
}

#[test]
fn length_prefixes_of_every_size() {
    check(
        LengthPrefix::u24_le().strip(true).build(),
        b"\x01\0\0a",
        &[b"a"],
        Ok(0),
    );
    check(
        LengthPrefix::u24_be().strip(true).build(),
        b"\0\0\x01a",
        &[b"a"],
        Ok(0),
    );
    check(
        LengthPrefix::u16_le().strip(true).build(),
        b"\x01\0a",
        &[b"a"],
        Ok(0),
    );
    check(
        LengthPrefix::u32_le().strip(true).build(),
        b"\x01\0\0\0a",
        &[b"a"],
        Ok(0),
    );
    check(
        LengthPrefix::u64_be().strip(true).build(),
        b"\0\0\0\0\0\0\0\x01a",
        &[b"a"],
        Ok(0),
    );
    check(
        LengthPrefix::u64_le().strip(true).build(),
        b"\x01\0\0\0\0\0\0\0a",
        &[b"a"],
        Ok(0),
    );
    check(
        LengthPrefix::default().strip(true).build(),
        b"\0\0\0\x01a",
        &[b"a"],
        Ok(0),
    );
    check(
        Framing::try_from(LengthPrefix::u8()),
        b"\0",
        &[b"\0"],
        Ok(0),
    );
}

#[test]
fn lengths_that_cannot_be() {
    let counted = || LengthPrefix::u8().counts_header(true);
    let malformed = |length, header| Err(FrameError::Malformed { length, header });
    check(counted().build(), b"\0", &[], malformed(0, 1));
    check(counted().header(3).build(), b"\x02ab", &[], malformed(2, 3));
    check(
        LengthPrefix::u8().adjust(-5).build(),
        b"\x04abc",
        &[],
        malformed(4, 1),
    );

    let large = |len, max| Err(FrameError::TooLarge { len, max });
    check(
        LengthPrefix::u8().max_frame(4).build(),
        b"\x03abc",
        &[b"\x03abc"],
        Ok(0),
    );
    check(
        LengthPrefix::u8().max_frame(4).build(),
        b"\x04abc",
        &[],
        large(5, 4),
    );
    check(
        LengthPrefix::u32_be().build(),
        b"\xFF\xFF\xFF\xFF",
        &[],
        large(0x1_0000_0003, 1 << 20),
    );
    // A sum that does not fit 64 bits is too large, whatever the limit.
    let no_limit = usize::MAX as u64;
    check(
        LengthPrefix::u64_be().unlimited().build(),
        &[0xFF; 8],
        &[],
        large(u64::MAX, no_limit),
    );
}

#[test]
fn varints() {
    let strip = || Varint::new().strip(true);
    check(
        strip().build(),
        b"\x02ab\0\x81\x00c",
        &[b"ab", b"", b"c"],
        Ok(0),
    );
    check(
        Varint::default().build(),
        b"\x02ab\x03",
        &[b"\x02ab"],
        Ok(1),
    );
    check(Framing::try_from(Varint::new()), b"\0", &[b"\0"], Ok(0));

    let bad = |bytes| Err(FrameError::BadVarint { bytes });
    check(
        strip().minimal(true).build(),
        b"\x01a\x81\x00c",
        &[b"a"],
        bad(2),
    );
    check(strip().max_bytes(2).build(), b"\x80\x80", &[], bad(2));
    check(strip().max_bytes(2).build(), b"\x80", &[], Ok(1));
    // Ten bytes hold 70 bits, of which 64 count.
    let mut nines = vec![0xFF; 9];
    nines.push(2);
    check(strip().build(), &nines, &[], bad(10));
    nines[9] = 0x81;
    check(strip().build(), &nines, &[], bad(10));
    nines[9] = 1;
    let large = FrameError::TooLarge {
        len: u64::MAX,
        max: 1 << 20,
    };
    check(strip().build(), &nines, &[], Err(large));
    // Found by fuzzing: the sum of header and length must not stop at the limit that is none.
    let large = FrameError::TooLarge {
        len: u64::MAX,
        max: usize::MAX as u64,
    };
    check(strip().unlimited().build(), &nines, &[], Err(large));
    let large = FrameError::TooLarge { len: 5, max: 4 };
    check(
        strip().max_frame(4).build(),
        b"\x03abc\x04",
        &[b"abc"],
        Err(large),
    );
    check(
        strip().unlimited().build(),
        b"\xFF\xFF\xFF\xFF\x07",
        &[],
        Ok(5),
    );
}

#[test]
fn delimiters() {
    let large = |max: u64| Err(FrameError::TooLarge { len: max + 1, max });
    let dash = || Delimiter::new("--");
    check(dash().build(), b"a--b-c----d-", &[b"a", b"b-c", b""], Ok(2));
    check(dash().keep(true).build(), b"a----", &[b"a--", b"--"], Ok(0));
    check(dash().build(), b"a---b--", &[b"a", b"-b"], Ok(0));
    check(
        dash().max_frame(4).build(),
        b"ab--abc--",
        &[b"ab"],
        large(4),
    );
    check(dash().max_frame(4).build(), b"abc-", &[], large(4));
    check(dash().max_frame(4).build(), b"abc", &[], Ok(3));
    check(dash().unlimited().build(), &[b'-'; 1], &[], Ok(1));
    check(
        Framing::try_from(Delimiter::new([0])),
        b"a\0\0b",
        &[b"a", b""],
        Ok(1),
    );
    // A search that starts over where it must, and only there.
    check(
        Delimiter::new("aabaaac").build(),
        b"aabaabaaac.",
        &[b"aab"],
        Ok(1),
    );
    check(Delimiter::new("aaab").build(), b"aaaaaab", &[b"aaa"], Ok(0));
}

#[test]
fn lines() {
    let large = FrameError::TooLarge { len: 5, max: 4 };
    check(
        Lines::new().build(),
        b"a\nb\r\n\r\n\nc\rd\ne",
        &[b"a", b"b", b"", b"", b"c\rd"],
        Ok(1),
    );
    check(
        Lines::new().keep(true).build(),
        b"a\nb\r\n",
        &[b"a\n", b"b\r\n"],
        Ok(0),
    );
    check(
        Lines::new().max_frame(4).build(),
        b"abc\nabcd\n",
        &[b"abc"],
        Err(large),
    );
    check(Lines::new().unlimited().build(), b"\r", &[], Ok(1));
    check(Framing::try_from(Lines::default()), b"\n", &[b""], Ok(0));
}

#[test]
fn framings_say_what_they_are() {
    let max = 1 << 20;
    let cases = [
        (Framing::raw(), "Raw", None, true),
        (Framing::fixed(3).unwrap(), "Fixed(3)", Some(3), false),
        (
            LengthPrefix::u8().build().unwrap(),
            "LengthPrefix { header: 1, length_at: 0..1, little_endian: false, uncounted: 1",
            Some(max),
            false,
        ),
        (
            Varint::new().build().unwrap(),
            "Varint { max_bytes: 10",
            Some(max),
            false,
        ),
        (
            Delimiter::new("--").build().unwrap(),
            "Delimiter { delimiter: b\"--\"",
            Some(max),
            false,
        ),
        (
            Lines::new().build().unwrap(),
            "Lines { crlf: false",
            Some(max),
            false,
        ),
    ];
    for (framing, starts, limit, raw) in cases {
        let text = format!("{framing:?}");
        assert!(text.starts_with(starts), "{text}");
        assert_eq!((framing.max_frame(), framing.is_raw()), (limit, raw));
        let decoder = Decoder::from(framing);
        let text = format!("{decoder:?}");
        assert!(
            text.starts_with(&format!("Decoder {{ framing: {starts}")),
            "{text}"
        );
        assert_eq!(decoder.framing().max_frame(), limit);
    }
}
