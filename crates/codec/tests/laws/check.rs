//! The laws: what must hold whatever bytes they are given.

use bytes::Bytes;
use socktree_codec::{Decoder, Frame, FrameError, Framing};

use super::draw::Draw;
use super::spec::{Front, Outcome, Spec};

/// Decodes `stream` in pieces, with pauses of every kind, and says what came of it.
///
/// Raw frames are joined into one: where they end is where the reads end, by definition.
pub(crate) fn decode_in_pieces(
    spec: &Spec,
    framing: &Framing,
    stream: &[u8],
    cuts: &[usize],
    draw: &mut Draw<'_>,
) -> Outcome {
    let mut decoder = Decoder::new(framing.clone());
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let ends = cuts.iter().copied().chain([stream.len()]);
    let mut start = 0;
    let mut outcome = Ok(());
    for end in ends {
        outcome = feed_with_pauses(&mut decoder, &stream[start..end], &mut frames, draw);
        start = end;
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        outcome = drain(&mut decoder, &mut frames);
    }
    if let Spec::Raw = spec {
        frames = vec![frames.concat()];
        frames.retain(|frame| !frame.is_empty());
    }
    let outcome = match outcome {
        Ok(()) => Ok(decoder.pending()),
        Err(error) => {
            // It stays, and nothing grows by feeding on.
            let pending = decoder.pending();
            assert_eq!(decoder.feed(stream).next_frame(), Err(error.clone()));
            assert_eq!(decoder.next_pending(), Err(error.clone()));
            assert_eq!(decoder.pending(), pending);
            Err(error)
        }
    };
    if let Ok(pending) = outcome {
        let finished = decoder.finish();
        assert_eq!(finished.is_ok(), pending == 0);
        assert_eq!(decoder.take_pending(), stream[stream.len() - pending..]);
        assert_eq!(decoder.pending(), 0);
    }
    (frames, outcome)
}

/// Feeds one piece, stopping now and then in one of the ways there are.
fn feed_with_pauses(
    decoder: &mut Decoder,
    piece: &[u8],
    frames: &mut Vec<Vec<u8>>,
    draw: &mut Draw<'_>,
) -> Result<(), FrameError> {
    let mut piece = piece;
    loop {
        let budget = match draw.below(4) {
            0 => draw.below(4),
            _ => usize::MAX,
        };
        let mut feed = decoder.feed(piece);
        let mut done = false;
        for _ in 0..budget {
            let Some(frame) = feed.next_frame()? else {
                done = true;
                break;
            };
            let (len, empty) = (frame.len(), frame.is_empty());
            let frame = match frame {
                Frame::Inside(place) => piece[place].to_vec(),
                Frame::Joined(bytes) => bytes.to_vec(),
            };
            assert_eq!((frame.len(), frame.is_empty()), (len, empty));
            frames.push(frame);
        }
        if done || draw.byte() & 3 == 0 {
            // Dropped early the rest is kept: for the next piece, or to be asked for now.
            drop(feed);
            return if draw.yes() {
                drain(decoder, frames)
            } else {
                Ok(())
            };
        }
        let rest = feed.release();
        piece = &piece[rest];
    }
}

fn drain(decoder: &mut Decoder, frames: &mut Vec<Vec<u8>>) -> Result<(), FrameError> {
    while let Some(frame) = decoder.next_pending()? {
        frames.push(frame.to_vec());
    }
    Ok(())
}

/// The whole law: any cut, any pause, the same frames as the slow and obvious way.
pub(crate) fn check_decode(bytes: &[u8]) {
    let mut draw = Draw(bytes);
    let spec = draw.good_spec();
    let Ok(framing) = spec.build() else { return };
    // The choices of where to cut and pause come from the same bytes, read a second time.
    let mut second = draw.clone();
    let stream = draw.stream(&spec);
    let cuts = second.cuts(stream.len());
    let expected = spec.decode(&stream);
    assert_eq!(
        decode_in_pieces(&spec, &framing, &stream, &cuts, &mut second),
        expected,
        "{spec:?} {stream:?} {cuts:?}"
    );
    let whole = decode_in_pieces(&spec, &framing, &stream, &[], &mut Draw(&[1; 4]));
    assert_eq!(whole, expected, "{spec:?} {stream:?} in one piece");
}

/// Options are refused exactly when they are wrong, by the name of the one that is.
pub(crate) fn check_options(bytes: &[u8]) {
    let spec = Draw(bytes).any_spec();
    let refused = spec.build().err().map(|error| error.field());
    assert_eq!(refused, spec.wrong_option(), "{spec:?}");
}

/// What is encoded is read back, and what could not be read back is not encoded.
pub(crate) fn check_round_trip(bytes: &[u8]) {
    let mut draw = Draw(bytes);
    let spec = draw.good_spec();
    let Ok(framing) = spec.build() else { return };
    let mut wire = Vec::new();
    let mut sent = Vec::new();
    while !draw.is_empty() && wire.len() < 2000 {
        let most = if draw.byte() < 16 { 300 } else { 24 };
        let mut payload = draw.letters(most);
        if let (Spec::Fixed(len), true) = (&spec, draw.yes()) {
            payload.resize(*len, b'f');
        }
        let expected = spec.wire(&payload).filter(|wire| {
            let read_back = spec.read_back(&payload).into_iter().collect();
            let vanishes = matches!(spec, Spec::Raw) && payload.is_empty();
            vanishes || spec.decode(wire) == (read_back, Ok(0))
        });
        let mut joined = Vec::new();
        let appended = framing.encode_into(&payload, &mut joined);
        let encoded = framing.encode(Bytes::from(payload.clone()));
        assert_eq!(appended, encoded.clone().map(drop), "{spec:?} {payload:?}");
        assert_eq!(
            expected.is_some(),
            encoded.is_ok(),
            "{spec:?} {payload:?} {encoded:?}"
        );
        let Some(expected) = expected else {
            assert!(joined.is_empty());
            continue;
        };
        let (header, middle, trailer) = encoded.expect("it was said to fit").into_parts();
        assert_eq!([&header[..], &middle, &trailer].concat(), expected);
        assert_eq!(joined, expected);
        if !expected.is_empty() {
            let place = framing
                .check_frame(&expected)
                .expect("it was made to be one");
            assert_eq!(Some(expected[place].to_vec()), spec.read_back(&payload));
            sent.extend(spec.read_back(&payload));
        }
        wire.extend(expected);
    }
    if let Spec::Raw = spec {
        sent = vec![sent.concat()];
        sent.retain(|frame| !frame.is_empty());
    }
    let mut second = Draw(bytes);
    let cuts = second.cuts(wire.len());
    let back = decode_in_pieces(&spec, &framing, &wire, &cuts, &mut second);
    assert_eq!(back, (sent, Ok(0)), "{spec:?}");
}

/// A framing that is switched after so many frames decodes what follows, and loses no byte.
pub(crate) fn check_switch(bytes: &[u8]) {
    let mut draw = Draw(bytes);
    let (first, second) = (draw.good_spec(), draw.good_spec());
    let (Ok(before), Ok(after)) = (first.build(), second.build()) else {
        return;
    };
    let count = draw.below(5);
    let mut stream: Vec<u8> = (0..count)
        .filter_map(|_| first.wire(&draw.letters(30)))
        .flatten()
        .collect();
    let mut choices = draw.clone();
    stream.extend(draw.stream(&second));

    // Where raw frames end is where reads end, so they cannot be counted.
    let mut expected = Vec::new();
    let mut rest = &stream[..];
    for _ in 0..count {
        match first.front(rest) {
            Front::Frame { len, payload } if !matches!(first, Spec::Raw) => {
                expected.push(payload);
                rest = &rest[len..];
            }
            _ => return,
        }
    }
    let (frames, end) = second.decode(rest);
    expected.extend(frames);

    let cuts = choices.cuts(stream.len());
    let mut decoder = Decoder::new(if count == 0 { after.clone() } else { before });
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut outcome = Ok(());
    let mut start = 0;
    for end in cuts.into_iter().chain([stream.len()]) {
        let piece = &stream[start..end];
        start = end;
        let mut feed = decoder.feed(piece);
        outcome = loop {
            match feed.next_frame() {
                Ok(None) => break Ok(()),
                Ok(Some(frame)) => frames.push(frame.copied(piece).to_vec()),
                Err(error) => break Err(error),
            }
            if frames.len() == count {
                feed.set_framing(after.clone());
            }
            if choices.byte() & 7 == 7 {
                break Ok(());
            }
        };
        if outcome.is_err() {
            break;
        }
    }
    while let (Ok(()), Ok(Some(frame))) = (&outcome, decoder.next_pending()) {
        frames.push(frame.to_vec());
        if frames.len() == count {
            decoder.set_framing(after.clone());
        }
    }
    if let Spec::Raw = second {
        let raw = frames.split_off(count.min(frames.len())).concat();
        frames.extend((!raw.is_empty()).then_some(raw));
    }
    let found = outcome
        .and_then(|()| decoder.next_pending())
        .map(|_| decoder.pending());
    assert_eq!(
        (frames, found),
        (expected, end),
        "{first:?}, {count} frames, {second:?}, {stream:?}"
    );
}

/// A framing that is switched between two reads goes on from the first byte not handed out, which
/// may lie in the middle of what would have been a frame.
pub(crate) fn check_switch_between(bytes: &[u8]) {
    let mut draw = Draw(bytes);
    let (first, second) = (draw.good_spec(), draw.good_spec());
    let (Ok(before), Ok(after)) = (first.build(), second.build()) else {
        return;
    };
    let at = draw.below(64);
    let mut choices = draw.clone();
    let stream = draw.stream(&first);
    let (head, tail) = stream.split_at(at.min(stream.len()));
    let (mut expected, Ok(pending)) = first.decode(head) else {
        return;
    };
    let (frames, end) = second.decode(&stream[head.len() - pending..]);

    let mut decoder = Decoder::new(before);
    let mut found = Vec::new();
    for piece in head.chunks(1 + choices.below(20)) {
        feed_with_pauses(&mut decoder, piece, &mut found, &mut choices).expect("the model says so");
    }
    drain(&mut decoder, &mut found).expect("the model says so");
    decoder.set_framing(after);
    let (ours, raw) = (found.len(), |frames: &[Vec<u8>]| frames.concat());
    let mut outcome = Ok(());
    for piece in tail.chunks(1 + choices.below(20)) {
        outcome = feed_with_pauses(&mut decoder, piece, &mut found, &mut choices);
        if outcome.is_err() {
            break;
        }
    }
    let outcome = outcome.and_then(|()| drain(&mut decoder, &mut found));
    let found_end = outcome.map(|()| decoder.pending());
    if matches!(first, Spec::Raw) || matches!(second, Spec::Raw) {
        // Where raw frames end is where reads end.
        expected.extend(frames);
        assert_eq!(
            (raw(&found), found_end),
            (raw(&expected), end),
            "{first:?} {second:?}"
        );
        return;
    }
    assert_eq!(ours, expected.len());
    expected.extend(frames);
    assert_eq!(
        (found, found_end),
        (expected, end),
        "{first:?}, {at} bytes, {second:?} {stream:?}"
    );
}
