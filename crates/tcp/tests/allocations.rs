//! What a round trip allocates: nothing, in the whole program. Alone in its file, because everything
//! is counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use socktree_kernel::{Actor, Ctx, Flow, Source};
use socktree_tcp::{TcpEvent, TcpServer, node};

/// Counts what all threads allocate.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; only a counter is touched besides.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller vouches for the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller vouches that `place` was allocated here with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller vouches that `place` was allocated here with this layout.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROUND_TRIPS: usize = 10_000;

/// For what else may go on; none is what is seen.
const HANDFUL: usize = 8;

/// Answers each message with itself.
struct Echo(Sender<SocketAddr>);

impl Actor for Echo {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let server = ctx.spawn_meta(TcpServer::bind("127.0.0.1:0"))?;
        self.0.send(server.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        if let TcpEvent::Data { conn, data } = event {
            conn.write(data);
        }
        Ok(())
    }
}

/// How often anybody allocated during so many round trips.
fn allocations(stream: &mut TcpStream) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..ROUND_TRIPS {
        let mut answer = [0; 64];
        stream.write_all(&[7; 64]).unwrap();
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [7; 64]);
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn a_round_trip_allocates_nothing() {
    let node = node("echo@localhost").workers(1).start().unwrap();
    let (listening, listens) = mpsc::channel();
    node.spawn(Echo(listening)).unwrap();
    let mut stream = TcpStream::connect(listens.recv().unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // Queues and pools get as large as they will be.
    allocations(&mut stream);
    // A thread that got no core in time is replaced by another, which costs some.
    let mut counted = Vec::new();
    let nothing = (0..5).any(|_| {
        counted.push(allocations(&mut stream));
        counted.last().is_some_and(|count| *count <= HANDFUL)
    });
    assert!(
        nothing,
        "{counted:?} allocations in {ROUND_TRIPS} round trips"
    );
    drop(stream);
    assert!(node.stop().unwrap().is_clean());
}
