//! Blocks go out and come home; the books say so at every moment.

use std::thread;

use bytes::Bytes;
use socktree_buffer::{BufferPool, PoolOptions, PoolOptionsError};

const BLOCK: usize = 64 * 1024;

fn pool(options: PoolOptions) -> BufferPool {
    BufferPool::new(options).expect("the options are right")
}

fn out_and_idle(pool: &BufferPool) -> (usize, usize) {
    let usage = pool.usage();
    (usage.out, usage.idle)
}

#[test]
fn takes_the_smallest_class_that_holds_it() {
    let pool = BufferPool::default();
    for (asked, given) in [
        (0, 4096),
        (1, 4096),
        (4096, 4096),
        (4097, 16384),
        (BLOCK, BLOCK),
        (BLOCK + 1, BLOCK + 1),
    ] {
        assert_eq!(pool.take(asked).capacity(), given);
    }
    let stats = pool.stats();
    assert_eq!(
        stats
            .classes
            .iter()
            .map(|class| class.idle)
            .collect::<Vec<_>>(),
        [1, 1, 1]
    );
    assert_eq!(
        (
            stats.oversize.made,
            stats.oversize.freed,
            stats.oversize.out
        ),
        (1, 1, 0)
    );
}

#[test]
fn a_block_keeps_its_size_and_place_however_little_was_read_into_it() {
    let pool = BufferPool::default();
    let mut block = pool.take(BLOCK);
    let place = block.as_ptr();
    block.as_mut_slice()[..5].copy_from_slice(b"hello");
    drop(block.freeze(5));
    let block = pool.take(BLOCK);
    assert_eq!((block.as_ptr(), block.capacity()), (place, BLOCK));
    assert_eq!(pool.stats().classes[2].reused, 1);
}

#[test]
fn comes_home_when_the_last_slice_is_dropped_and_not_before() {
    let pool = BufferPool::default();
    let bytes = pool.take(BLOCK).freeze(1000);
    let mut parts: Vec<Bytes> = (0..10)
        .map(|at| bytes.slice(at * 100..at * 100 + 100))
        .collect();
    drop(bytes);
    while let Some(part) = parts.pop() {
        assert_eq!(out_and_idle(&pool), (BLOCK, 0));
        drop(part);
    }
    assert_eq!(out_and_idle(&pool), (0, BLOCK));
}

#[test]
fn nobody_is_given_a_block_that_somebody_reads() {
    let pool = BufferPool::default();
    let mut frozen = Vec::new();
    for round in 0..100u8 {
        let mut block = pool.take(4096);
        block.fill(round);
        let bytes = block.freeze(4096);
        // Every third is kept, as by a broadcast to a slow reader.
        if round % 3 == 0 {
            frozen.push((round, bytes.slice(10..20)));
        }
    }
    for (round, bytes) in frozen {
        assert!(bytes.iter().all(|byte| *byte == round));
    }
    assert_eq!(pool.usage().out, 0);
}

#[test]
fn comes_home_from_any_thread() {
    let pool = BufferPool::default();
    let parts: Vec<Bytes> = (0..64).map(|_| pool.take(4096).freeze(100)).collect();
    thread::scope(|scope| {
        for part in parts {
            scope.spawn(move || drop(part));
        }
    });
    assert_eq!(out_and_idle(&pool), (0, 64 * 4096));
}

#[test]
fn the_cap_bounds_what_is_kept() {
    let pool = pool(PoolOptions::new().max_idle(3 * BLOCK + 1));
    let blocks: Vec<_> = (0..10).map(|_| pool.take(BLOCK)).collect();
    assert_eq!(pool.stats().high_water, 10 * BLOCK);
    drop(blocks);
    assert_eq!(out_and_idle(&pool), (0, 3 * BLOCK));
    assert_eq!(pool.stats().classes[2].freed, 7);
}

#[test]
fn what_a_burst_left_decays_with_use() {
    let pool = pool(PoolOptions::new().decay_every(16));
    drop((0..32).map(|_| pool.take(4096)).collect::<Vec<_>>());
    assert_eq!(pool.stats().classes[0].idle, 32);
    for _ in 0..16 * 8 {
        drop(pool.take(4096));
    }
    assert_eq!(
        pool.stats().classes[0].idle,
        1,
        "one block is enough for this use"
    );
    for _ in 0..1000 {
        drop(pool.take(4096));
    }
    assert_eq!(
        pool.stats().classes[0].made,
        32,
        "the block in use was not freed"
    );
}

#[test]
fn trim_empties_a_pool_that_nobody_uses() {
    let pool = BufferPool::default();
    drop((0..4).map(|_| pool.take(BLOCK)).collect::<Vec<_>>());
    assert_eq!(
        pool.trim(),
        0,
        "they were needed since the last time, which was never"
    );
    assert_eq!(pool.trim(), 4 * BLOCK);
    assert_eq!(out_and_idle(&pool), (0, 0));
}

#[test]
fn the_limit_counts_idle_blocks_but_frees_them_for_others() {
    let pool = pool(PoolOptions::new().limit(2 * BLOCK));
    drop((0..8).map(|_| pool.take(16384)).collect::<Vec<_>>());
    assert_eq!(out_and_idle(&pool), (0, 2 * BLOCK));
    let first = pool.try_take(BLOCK).unwrap();
    let second = pool.try_take(BLOCK).unwrap();
    assert_eq!(out_and_idle(&pool), (2 * BLOCK, 0));
    let refused = pool.try_take(1).unwrap_err();
    assert_eq!((refused.size, refused.usage.available()), (1, Some(0)));
    assert_eq!(
        refused.to_string(),
        "no block of 1 bytes with 131072 bytes out of 131072 in use"
    );
    assert_eq!(pool.stats().refused, 1);
    drop(first);
    drop(pool.try_take(1).unwrap());
    drop(second);
    assert!(pool.try_take(usize::MAX).is_err());
}

#[test]
fn take_goes_above_the_limit_and_the_excess_is_not_kept() {
    let pool = pool(PoolOptions::new().limit(BLOCK));
    let blocks = [pool.take(BLOCK), pool.take(BLOCK)];
    assert_eq!(pool.usage().available(), Some(0));
    drop(blocks);
    assert_eq!(out_and_idle(&pool), (0, BLOCK));
}

#[test]
fn a_lower_limit_acts_at_once_and_a_lifted_one_too() {
    let pool = BufferPool::default();
    let out = pool.take(BLOCK);
    drop((0..4).map(|_| pool.take(BLOCK)).collect::<Vec<_>>());
    pool.set_limit(Some(BLOCK / 2));
    assert_eq!(out_and_idle(&pool), (BLOCK, 0));
    assert!(pool.try_take(1).is_err());
    pool.set_limit(None);
    assert!(pool.try_take(1).is_ok());
    drop(out);
    assert_eq!(pool.usage().limit, None);
}

#[test]
fn blocks_outlive_their_pool() {
    let pool = BufferPool::default();
    let (block, bytes) = (pool.take(4096), pool.take(4096).freeze(10));
    drop(pool.take(BLOCK));
    drop(pool);
    assert_eq!((block.len(), bytes.len()), (4096, 10));
}

#[test]
fn the_leak_report_names_the_line_that_took_it() {
    let pool = pool(PoolOptions::new().trace_every(2));
    let line = line!() + 1;
    let kept: Vec<_> = (0..4).map(|_| pool.take(10).freeze(1)).collect();
    let report = pool.leak_report();
    assert_eq!((report.out(), report.blocks().len()), (4, 2));
    assert_eq!(report.blocks()[0].location.line(), line);
    assert_eq!(
        report
            .blocks()
            .iter()
            .map(|block| block.age)
            .collect::<Vec<_>>(),
        [2, 0]
    );
    assert!(
        report
            .to_string()
            .starts_with("4 blocks out, 2 recorded\nblock of 4096 bytes, 2 ")
    );
    drop(kept);
    assert!(pool.leak_report().is_empty());
}

#[test]
fn options_are_checked() {
    let check = |options: PoolOptions| BufferPool::new(options).unwrap_err();
    assert_eq!(
        check(PoolOptions::new().classes([])),
        PoolOptionsError::NoClasses
    );
    for (sizes, size, below) in [([0, 1], 0, 0), ([2, 2], 2, 2), ([2, 1], 1, 2)] {
        let error = check(PoolOptions::new().classes(sizes));
        assert_eq!(error, PoolOptionsError::ClassOrder { size, below });
        assert!(error.to_string().starts_with("classes: "));
    }
    let error = check(PoolOptions::new().limit(BLOCK - 1));
    assert_eq!(
        error,
        PoolOptionsError::LimitBelowClass {
            limit: BLOCK - 1,
            class: BLOCK
        }
    );
}

#[test]
#[should_panic(expected = "froze 4097 bytes of a block of 4096")]
fn freezing_more_than_there_is_panics() {
    let _ = BufferPool::default().take(1).freeze(4097);
}
