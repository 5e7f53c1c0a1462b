//! What the messages of an owner that does not get on keep in memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use socktree_codec::Framing;
use socktree_kernel::{Actor, Ctx, Flow, Node, Source};
use socktree_tcp::{Conn, TcpEvent, TcpServer, node};

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "a global allocator is; it hands everything on")]
// SAFETY: all that is asked for comes from the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above, and it came from there.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MESSAGE: usize = 600;

/// Answers, unless it is to wait with the first message until it is let go.
struct Owner {
    wait: Option<Receiver<()>>,
    listening: Sender<SocketAddr>,
    conns: Sender<Conn>,
}

impl Actor for Owner {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        let framing = Framing::fixed(MESSAGE)?;
        let server = TcpServer::bind("127.0.0.1:0").framing(framing);
        self.listening.send(ctx.spawn_meta(server)?.local_addr())?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, event: TcpEvent) -> Flow {
        match event {
            TcpEvent::Connect { conn } => self.conns.send(conn)?,
            TcpEvent::Data { conn, data } => {
                if let Some(go) = self.wait.take() {
                    let _the_test_has_failed = go.recv();
                }
                conn.write(data);
            }
            _ => {}
        }
        Ok(())
    }
}

fn serve(node: &Node, wait: Option<Receiver<()>>) -> (TcpStream, Conn) {
    let (listening, listens) = channel();
    let (conns, connected) = channel();
    let owner = Owner {
        wait,
        listening,
        conns,
    };
    node.spawn(owner).expect("an owner");
    let addr = listens.recv().expect("an address");
    let stream = TcpStream::connect(addr).expect("a connection");
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("not zero");
    (stream, connected.recv().expect("a connection"))
}

/// Messages of a stuck owner and of one that keeps up come in turns, and lie side by side in chunks of
/// 64 KiB. Those that wait kept a chunk each alive, a hundred times their size.
#[test]
fn messages_that_wait_keep_little_more_than_themselves() {
    const ROUNDS: usize = 150;
    let node = node("retained@localhost")
        .workers(1)
        .start()
        .expect("a node");
    let (go, may_go) = channel();
    let (mut stuck, conn) = serve(&node, Some(may_go));
    let (mut brisk, _conn) = serve(&node, None);
    let others = [7; 80 * MESSAGE];
    let mut answer = [0; 80 * MESSAGE];
    let mut before = 0;
    for round in 0..ROUNDS {
        stuck.write_all(&[1; MESSAGE]).expect("sent");
        let read = ((round + 1) * MESSAGE) as u64;
        let began = Instant::now();
        while conn.bytes_in() < read {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it does not read"
            );
            std::thread::yield_now();
        }
        brisk.write_all(&others).expect("sent");
        brisk.read_exact(&mut answer).expect("answered");
        if round == ROUNDS / 3 {
            before = LIVE.load(Ordering::Relaxed);
        }
    }
    let grown = LIVE.load(Ordering::Relaxed).saturating_sub(before);
    let waiting = (ROUNDS - ROUNDS / 3) * MESSAGE;
    assert!(grown < 4 * waiting, "{grown} bytes for {waiting} that wait");
    go.send(()).expect("it waits");
    let mut all = vec![0; ROUNDS * MESSAGE];
    stuck.read_exact(&mut all).expect("answered");
    node.stop().expect("outside");
}
