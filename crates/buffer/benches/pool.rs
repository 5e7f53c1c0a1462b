//! A block from the pool beside one from the allocator, and a copy beside a slice.
//!
//!     cargo bench -p socktree-buffer --bench pool
//!
//! What it printed once stands in `docs/codec-measurements.md`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark takes the time, prints it, and needs a second thread"
)]

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socktree_buffer::{BufferPool, PoolOptions, ReadBuffer};

const BLOCK: usize = 64 * 1024;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(200);

fn main() {
    let pool = BufferPool::default();
    println!("a block of 64 KiB, one thread:");
    let names = [
        "pool: take, freeze, drop",
        "pool: take, drop",
        "vec![0; n] into Bytes, drop",
        "vec![0; n], drop",
        "Vec::with_capacity(n), drop",
    ];
    let nanos = compare(&mut [
        &mut || drop(black_box(pool.take(BLOCK).freeze(BLOCK))),
        &mut || drop(black_box(pool.take(BLOCK))),
        &mut || drop(black_box(Bytes::from(vec![0; BLOCK]))),
        &mut || drop(black_box(vec![0u8; BLOCK])),
        &mut || drop(black_box(Vec::<u8>::with_capacity(BLOCK))),
    ]);
    print(&names, nanos);

    println!("a block of 64 KiB, frozen here and dropped there, batches of 32:");
    // Nine batches are under way at most; what comes home must find a place.
    let other = BufferPool::new(PoolOptions::new().max_idle(32 << 20)).expect("they are right");
    across("pool", move || other.take(BLOCK).freeze(BLOCK));
    across("vec![0; n] into Bytes", || Bytes::from(vec![0; BLOCK]));

    println!("a message of n bytes out of a read of 64 KiB, taken and dropped:");
    for len in [64, 256, 1024, 2048, 4096, 8192, 16 * 1024, 32 * 1024, BLOCK] {
        let mut copying = ReadBuffer::new(&pool).copy_below(usize::MAX);
        let mut slicing = ReadBuffer::new(&pool).copy_below(0);
        println!("  n = {len}, per message:");
        let nanos = compare(&mut [&mut || read(&mut copying, len), &mut || {
            read(&mut slicing, len)
        }]);
        print(
            &["copied", "sliced"],
            nanos
                .into_iter()
                .map(|nanos| nanos * len as f64 / BLOCK as f64),
        );
    }
}

/// Takes every message of a read that filled the block.
fn read(buffer: &mut ReadBuffer, len: usize) {
    let capacity = buffer.spare_mut().len();
    buffer.set_filled(capacity);
    for at in (0..capacity).step_by(len) {
        drop(black_box(buffer.take(at..at + len)));
    }
}

fn print(names: &[&str], nanos: impl IntoIterator<Item = f64>) {
    for (name, nanos) in names.iter().zip(nanos) {
        println!("    {name:<30} {nanos:>9.1} ns");
    }
}

/// Takes turns, so that whatever else the machine does hits all alike; the best turn counts.
fn compare(contenders: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; contenders.len()];
    for _ in 0..ROUNDS {
        for (pass, best) in contenders.iter_mut().zip(&mut best) {
            let start = Instant::now();
            let mut passes = 0u32;
            while start.elapsed() < ROUND {
                for _ in 0..64 {
                    pass();
                }
                passes += 64;
            }
            *best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(passes));
        }
    }
    best
}

fn across(name: &str, make: impl Fn() -> Bytes) {
    let (sender, receiver) = mpsc::sync_channel::<Vec<Bytes>>(8);
    let reader = thread::spawn(move || {
        receiver
            .into_iter()
            .map(|blocks| blocks.len())
            .sum::<usize>()
    });
    let start = Instant::now();
    let mut made = 0u32;
    while start.elapsed() < ROUND * 5 {
        sender
            .send((0..32).map(|_| make()).collect())
            .expect("the reader reads to the end");
        made += 32;
    }
    drop(sender);
    assert_eq!(reader.join().expect("it only counts"), made as usize);
    let nanos = start.elapsed().as_secs_f64() * 1e9 / f64::from(made);
    println!("    {name:<30} {nanos:>9.1} ns");
}
