//! The pool's bookkeeping: which blocks are idle, how many are out.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;

use crate::leak::{LeakReport, OutstandingBlock};
use crate::options::PoolOptions;
use crate::stats::{ClassStats, PoolStats, Usage};

/// Memory that is to be freed after the lock has been let go.
pub(crate) type Freed = Vec<Box<[u8]>>;

/// What a taken block must know to be put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slip {
    /// Its class; the number of classes for a block that is made to measure.
    pub(crate) class: usize,
    pub(crate) size: usize,
    /// Its number, if it was recorded for the leak report.
    ticket: Option<u64>,
}

/// Everything behind the pool's lock.
///
/// It allocates no block and frees none: under the lock there are only pops and pushes.
#[derive(Debug)]
pub(crate) struct Shelf {
    options: PoolOptions,
    classes: Vec<Class>,
    oversize: ClassStats,
    usage: Usage,
    high_water: usize,
    refused: u64,
    takes: u64,
    /// After how many takes the window of decay ends; never, if that is off.
    next_decay: u64,
    traced: BTreeMap<u64, Origin>,
    /// The last handle is gone: nobody will take a block again.
    closed: bool,
}

#[derive(Debug)]
struct Class {
    idle: Vec<Box<[u8]>>,
    /// The fewest blocks idle since the window of decay began: that many were not needed.
    low_water: usize,
    stats: ClassStats,
}

#[derive(Debug)]
struct Origin {
    size: usize,
    location: &'static Location<'static>,
    backtrace: Arc<Backtrace>,
}

impl Shelf {
    pub(crate) fn new(options: PoolOptions) -> Self {
        let class = |&size: &usize| Class {
            idle: Vec::new(),
            low_water: 0,
            stats: ClassStats {
                size,
                ..ClassStats::default()
            },
        };
        Self {
            classes: options.classes.iter().map(class).collect(),
            oversize: ClassStats::default(),
            usage: Usage {
                limit: options.limit,
                ..Usage::default()
            },
            high_water: 0,
            refused: 0,
            takes: 0,
            next_decay: options.decay_every,
            traced: BTreeMap::new(),
            closed: false,
            options,
        }
    }

    /// Tells if one more block of at least `size` bytes is within the limit.
    ///
    /// Idle blocks do not count: one is taken, or they are freed for it.
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let (class, size) = self.classify(size);
        let idle = self
            .classes
            .get(class)
            .is_some_and(|class| !class.idle.is_empty());
        let limit = self.usage.limit.unwrap_or(usize::MAX);
        let admits = idle
            || self
                .usage
                .out
                .checked_add(size)
                .is_some_and(|out| out <= limit);
        self.refused += u64::from(!admits);
        admits
    }

    /// Takes a block of at least `size` bytes: an idle one, or the right to make one.
    pub(crate) fn take(
        &mut self,
        size: usize,
        location: &'static Location<'static>,
        freed: &mut Freed,
    ) -> (Slip, Option<Box<[u8]>>) {
        let (class, size) = self.classify(size);
        let block = self.classes.get_mut(class).and_then(|class| {
            let block = class.idle.pop()?;
            class.low_water = class.low_water.min(class.idle.len());
            Some(block)
        });
        if block.is_some() {
            self.usage.idle -= size;
        } else {
            self.shed(size, freed);
        }
        let stats = self.stats_mut(class);
        *(if block.is_some() {
            &mut stats.reused
        } else {
            &mut stats.made
        }) += 1;
        stats.out += 1;
        stats.high_water = stats.high_water.max(stats.out);
        self.usage.out += size;
        self.high_water = self.high_water.max(self.usage.out);
        self.takes += 1;
        if self.takes == self.next_decay {
            self.next_decay += self.options.decay_every;
            self.decay(2, freed);
        }
        let ticket = self.trace(size, location);
        (
            Slip {
                class,
                size,
                ticket,
            },
            block,
        )
    }

    /// Puts a block back, or into `freed` if there is no place for it.
    pub(crate) fn put(&mut self, slip: Slip, block: Box<[u8]>, freed: &mut Freed) {
        let Slip {
            class,
            size,
            ticket,
        } = slip;
        if let Some(ticket) = ticket {
            self.traced.remove(&ticket);
        }
        self.usage.out -= size;
        let fits = self.usage.idle + size <= self.options.max_idle
            && self
                .usage
                .limit
                .is_none_or(|limit| self.held() + size <= limit)
            && !self.closed;
        let stats = self.stats_mut(class);
        stats.out -= 1;
        match self.classes.get_mut(class) {
            Some(class) if fits => {
                class.idle.push(block);
                self.usage.idle += size;
            }
            _ => {
                self.stats_mut(class).freed += 1;
                freed.push(block);
            }
        }
    }

    /// Frees `1 / part` of the blocks of each class that were not needed since the last time.
    pub(crate) fn decay(&mut self, part: usize, freed: &mut Freed) -> usize {
        let mut bytes = 0;
        for at in 0..self.classes.len() {
            bytes += self.free_idle(at, self.classes[at].low_water.div_ceil(part), freed);
            let class = &mut self.classes[at];
            class.low_water = class.idle.len();
        }
        bytes
    }

    pub(crate) fn close(&mut self, freed: &mut Freed) {
        self.closed = true;
        for class in 0..self.classes.len() {
            self.free_idle(class, usize::MAX, freed);
        }
    }

    pub(crate) fn set_limit(&mut self, limit: Option<usize>, freed: &mut Freed) {
        self.usage.limit = limit;
        self.shed(0, freed);
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let class = |class: &Class| ClassStats {
            idle: class.idle.len(),
            ..class.stats
        };
        PoolStats {
            usage: self.usage,
            high_water: self.high_water,
            refused: self.refused,
            classes: self.classes.iter().map(class).collect(),
            oversize: self.oversize,
        }
    }

    pub(crate) fn leak_report(&self) -> LeakReport {
        let out = self
            .classes
            .iter()
            .map(|class| class.stats.out)
            .sum::<usize>();
        let outstanding = |(ticket, origin): (&u64, &Origin)| OutstandingBlock {
            size: origin.size,
            age: self.takes - ticket,
            location: origin.location,
            backtrace: Arc::clone(&origin.backtrace),
        };
        LeakReport {
            out: out + self.oversize.out,
            blocks: self.traced.iter().map(outstanding).collect(),
        }
    }

    fn held(&self) -> usize {
        self.usage.out + self.usage.idle
    }

    fn stats_mut(&mut self, class: usize) -> &mut ClassStats {
        self.classes
            .get_mut(class)
            .map_or(&mut self.oversize, |class| &mut class.stats)
    }

    /// The smallest class that holds `size` bytes, and what a block of it has.
    fn classify(&self, size: usize) -> (usize, usize) {
        // A search by halves costs more where there are three or four.
        let mut classes = self.options.classes.iter().copied().enumerate();
        classes
            .find(|&(_, class)| class >= size)
            .unwrap_or((self.options.classes.len(), size))
    }

    /// Frees idle blocks, large ones first, until `size` more bytes are within the limit.
    fn shed(&mut self, size: usize, freed: &mut Freed) {
        let limit = self.usage.limit.unwrap_or(usize::MAX);
        for class in (0..self.classes.len()).rev() {
            let over = self.held().saturating_add(size).saturating_sub(limit);
            self.free_idle(class, over.div_ceil(self.options.classes[class]), freed);
        }
    }

    fn free_idle(&mut self, class: usize, count: usize, freed: &mut Freed) -> usize {
        let class = &mut self.classes[class];
        let count = count.min(class.idle.len());
        freed.extend(class.idle.drain(..count));
        class.low_water = class.low_water.min(class.idle.len());
        class.stats.freed += count as u64;
        self.usage.idle -= count * class.stats.size;
        count * class.stats.size
    }

    fn trace(&mut self, size: usize, location: &'static Location<'static>) -> Option<u64> {
        let every = self.options.trace_every;
        if every == 0 || !self.takes.is_multiple_of(every) {
            return None;
        }
        let backtrace = Arc::new(Backtrace::capture());
        self.traced.insert(
            self.takes,
            Origin {
                size,
                location,
                backtrace,
            },
        );
        Some(self.takes)
    }
}
