//! What a read loop allocates, counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use socktree_buffer::{BufferPool, PoolOptions, ReadBuffer};

/// Counts what this thread allocates, so that tests may run beside each other.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: every call goes to the system's allocator as it came; only a counter is touched besides.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|cell| {
            let (count, bytes) = cell.get();
            cell.set((count + 1, bytes + layout.size()));
        });
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches that `place` was allocated here with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs `act` and says how often, and how many bytes, it allocated.
fn count<T>(act: impl FnOnce() -> T) -> (T, (usize, usize)) {
    let before = ALLOCATIONS.with(Cell::get);
    let result = act();
    let after = ALLOCATIONS.with(Cell::get);
    (result, (after.0 - before.0, after.1 - before.1))
}

fn pool() -> BufferPool {
    BufferPool::new(PoolOptions::new().trace_every(0)).expect("the options are right")
}

/// Reads and drops `count` messages of 64 bytes.
fn small_messages(buffer: &mut ReadBuffer, count: usize) {
    for _ in 0..count {
        let _ = buffer.spare_mut();
        buffer.set_filled(64);
        assert_eq!(buffer.take(0..64).len(), 64);
    }
}

#[test]
fn small_messages_cost_no_allocation_once_it_runs() {
    let mut buffer = ReadBuffer::new(&pool());
    small_messages(&mut buffer, 1000);
    let ((), counted) = count(|| small_messages(&mut buffer, 1000));
    assert_eq!(counted, (0, 0));
}

#[test]
fn a_copy_of_its_own_is_one_allocation_of_its_size() {
    let mut buffer = ReadBuffer::new(&pool()).own_copies(true);
    small_messages(&mut buffer, 1);
    let ((), counted) = count(|| small_messages(&mut buffer, 1));
    assert_eq!(counted, (1, 64));
}

#[test]
fn a_large_message_is_a_handle_and_no_copy() {
    let pool = pool();
    drop((pool.take(65536), pool.take(65536)));
    let mut buffer = ReadBuffer::new(&pool);
    let (messages, (allocations, bytes)) = count(|| {
        let _ = buffer.spare_mut();
        buffer.set_filled(65536);
        [buffer.take(0..20_000), buffer.take(20_000..60_000)]
    });
    assert_eq!(messages.map(|message| message.len()), [20_000, 40_000]);
    assert_eq!(allocations, 1);
    assert!(bytes < 128, "{bytes}");
}

#[test]
fn a_block_that_is_reused_costs_nothing() {
    let pool = pool();
    drop(pool.take(65536));
    let ((), counted) = count(|| drop(pool.take(65536)));
    assert_eq!(counted, (0, 0));
}
