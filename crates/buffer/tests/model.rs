//! Any sequence of takes, freezes, slices and drops, against books kept by hand.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any};
use proptest::test_runner::{TestCaseError, TestRunner};
use socktree_buffer::{Block, BufferPool, PoolOptions};

const CLASSES: [usize; 3] = [64, 256, 1024];
const MAX_IDLE: usize = 3000;
const LIMIT: usize = 8 * 1024;

/// Something taken from the pool, the byte it was filled with, and the size of its block.
enum Held {
    Block(Block),
    Slices(Vec<Bytes>, u8, usize),
}

impl Held {
    fn size(&self) -> usize {
        match self {
            Self::Block(block) => block.capacity(),
            Self::Slices(.., size) => *size,
        }
    }
}

/// What was taken, and the pool it was taken from.
struct Model {
    pool: BufferPool,
    held: Vec<Held>,
}

impl Model {
    /// Takes a block within the limit, or above it.
    fn take(&mut self, size: usize, within: bool) {
        if !within {
            return self.held.push(Held::Block(self.pool.take(size)));
        }
        let room = self.pool.usage().available().expect("there is a limit");
        let class = CLASSES
            .into_iter()
            .find(|class| *class >= size)
            .unwrap_or(size);
        match self.pool.try_take(size) {
            Ok(block) => {
                assert_eq!(block.capacity(), class);
                self.held.push(Held::Block(block));
            }
            Err(refused) => {
                assert!(class > room, "{refused}");
                assert_eq!(refused.size, size);
            }
        }
    }

    /// Freezes a block, or makes one more slice of a frozen one.
    fn share(&mut self, at: usize, mark: u8) {
        let shared = match self.held.swap_remove(at) {
            Held::Block(mut block) => {
                block.fill(mark);
                let size = block.capacity();
                Held::Slices(vec![block.freeze(size)], mark, size)
            }
            Held::Slices(mut slices, mark, size) => {
                let half = slices[0].slice(..size / 2);
                slices.push(half);
                Held::Slices(slices, mark, size)
            }
        };
        self.held.push(shared);
    }

    /// Drops a block, or one slice.
    fn drop_one(&mut self, at: usize) {
        let gone = match &mut self.held[at] {
            Held::Block(_) => true,
            Held::Slices(slices, ..) => {
                slices.pop();
                slices.is_empty()
            }
        };
        if gone {
            self.held.swap_remove(at);
        }
    }

    fn check_books(&self) {
        let usage = self.pool.usage();
        assert_eq!(usage.out, self.held.iter().map(Held::size).sum::<usize>());
        assert!(usage.idle <= MAX_IDLE);
        assert!(usage.idle == 0 || usage.out + usage.idle <= LIMIT);
        assert_eq!(self.pool.leak_report().blocks().len(), self.held.len());
        for held in &self.held {
            if let Held::Slices(slices, mark, _) = held {
                assert!(
                    slices.iter().flatten().all(|byte| byte == mark),
                    "read while written"
                );
            }
        }
    }
}

/// Interprets `steps`, three bytes each, and checks the books after every one.
fn check(steps: &[u8]) {
    let options = PoolOptions::new()
        .classes(CLASSES)
        .max_idle(MAX_IDLE)
        .limit(LIMIT)
        .decay_every(8)
        .trace_every(1);
    let pool = BufferPool::new(options).expect("the options are right");
    let mut model = Model {
        pool,
        held: Vec::new(),
    };
    for step in steps.chunks_exact(3) {
        let [what, which, mark] = *step else {
            unreachable!("chunks of three")
        };
        let at = usize::from(which) % model.held.len().max(1);
        match what % 8 {
            0..3 => model.take(usize::from(which) * 5, true),
            3 => model.take(usize::from(which), false),
            4 if !model.held.is_empty() => model.share(at, mark),
            5 | 6 if !model.held.is_empty() => model.drop_one(at),
            7 if mark % 8 == 0 => _ = model.pool.trim(),
            _ => {}
        }
        model.check_books();
    }
    model.held.clear();
    let stats = model.pool.stats();
    assert_eq!(stats.usage.out, 0);
    for class in &stats.classes {
        assert_eq!(class.made, class.freed + class.idle as u64);
    }
}

#[test]
fn the_books_agree_whatever_is_done() {
    let config = ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&vec(any::<u8>(), 0..300), |steps| {
        check(&steps);
        Ok::<(), TestCaseError>(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
