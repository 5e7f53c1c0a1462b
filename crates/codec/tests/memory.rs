//! What a decoder allocates, counted: nothing in between, never on the word of a header.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use socktree_codec::{Decoder, Delimiter, Frame, Framing, LengthPrefix, Lines, Varint};

/// Counts what this thread allocates, so that tests may run beside each other.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static FREED: Cell<usize> = const { Cell::new(0) };
}

fn add(counter: &'static std::thread::LocalKey<Cell<usize>>, count: usize) {
    counter.with(|counter| counter.set(counter.get() + count));
}

// SAFETY: every call goes to the system's allocator as it came; only counters are touched besides.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(&ALLOCATIONS, 1);
        add(&ALLOCATED, layout.size());
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        add(&FREED, layout.size());
        // SAFETY: the caller vouches that `place` was allocated here with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(&ALLOCATIONS, 1);
        add(&ALLOCATED, size);
        add(&FREED, layout.size());
        // SAFETY: the caller vouches that `place` was allocated here with this layout.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What has been allocated by this thread: how often, how much in all, how much is still there.
#[derive(Clone, Copy, Debug)]
struct Count {
    allocations: usize,
    bytes: usize,
    live: usize,
}

fn now() -> Count {
    let bytes = ALLOCATED.with(Cell::get);
    let allocations = ALLOCATIONS.with(Cell::get);
    Count {
        allocations,
        bytes,
        live: bytes.wrapping_sub(FREED.with(Cell::get)),
    }
}

/// Runs `act` and counts.
fn count<T>(act: impl FnOnce() -> T) -> (T, Count) {
    let before = now();
    let result = act();
    let after = now();
    let count = Count {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
        live: after.live.wrapping_sub(before.live),
    };
    (result, count)
}

fn framings() -> Vec<Framing> {
    [
        LengthPrefix::u32_be().unlimited().build(),
        Varint::new().strip(true).unlimited().build(),
        Delimiter::new(b"\r\n").unlimited().build(),
        Lines::new().unlimited().build(),
        Framing::fixed(100_000),
    ]
    .map(|framing| framing.expect("the options are right"))
    .into()
}

/// Hands all frames of `input` to nobody.
fn skim(decoder: &mut Decoder, input: &[u8]) -> usize {
    let mut feed = decoder.feed(input);
    let mut frames = 0;
    while feed.next_frame().expect("whole frames").is_some() {
        frames += 1;
    }
    frames
}

#[test]
fn frames_inside_a_read_cost_no_allocation() {
    let wire = [0, 0, 0, 1, 7].repeat(13_107);
    let mut decoder = Decoder::new(LengthPrefix::u32_be().build().unwrap());
    let (frames, count) = count(|| skim(&mut decoder, &wire));
    assert_eq!((frames, count.allocations), (13_107, 0));
    let mut raw = Decoder::new(Framing::raw());
    let (frames, count) = self::count(|| skim(&mut raw, &wire));
    assert_eq!((frames, count.allocations), (1, 0));
}

#[test]
fn a_raw_framing_costs_no_allocation() {
    let (decoder, count) = count(|| Decoder::new(Framing::raw()));
    assert_eq!(count.allocations, 0);
    assert!(decoder.framing().is_raw());
}

#[test]
fn a_frame_of_two_reads_costs_what_it_weighs_and_nothing_stays() {
    let mut wire = vec![0, 0, 0x40, 0];
    wire.resize(4 + 0x4000, 7);
    for cut in [1, 4, 5, 0x2002, 0x4003] {
        let mut decoder = Decoder::new(LengthPrefix::u32_be().build().unwrap());
        let (frame, count) = count(|| {
            assert_eq!(skim(&mut decoder, &wire[..cut]), 0);
            let mut feed = decoder.feed(&wire[cut..]);
            feed.next_frame().unwrap().unwrap()
        });
        assert!(
            matches!(frame, Frame::Joined(ref bytes) if *bytes == wire),
            "cut at {cut}"
        );
        assert_eq!(count.live, wire.len(), "cut at {cut}");
        let moved = count.bytes - wire.len();
        assert!(
            moved <= wire.len() / 2 + 128,
            "cut at {cut}, {moved} bytes were moved"
        );
        drop(frame);
        let ((), empty) = self::count(|| drop(decoder));
        assert!(empty.live.wrapping_neg() < 300, "only the framing was left");
    }
}

#[test]
fn never_more_is_reserved_than_twice_what_arrived() {
    for framing in framings() {
        let mut decoder = Decoder::new(framing.clone());
        let before = now().live;
        let header = if framing.max_frame().is_none() {
            &[0xFF, 0xFF, 0xFF, 0x7F][..]
        } else {
            b""
        };
        let mut arrived = 0;
        for byte in header.iter().copied().chain([b'x'; 20_000]) {
            assert_eq!(skim(&mut decoder, &[byte]), 0, "{framing:?}");
            arrived += 1;
            let held = now().live - before;
            assert!(
                held <= (2 * arrived).max(128),
                "{framing:?}: {held} for {arrived}"
            );
        }
        assert_eq!(decoder.pending(), arrived);
    }
}

#[test]
fn ten_thousand_headers_that_announce_four_gigabytes_cost_little() {
    let framing = LengthPrefix::u32_be().unlimited().build().unwrap();
    let ((), count) = count(|| {
        let mut decoders = Vec::with_capacity(10_000);
        for _ in 0..10_000 {
            let mut decoder = Decoder::new(framing.clone());
            assert_eq!(skim(&mut decoder, &[0xFF; 20]), 0);
            decoders.push(decoder);
        }
        let live = now().live;
        assert!(live < 10_000 * (64 + 128) + 10_000, "{live}");
    });
    assert_eq!(count.live, 0);
}

#[test]
fn bytes_that_drip_are_moved_a_bounded_number_of_times() {
    let mut wire = vec![0, 4, 0, 0];
    wire.resize(4 + (4 << 16), 7);
    let mut lines = vec![b'x'; 4 << 16];
    lines.extend(b"\r\n");
    let limit = |framing: Option<Framing>| framing.expect("the options are right");
    for (framing, wire) in [
        (limit(LengthPrefix::u32_be().build().ok()), &wire),
        (limit(Delimiter::new(b"\r\n").build().ok()), &lines),
        (limit(Lines::new().build().ok()), &lines),
    ] {
        let mut decoder = Decoder::new(framing.clone());
        let (frames, count) = count(|| {
            wire.chunks(1)
                .map(|byte| skim(&mut decoder, byte))
                .sum::<usize>()
        });
        assert_eq!((frames, decoder.pending()), (1, 0));
        assert!(count.bytes <= 4 * wire.len(), "{framing:?}: {count:?}");
        assert!(count.allocations < 40, "{framing:?}: {count:?}");
    }
}

#[test]
fn a_pause_after_every_frame_copies_every_byte_twice_at_most() {
    let wire = [0, 0, 0, 1, 7].repeat(13_107);
    let mut decoder = Decoder::new(LengthPrefix::u32_be().build().unwrap());
    let (frames, count) = count(|| {
        let mut frames = 0;
        decoder.feed(&wire).next_frame().unwrap().unwrap();
        while decoder.next_pending().unwrap().is_some() {
            frames += 1;
        }
        frames
    });
    assert_eq!(frames, 13_106);
    assert!(count.bytes <= 2 * wire.len(), "{count:?}");
    assert_eq!(count.live, 0);
}

#[test]
fn a_joined_frame_keeps_little_more_than_itself() {
    let mut decoder = Decoder::new(Lines::new().build().unwrap());
    for len in [1, 24, 31, 32, 100, 1000, 10_000] {
        let line = [vec![b'x'; len], vec![b'\n']].concat();
        let before = now().live;
        let (last, rest) = line.split_last().unwrap();
        for byte in rest {
            assert_eq!(skim(&mut decoder, &[*byte]), 0);
        }
        let frame = decoder.feed([*last]).next_frame().unwrap().unwrap();
        let kept = now().live - before;
        assert!(
            kept <= 4 * (len + 1) + 40,
            "{kept} bytes for a line of {len}"
        );
        assert_eq!(frame.len(), len);
    }
}

#[test]
fn large_frames_after_a_pause_take_the_buffer_with_them() {
    let wire = vec![7; 80 << 10];
    let mut decoder = Decoder::new(Framing::fixed(20 << 10).unwrap());
    let (frames, count) = count(|| {
        decoder.feed(&wire).next_frame().unwrap().unwrap();
        [(); 3].map(|()| decoder.next_pending().unwrap().unwrap())
    });
    assert_eq!(frames.map(|frame| frame.len()), [20 << 10; 3]);
    // Sixty were kept, the first twenty copied out, and the second left its buffer to the third.
    assert!(count.bytes <= (100 << 10) + 256, "{count:?}");
}

#[test]
fn what_a_pause_left_shrinks_to_the_frame_that_is_unfinished() {
    let mut wire = [0, 0, 0, 1, 7].repeat(13_000);
    wire.extend([0, 0, 0, 9, 1]);
    let mut decoder = Decoder::new(LengthPrefix::u32_be().build().unwrap());
    let before = now().live;
    decoder.feed(&wire).next_frame().unwrap().unwrap();
    while decoder.next_pending().unwrap().is_some() {}
    assert_eq!(decoder.pending(), 5);
    assert!(now().live - before <= 128);
}

#[test]
fn writing_a_frame_costs_no_allocation() {
    let payload = bytes::Bytes::from_static(b"hello");
    for framing in [
        LengthPrefix::new()
            .header(16)
            .length_at(4, 4)
            .build()
            .unwrap(),
        Varint::new().build().unwrap(),
        Delimiter::new(b"--end--").build().unwrap(),
        Lines::new().crlf(true).build().unwrap(),
        Framing::raw(),
    ] {
        let (encoded, count) = count(|| framing.encode(payload.clone()).unwrap());
        assert_eq!(
            (count.allocations, encoded.payload().as_ptr()),
            (0, payload.as_ptr())
        );
    }
}
