//! What a decoder does between two reads.

use bytes::Bytes;
use socktree_codec::{Decoder, Delimiter, Frame, FrameError, Framing, LengthPrefix, Lines};

/// Feeds `reads` and collects every frame.
fn decode(decoder: &mut Decoder, reads: &[&[u8]]) -> Result<Vec<Bytes>, FrameError> {
    let mut frames = Vec::new();
    for read in reads {
        let mut feed = decoder.feed(read);
        while let Some(frame) = feed.next_frame()? {
            frames.push(frame.copied(read));
        }
    }
    Ok(frames)
}

fn u16_stripped() -> Framing {
    LengthPrefix::u16_be()
        .strip(true)
        .build()
        .expect("nothing is wrong with it")
}

#[test]
fn is_small_and_owns_nothing_between_frames() {
    assert!(size_of::<Decoder>() <= 64, "{}", size_of::<Decoder>());
    assert_eq!(size_of::<Framing>(), size_of::<usize>());
    let mut decoder = Decoder::new(u16_stripped());
    assert_eq!(
        decode(&mut decoder, &[b"\0\x01a\0", b"\x01", b"b"]).unwrap(),
        ["a", "b"]
    );
    assert_eq!(decoder.pending(), 0);
}

#[test]
fn frames_inside_are_places_and_the_others_are_joined() {
    let mut decoder = Decoder::new(u16_stripped());
    let mut feed = decoder.feed(b"\0\x02ab\0\x03c");
    assert_eq!(feed.next_frame(), Ok(Some(Frame::Inside(2..4))));
    assert_eq!(feed.next_frame(), Ok(None));
    drop(feed);
    let mut feed = decoder.feed(b"de\0\x01f");
    assert_eq!(
        feed.next_frame(),
        Ok(Some(Frame::Joined(Bytes::from_static(b"cde"))))
    );
    assert_eq!(feed.next_frame(), Ok(Some(Frame::Inside(4..5))));
    assert_eq!(feed.next_frame(), Ok(None));
}

#[test]
fn raw_frames_are_the_reads() {
    let mut decoder = Decoder::new(Framing::raw());
    assert_eq!(
        decode(&mut decoder, &[b"abc", b"", b"d"]).unwrap(),
        ["abc", "d"]
    );
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn stopping_early_loses_nothing() {
    let wire: Vec<u8> = (0..50u8)
        .flat_map(|n| [vec![0, n], vec![n; n.into()]].concat())
        .collect();
    for budget in 0..60 {
        let mut decoder = Decoder::new(u16_stripped());
        let mut frames = Vec::new();
        let mut feed = decoder.feed(&wire);
        for _ in 0..budget {
            let Some(frame) = feed.next_frame().unwrap() else {
                break;
            };
            frames.push(frame.copied(&wire));
        }
        drop(feed);
        while let Some(frame) = decoder.next_pending().unwrap() {
            frames.push(frame);
        }
        decoder.finish().unwrap();
        assert_eq!(frames.len(), 50);
        assert!(
            (0..50u8)
                .zip(&frames)
                .all(|(n, frame)| *frame == vec![n; n.into()])
        );
    }
}

#[test]
fn an_error_stays_and_nothing_grows_after_it() {
    let framing = LengthPrefix::u16_be().counts_header(true).build().unwrap();
    let mut decoder = Decoder::new(framing);
    let malformed = FrameError::Malformed {
        length: 1,
        header: 2,
    };
    let wire = b"\0\x02\0\x01rest";
    assert_eq!(decode(&mut decoder, &[wire]), Err(malformed.clone()));
    assert_eq!(decoder.pending(), 6);
    for _ in 0..10 {
        assert_eq!(decode(&mut decoder, &[wire]), Err(malformed.clone()));
        assert_eq!(decoder.next_pending(), Err(malformed.clone()));
    }
    assert_eq!(decoder.pending(), 6);
    decoder.set_framing(Framing::fixed(3).unwrap());
    assert_eq!(decoder.next_pending().unwrap().unwrap(), &b"\0\x01r"[..]);
}

#[test]
fn too_large_is_told_by_the_header_alone() {
    let framing = LengthPrefix::u32_be().max_frame(104).build().unwrap();
    let mut decoder = Decoder::new(framing.clone());
    assert_eq!(decode(&mut decoder, &[b"\0\0\0\x64"]), Ok(vec![]));
    let mut decoder = Decoder::new(framing);
    let error = FrameError::TooLarge { len: 105, max: 104 };
    assert_eq!(decode(&mut decoder, &[b"\0\0", b"\0", b"\x65"]), Err(error));
}

#[test]
fn the_framing_changes_in_the_middle_of_a_read() {
    let mut decoder = Decoder::new(Lines::new().build().unwrap());
    let wire = b"HELLO\r\n\0\x02ab|cd|e";
    let mut feed = decoder.feed(wire);
    assert_eq!(feed.next_frame().unwrap().unwrap().copied(wire), "HELLO");
    feed.set_framing(u16_stripped());
    assert_eq!(feed.next_frame().unwrap().unwrap().copied(wire), "ab");
    feed.set_framing(Delimiter::new(b"|").build().unwrap());
    assert_eq!(feed.next_frame().unwrap().unwrap().copied(wire), "");
    assert_eq!(feed.next_frame().unwrap().unwrap().copied(wire), "cd");
    assert_eq!(feed.next_frame(), Ok(None));
    drop(feed);
    decoder.set_framing(Framing::raw());
    assert_eq!(decoder.next_pending().unwrap().unwrap(), "e");
}

#[test]
fn the_end_inside_a_frame_says_how_much_was_there() {
    let mut decoder = Decoder::new(u16_stripped());
    assert_eq!(decode(&mut decoder, &[b"\0\x05abc"]), Ok(vec![]));
    assert_eq!(
        decoder.finish(),
        Err(FrameError::UnexpectedEof { pending: 5 })
    );
    assert_eq!(decoder.take_pending(), &b"\0\x05abc"[..]);
    assert_eq!(decoder.finish(), Ok(()));
}
