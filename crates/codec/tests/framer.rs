//! Framers of the user's own, honest and not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use socktree_codec::{
    Affix, Boundary, Decoder, EncodeError, FrameError, Framer, Framing, FramingError, Progress,
};

/// Decodes `stream` in one piece and byte by byte, and wants the same of both.
fn check(stream: &[u8], frames: &[&str], end: Result<usize, FrameError>) {
    for size in [stream.len(), 1] {
        let mut decoder = Decoder::new(Framing::custom(Pairs, 10).expect("the limit is right"));
        let mut found = Vec::new();
        let outcome = stream.chunks(size).try_for_each(|piece| {
            let mut feed = decoder.feed(piece);
            while let Some(frame) = feed.next_frame()? {
                found.push(frame.copied(piece));
            }
            Ok(())
        });
        assert_eq!(
            (found, outcome.map(|()| decoder.pending())),
            (
                frames
                    .iter()
                    .map(|frame| Bytes::from(frame.to_string()))
                    .collect(),
                end.clone()
            )
        );
    }
}

/// Two bytes are a frame, except that what the first one says is a lie about it.
#[derive(Debug)]
struct Pairs;

impl Framer for Pairs {
    fn find(&self, received: &[u8], _: &mut Progress) -> Result<Boundary, FrameError> {
        match received {
            [b'0', ..] => Ok(Boundary::Frame {
                len: 0,
                payload: 0..0,
            }),
            [b'o', ..] => Ok(Boundary::Frame {
                len: 2,
                payload: 1..3,
            }),
            #[expect(clippy::reversed_empty_ranges, reason = "it is the lie")]
            [b'r', ..] => Ok(Boundary::Frame {
                len: 2,
                payload: 2..1,
            }),
            [b'l', ..] => Ok(Boundary::Frame {
                len: 100,
                payload: 0..1,
            }),
            [b'm', ..] => Ok(Boundary::More { need: 100 }),
            [b'w', ..] => Ok(Boundary::More { need: 0 }),
            [b'x', ..] => Err(FrameError::Refused {
                at: 0,
                expected: "no x",
            }),
            _ => Ok(Boundary::Frame {
                len: 2,
                payload: 1..2,
            }),
        }
    }
}

#[test]
fn a_framer_that_lies_is_found_out() {
    let refused = |expected| Err(FrameError::Refused { at: 0, expected });
    let large = Err(FrameError::TooLarge { len: 11, max: 10 });
    check(b".a.b.", &["a", "b"], Ok(1));
    check(b".a0", &["a"], refused("a frame that is not empty"));
    check(b".ao.", &["a"], refused("a payload inside its frame"));
    check(b".ar.", &["a"], refused("a payload inside its frame"));
    check(b".ax.", &["a"], refused("no x"));
    check(b".al", &["a"], large.clone());
    check(b".am", &["a"], large.clone());
    check(b".awwwwwwwww", &["a"], Ok(9));
    check(b".awwwwwwwwww", &["a"], large);
}

#[test]
fn a_framer_writes_whole_frames_unless_it_says_otherwise() {
    let framing = Framing::custom(Pairs, 10).expect("the limit is right");
    let encode = |payload: &'static [u8]| framing.encode(Bytes::from_static(payload));
    let encoded = encode(b".a").unwrap();
    assert_eq!(
        (encoded.header(), &encoded.payload()[..], encoded.trailer()),
        (&b""[..], &b".a"[..], &b""[..])
    );
    let eof = |pending| EncodeError::Invalid(FrameError::UnexpectedEof { pending });
    assert_eq!(encode(b""), Err(eof(0)));
    assert_eq!(encode(b"."), Err(eof(1)));
    assert_eq!(encode(b"w."), Err(eof(2)));
    assert_eq!(
        encode(b".a."),
        Err(EncodeError::NotOneFrame { len: 3, frame: 2 })
    );
    assert!(matches!(
        encode(b"x"),
        Err(EncodeError::Invalid(FrameError::Refused { .. }))
    ));

    #[derive(Debug)]
    struct Quoted;
    impl Framer for Quoted {
        fn find(&self, _: &[u8], _: &mut Progress) -> Result<Boundary, FrameError> {
            Ok(Boundary::More { need: 0 })
        }
        fn wrap(&self, _: &[u8]) -> Result<(Affix, Affix), EncodeError> {
            Ok((Affix::new(b"<"), Affix::new(b">")))
        }
    }
    let framing = Framing::custom(Quoted, 4).expect("the limit is right");
    assert_eq!(framing.encode("ab".into()).unwrap().len(), 4);
    let large = EncodeError::TooLarge { len: 5, max: 4 };
    assert_eq!(framing.encode("abc".into()), Err(large));
}

/// Frames that end with a zero byte, and a count of how often one was looked for.
#[derive(Debug)]
struct Zero(Arc<AtomicUsize>);

impl Framer for Zero {
    fn find(&self, received: &[u8], progress: &mut Progress) -> Result<Boundary, FrameError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let Some(at) = received[progress.scanned..]
            .iter()
            .position(|byte| *byte == 0)
        else {
            progress.scanned = received.len();
            return Ok(Boundary::More { need: 0 });
        };
        let end = progress.scanned + at;
        Ok(Boundary::Frame {
            len: end + 1,
            payload: 0..end,
        })
    }
}

#[test]
fn the_end_of_a_long_frame_is_searched_in_few_looks() {
    let looks = Arc::new(AtomicUsize::new(0));
    let mut decoder = Decoder::new(Framing::custom(Zero(looks.clone()), 1 << 20).expect("right"));
    assert_eq!(decoder.feed(b"x").next_frame(), Ok(None));
    let mut rest = vec![b'x'; 100_000];
    rest.push(0);
    let frame = decoder.feed(&rest).next_frame().unwrap().unwrap();
    assert_eq!(frame.len(), 100_001);
    let looks = looks.load(Ordering::Relaxed);
    assert!(looks < 20, "{looks} looks");
}

#[test]
fn a_limit_of_nothing_is_an_error() {
    let error = Framing::custom(Pairs, 0).expect_err("no frame is that small");
    assert_eq!(error, FramingError::Empty { field: "max_frame" });
}

#[test]
fn a_framing_shows_its_framer_and_its_limit() {
    let framing = Framing::custom(Pairs, 10).expect("the limit is right");
    assert_eq!(
        format!("{framing:?}"),
        "Custom { framer: Pairs, max_frame: 10 }"
    );
    assert_eq!(framing.max_frame(), Some(10));
    assert_eq!(
        Framing::custom(Pairs, usize::MAX)
            .expect("no limit")
            .max_frame(),
        None
    );
}
