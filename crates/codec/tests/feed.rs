//! One read's worth of bytes: places, slices, lending the input back, giving up the rest.

use bytes::Bytes;
use socktree_codec::{Decoder, Frame, Framing, LengthPrefix, Lines};

fn threes() -> Decoder {
    Decoder::new(Framing::fixed(3).expect("three is a length"))
}

#[test]
fn a_frame_is_a_place_a_slice_or_a_copy() {
    let block = Bytes::from_static(b"aaabbbccc");
    let mut decoder = threes();
    let mut feed = decoder.feed(&block);
    assert_eq!(feed.next_frame().unwrap().unwrap().range(), Some(0..3));
    let sliced = feed.next_frame().unwrap().unwrap().sliced(&block);
    assert_eq!(
        (&sliced[..], sliced.as_ptr()),
        (&b"bbb"[..], block[3..].as_ptr())
    );
    let copied = feed.next_frame().unwrap().unwrap().copied(&block);
    assert_eq!(copied, "ccc");
    assert_ne!(copied.as_ptr(), block[6..].as_ptr());
}

#[test]
fn a_joined_frame_is_itself_however_it_is_taken() {
    let joined = Frame::Joined(Bytes::from_static(b"abc"));
    assert_eq!(
        (joined.range(), joined.len(), joined.is_empty()),
        (None, 3, false)
    );
    assert_eq!(joined.clone().sliced(&Bytes::new()), "abc");
    assert_eq!(joined.copied(b""), "abc");
    assert!(Frame::Inside(4..4).is_empty());
}

/// What a read loop does that owns its buffer: lend it, and have it back for each frame.
#[test]
fn the_input_is_lent_back_between_frames() {
    let mut buffer = b"aaabbbc".to_vec();
    let mut decoder = threes();
    let mut feed = decoder.feed(&mut buffer);
    let mut taken = Vec::new();
    while let Some(frame) = feed.next_frame().unwrap() {
        let place = frame.range().expect("nothing came before");
        taken.push(feed.input().get(place.clone()).map(<[u8]>::to_vec));
        feed.input_mut()[place].fill(0);
    }
    assert_eq!(taken, [Some(b"aaa".to_vec()), Some(b"bbb".to_vec())]);
    drop(feed);
    assert_eq!((&buffer[..], decoder.pending()), (&b"\0\0\0\0\0\0c"[..], 1));
}

/// A buffer that shows less than before must not make the decoder panic.
#[test]
fn an_input_that_shrinks_has_nothing_more() {
    let mut buffer = b"aaabbb".to_vec();
    let mut decoder = threes();
    let mut feed = decoder.feed(&mut buffer);
    assert!(feed.next_frame().unwrap().is_some());
    feed.input_mut().clear();
    assert_eq!((feed.rest(), feed.next_frame()), (0, Ok(None)));
    assert_eq!(feed.release(), 3..3);
    assert_eq!(decoder.pending(), 0);
}

#[test]
fn a_rest_that_is_released_is_fed_again() {
    let block = b"aaabbbccdddee";
    let mut decoder = threes();
    assert_eq!(decoder.feed(b"x").next_frame(), Ok(None));
    let mut feed = decoder.feed(block);
    assert_eq!(feed.next_frame().unwrap().unwrap().copied(block), "xaa");
    assert_eq!(feed.rest(), 11);
    let rest = feed.release();
    assert_eq!((rest.clone(), decoder.pending()), (2..13, 0));
    let mut feed = decoder.feed(&block[rest]);
    assert_eq!(feed.next_frame().unwrap().unwrap().range(), Some(0..3));
    assert_eq!(
        format!("{feed:?}"),
        "Feed { decoder: Decoder { framing: Fixed(3), pending: 0, failed: false, .. }, rest: 8, .. }"
    );
}

#[test]
fn an_error_goes_back_with_the_bytes_that_are_wrong() {
    let framing = LengthPrefix::u8().counts_header(true).build().unwrap();
    let mut decoder = Decoder::new(framing);
    let mut feed = decoder.feed(b"\x02a\0bc");
    assert!(feed.next_frame().is_ok());
    assert!(feed.next_frame().is_err());
    let rest = feed.release();
    assert_eq!((rest, decoder.pending()), (2..5, 0));
    // Nothing wrong is left in the decoder, so it takes what is right.
    assert_eq!(
        decoder.feed(b"\x01").next_frame(),
        Ok(Some(Frame::Inside(0..1)))
    );
    // What was kept before is not given back, and neither is its error.
    let mut feed = decoder.feed(b"\0");
    assert!(feed.next_frame().is_err());
    drop(feed);
    let mut feed = decoder.feed(b"");
    assert!(feed.next_frame().is_err());
    assert_eq!(feed.release(), 0..0);
    let mut feed = decoder.feed(b"\x01");
    assert!(feed.next_frame().is_err());
    assert_eq!(feed.release(), 1..1);
    assert!(decoder.next_pending().is_err());
    assert!(decoder.feed(b"more").next_frame().is_err());
    assert_eq!(decoder.pending(), 1, "nothing was kept after the error");
}

#[test]
fn the_bytes_between_two_framings_are_nobodys() {
    let mut decoder = Decoder::new(Lines::new().build().unwrap());
    assert_eq!(decoder.feed(b"upgra").next_frame(), Ok(None));
    let mut feed = decoder.feed(b"de\nbinary");
    assert!(feed.next_frame().unwrap().is_some());
    drop(feed);
    assert_eq!(decoder.take_pending(), "binary");
    assert_eq!((decoder.pending(), decoder.finish()), (0, Ok(())));
}
