//! A read loop with a budget: many sources, one buffer, and a pool that says how it stands.
//!
//!     cargo run -p socktree-buffer --example read_loop
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io::{Cursor, Read};

use bytes::Bytes;
use socktree_buffer::{BufferPool, PoolOptions, ReadBuffer};

fn main() -> Result<(), Box<dyn Error>> {
    // At most four blocks of 64 KiB, of which one is kept when all are idle.
    let pool = BufferPool::new(PoolOptions::new().limit(256 * 1024).max_idle(64 * 1024))?;
    let mut buffer = ReadBuffer::new(&pool);

    // Three sockets, so to say: two that chat and one that uploads.
    let mut sources = [
        Cursor::new(vec![b'a'; 40]),
        Cursor::new(vec![b'b'; 1 << 20]),
        Cursor::new(vec![b'c'; 10]),
    ];
    let mut kept: Vec<Bytes> = Vec::new();
    for (number, source) in sources.iter_mut().enumerate() {
        loop {
            let space = match buffer.try_spare_mut() {
                Ok(space) => space,
                Err(refused) => {
                    // A server would stop reading this socket; here its reader makes room.
                    println!("source {number}: {refused}");
                    kept.clear();
                    continue;
                }
            };
            let n = source.read(space)?;
            if n == 0 {
                break;
            }
            buffer.set_filled(n);
            kept.push(buffer.take(0..n));
        }
        println!("after source {number}: {:?}", pool.usage());
    }

    buffer.release();
    println!("{}", pool.leak_report());
    drop(kept);
    assert!(pool.leak_report().is_empty());
    println!(
        "at the end: {:?}, at most {} bytes out",
        pool.usage(),
        pool.stats().high_water
    );
    Ok(())
}
