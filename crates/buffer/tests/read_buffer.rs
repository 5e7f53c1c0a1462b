//! A read loop keeps its block for small messages and gives it away with a large one.

use socktree_buffer::{BufferPool, COPY_BELOW, PoolOptions, ReadBuffer};

fn read(buffer: &mut ReadBuffer, bytes: &[u8]) {
    buffer.spare_mut()[..bytes.len()].copy_from_slice(bytes);
    buffer.set_filled(bytes.len());
}

#[test]
fn small_messages_are_copies_and_leave_the_block_where_it_is() {
    let pool = BufferPool::default();
    let mut buffer = ReadBuffer::new(&pool);
    let mut kept = Vec::new();
    for round in 0..1000u16 {
        read(&mut buffer, &round.to_be_bytes().repeat(8));
        kept.push((buffer.take(0..2), buffer.take(2..16), buffer.take(4..6)));
    }
    for (round, (a, b, c)) in (0..).zip(kept) {
        let round = u16::to_be_bytes(round);
        assert_eq!(
            (&a[..], &b[..2], b.len(), &c[..]),
            (&round[..], &round[..], 14, &round[..])
        );
    }
    let stats = pool.stats().classes[2];
    assert_eq!((stats.made, stats.reused, stats.out), (1, 0, 1));
    buffer.release();
    assert_eq!(pool.usage().out, 0);
}

#[test]
fn a_large_message_takes_the_block_with_it() {
    let pool = BufferPool::default();
    let mut buffer = ReadBuffer::new(&pool);
    read(&mut buffer, &[7; 60_000]);
    let small = buffer.take(0..COPY_BELOW - 1);
    let place = buffer.as_ref().as_ptr();
    let large = buffer.take(10..10 + COPY_BELOW);
    let later = buffer.take(60_000 - COPY_BELOW..60_000);
    assert_eq!(buffer.as_ref().len(), 60_000);
    assert_eq!(large.as_ptr(), place.wrapping_add(10));
    assert_eq!(later.as_ptr(), place.wrapping_add(60_000 - COPY_BELOW));
    assert_ne!(small.as_ptr(), place);

    read(&mut buffer, b"next");
    assert_ne!(
        buffer.as_ref().as_ptr(),
        place,
        "the old block is still being read"
    );
    assert_eq!(pool.stats().classes[2].out, 2);
    drop((large, later));
    buffer.release();
    assert_eq!(pool.usage().out, 0);
    assert_eq!(small.len(), COPY_BELOW - 1);
}

#[test]
fn taking_all_is_taking_the_whole_range_and_leaves_nothing() {
    let pool = BufferPool::default();
    for own in [false, true] {
        let mut buffer = ReadBuffer::new(&pool).own_copies(own);
        for len in [0, 1, 511, 512, COPY_BELOW - 1, COPY_BELOW, 65536] {
            for cut_before in [false, true] {
                let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
                read(&mut buffer, &bytes);
                // A part that is taken first makes the block shared, if it is large.
                let first = cut_before.then(|| buffer.take(0..len));
                let place = buffer.as_ref().as_ptr();
                let all = buffer.take_all();
                assert_eq!(all, bytes);
                assert_eq!(all.as_ptr() == place, len >= COPY_BELOW, "{len}");
                assert!(first.is_none_or(|first| first == all));
                assert!(buffer.as_ref().is_empty() && buffer.take_all().is_empty());
            }
        }
        buffer.release();
        assert_eq!(pool.usage().out, 0);
    }
    assert!(
        ReadBuffer::new(&pool).take_all().is_empty(),
        "nothing was read"
    );
}

#[test]
fn whoever_takes_all_of_a_block_is_its_only_reader() {
    let pool = BufferPool::default();
    let mut buffer = ReadBuffer::new(&pool);
    read(&mut buffer, &[7; 60_000]);
    drop(buffer.take_all());
    assert_eq!(
        pool.usage().out,
        0,
        "the block is home before the next read"
    );
}

#[test]
fn a_kept_copy_of_its_own_is_alone() {
    let pool = BufferPool::default();
    let mut buffer = ReadBuffer::new(&pool).own_copies(true);
    read(&mut buffer, b"onetwo");
    let (one, two) = (buffer.take(0..3), buffer.take(3..6));
    assert!(
        one.is_unique() && two.is_unique(),
        "they share no allocation"
    );
}

#[test]
fn ten_thousand_kept_small_messages_pin_nothing() {
    let pool = BufferPool::default();
    let mut buffer = ReadBuffer::new(&pool);
    let mut kept = Vec::new();
    for _ in 0..10_000 {
        read(&mut buffer, b"ten bytes!");
        kept.push(buffer.take(0..10));
    }
    buffer.release();
    assert_eq!(pool.stats().high_water, 65536);
    assert_eq!(pool.usage().out, 0);
}

#[test]
fn the_threshold_is_a_quarter_of_a_smaller_block_or_what_was_said() {
    let pool = BufferPool::default();
    for (mut buffer, below) in [
        (ReadBuffer::with_size(&pool, 4096), 1024),
        (ReadBuffer::new(&pool).copy_below(10), 10),
        (ReadBuffer::new(&pool), COPY_BELOW),
    ] {
        read(&mut buffer, &vec![1; below + 1]);
        let place = buffer.as_ref().as_ptr();
        assert_ne!(buffer.take(0..below - 1).as_ptr(), place);
        assert_eq!(buffer.take(0..below).as_ptr(), place);
    }
}

#[test]
fn holds_nothing_before_the_first_read_and_after_release() {
    let pool = BufferPool::default();
    let mut buffer = ReadBuffer::new(&pool);
    assert_eq!((buffer.as_ref().len(), pool.usage().out), (0, 0));
    assert!(buffer.take(0..0).is_empty());
    read(&mut buffer, b"x");
    buffer.release();
    assert_eq!((buffer.as_ref().len(), pool.usage().out), (0, 0));
}

#[test]
fn respects_the_limit_where_asked_to() {
    let pool = BufferPool::new(PoolOptions::new().limit(65536)).unwrap();
    let mut first = ReadBuffer::new(&pool);
    let mut second = ReadBuffer::new(&pool);
    assert_eq!(first.try_spare_mut().unwrap().len(), 65536);
    assert!(second.try_spare_mut().is_err());
    assert!(first.try_spare_mut().is_ok(), "it has its block already");
    first.release();
    assert!(second.try_spare_mut().is_ok());
}

#[test]
#[should_panic(expected = "read 65537 bytes into a block of 65536")]
fn cannot_be_filled_beyond_its_block() {
    let mut buffer = ReadBuffer::new(&BufferPool::default());
    let _ = buffer.spare_mut();
    buffer.set_filled(65537);
}

#[test]
#[should_panic(expected = "out of range")]
fn cannot_hand_out_what_was_not_read() {
    let mut buffer = ReadBuffer::new(&BufferPool::default());
    read(&mut buffer, b"abc");
    let _ = buffer.take(0..4);
}
