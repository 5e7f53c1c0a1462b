//! What the handles and the driver of a connection see of each other.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, channel};

use socktree_kernel::{Actor, Ctx, Flow, Node};

use super::*;
use crate::event::TcpEvent;
use crate::options::WriteMarks;

/// Counts how often the driver is told something.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Station for Counter {
    fn tell(&self, _: Token, _: Tell) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn look_for(&self, _: Alias) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Lender(Sender<MetaScope>);

impl Actor for Lender {
    type Msg = TcpEvent;

    fn init(&mut self, ctx: &mut Ctx<'_, Self>) -> Flow {
        self.0.send(ctx.meta_scope())?;
        Ok(())
    }

    fn handle(&mut self, _: &mut Ctx<'_, Self>, _: Source, _: TcpEvent) -> Flow {
        Ok(())
    }
}

/// A connection that takes ten bytes at most.
fn narrow() -> (Node, Shared, Arc<Counter>) {
    let node = crate::node("shared@localhost").workers(1).start().unwrap();
    let (lend, lent) = channel();
    node.spawn(Lender(lend)).unwrap();
    let scope = lent.recv().unwrap();
    let station = Arc::<Counter>::default();
    let marks = WriteMarks {
        low: 0,
        high: 10,
        hard: 10,
    };
    let options = ConnectionOptions {
        marks,
        ..ConnectionOptions::default()
    };
    let group = Arc::new(Group {
        options,
        scope: scope.clone(),
        station: Arc::clone(&station) as _,
        server: None,
    });
    let shared = Shared::opening(scope.new_alias(), scope.parent(), group);
    (node, shared, station)
}

fn is_refused(shared: &Shared) -> bool {
    let refused = shared.try_write(Bytes::from_static(&[0; 100]));
    matches!(refused, Err(TryWriteError::Full(_)))
}

/// The driver looked for throttled writers before it took the lock. One that was throttled in
/// between had its bytes sent, and was never told to go on.
#[test]
fn what_a_throttled_writer_waits_for_is_not_taken_in_passing() {
    let (node, shared, _station) = narrow();
    assert_eq!(shared.write(Bytes::from_static(b"x")), Written::Queued);
    assert!(is_refused(&shared));
    assert_eq!(shared.take_only(), None);
    assert!(!shared.has_nothing());
    assert!(matches!(shared.take(), (Taken::One(_), None)));
    shared.count_sent(1);
    assert!(shared.release_throttled(), "it is told now");
    assert_eq!(shared.write(Bytes::from_static(b"y")), Written::Queued);
    assert_eq!(shared.take_only(), Some(Bytes::from_static(b"y")));
    node.stop().unwrap();
}

/// A queue that is empty is left alone only if nobody waits for it, and whoever writes next is
/// heard.
#[test]
fn an_empty_queue_may_still_be_asked_for_something() {
    let (node, shared, station) = narrow();
    assert!(shared.has_nothing());
    assert_eq!(shared.write(Bytes::from_static(b"x")), Written::Queued);
    assert!(!shared.has_nothing(), "there is a piece");
    assert!(matches!(shared.take(), (Taken::One(_), None)));
    // Refused while the piece is under way: the driver is told, and told of the room at once.
    assert!(is_refused(&shared));
    assert!(!shared.has_nothing(), "somebody waits for room");
    shared.count_sent(1);
    assert!(shared.release_throttled());
    assert!(shared.has_nothing());
    let told = station.0.load(Ordering::Relaxed);
    assert_eq!(shared.write(Bytes::from_static(b"y")), Written::Queued);
    assert_eq!(station.0.load(Ordering::Relaxed), told + 1);
    assert!(matches!(shared.take(), (Taken::One(_), None)));
    shared.shut(Shut::Write);
    assert!(!shared.has_nothing(), "our direction is to end");
    node.stop().unwrap();
}

/// Bytes of a user's, who looks at the connection when they are dropped.
struct Curious(Arc<Shared>, Sender<usize>);

impl AsRef<[u8]> for Curious {
    fn as_ref(&self) -> &[u8] {
        b"small"
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        let _the_test_is_over = self.1.send(self.0.queued());
    }
}

/// Small pieces are copied behind one another under the queue's lock. What was copied used to be
/// dropped there.
#[test]
fn what_was_copied_is_dropped_without_the_lock() {
    let (node, shared, _station) = narrow();
    let shared = Arc::new(shared);
    let (tell, seen) = channel();
    let curious = || Bytes::from_owner(Curious(Arc::clone(&shared), tell.clone()));
    assert_eq!(shared.write(curious()), Written::Queued);
    assert_eq!(shared.write(curious()), Written::Queued);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [10, 10]);
    let _taken = shared.take();
    shared.count_sent(10);
    assert_eq!(shared.write_parts(b"<", curious(), b">"), Written::Queued);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [7]);
    assert_eq!(
        shared.write(Bytes::from_owner(Empty(curious()))),
        Written::Queued
    );
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [7]);
    node.stop().unwrap();
}

/// Bytes that are none, and hold something.
struct Empty(#[expect(dead_code, reason = "it is dropped")] Bytes);

impl AsRef<[u8]> for Empty {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

#[test]
fn what_is_dropped_waits_no_more() {
    let (node, shared, _station) = narrow();
    assert_eq!(shared.write(Bytes::from_static(b"lost")), Written::Queued);
    assert_eq!(shared.queued(), 4);
    let _lost = shared.close();
    shared.forget_waiting();
    assert_eq!(shared.queued(), 0);
    node.stop().unwrap();
}
