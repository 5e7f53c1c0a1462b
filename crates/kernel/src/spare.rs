//! Threads that drive workers: one each to begin with, and spares for those whose thread is stuck
//! in a handler.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::guard::caught;
use crate::sync::lock;
use crate::worker::Worker;

/// A thread that has had no work for this long ends.
const SPARE_LIFE: Duration = Duration::from_secs(10);

/// How often in a row a thread takes a worker's loop up again after a panic in it. The kernel
/// contains user code where it calls it, so what gets as far is a driver's mistake or our own: it
/// must not silence the worker, nor keep a core busy for ever.
pub(crate) const PANICS: usize = 100;

/// A worker to drive, and the epoch to drive it in.
struct Job {
    worker: Arc<Worker>,
    epoch: u64,
}

/// The threads of a node.
pub(crate) struct Spares {
    /// A channel without room: a job is taken only by a thread that waits for one. `None` once
    /// the node has stopped, which is what ends the waiting threads.
    jobs: Mutex<Option<Sender<Job>>>,
    waiting: Receiver<Job>,
    name: String,
    /// How many threads there may be, those that drive workers included.
    limit: usize,
    threads: Mutex<usize>,
    all_ended: Condvar,
}

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spares")
            .field("threads", &*lock(&self.threads))
            .finish_non_exhaustive()
    }
}

impl Spares {
    pub(crate) fn new(name: &str, limit: usize) -> Arc<Self> {
        let (jobs, waiting) = crossbeam_channel::bounded(0);
        Arc::new(Self {
            jobs: Mutex::new(Some(jobs)),
            waiting,
            name: name.to_owned(),
            limit,
            threads: Mutex::new(0),
            all_ended: Condvar::new(),
        })
    }

    /// How many threads there may be.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Starts the thread that drives a worker from the beginning.
    pub(crate) fn start(self: &Arc<Self>, worker: Arc<Worker>) -> io::Result<()> {
        self.spawn(Job { worker, epoch: 0 })
    }

    /// Lets another thread drive this worker.
    pub(crate) fn drive(self: &Arc<Self>, worker: Arc<Worker>, epoch: u64) -> io::Result<()> {
        let job = Job { worker, epoch };
        let jobs = lock(&self.jobs).clone();
        let Some(jobs) = jobs else {
            return Err(io::Error::other("the node has stopped"));
        };
        match jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(refused) => self.spawn(refused.into_inner()),
        }
    }

    fn spawn(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut threads = lock(&self.threads);
        if *threads >= self.limit {
            let limit = self.limit;
            return Err(io::Error::other(format!("all {limit} threads are in use")));
        }
        *threads += 1;
        drop(threads);
        let spares = Arc::clone(self);
        let name = format!("{}-worker", self.name);
        let spawned = thread::Builder::new().name(name).spawn(move || {
            spares.serve(job);
            spares.one_ended();
        });
        if spawned.is_err() {
            self.one_ended();
        }
        spawned.map(|_handle| ())
    }

    fn one_ended(&self) {
        *lock(&self.threads) -= 1;
        self.all_ended.notify_all();
    }

    fn serve(&self, first: Job) {
        let _for_good = crate::node::count_as_handler();
        let mut job = Some(first);
        while let Some(Job { worker, epoch }) = job.take() {
            go_on(&worker, epoch);
            drop(worker);
            job = self.waiting.recv_timeout(SPARE_LIFE).ok();
        }
    }

    /// Ends the threads that wait for work, and the others once they come back.
    pub(crate) fn close(&self) {
        *lock(&self.jobs) = None;
    }

    /// Waits until every driving thread has ended, for at most this long.
    pub(crate) fn join(&self, at_most: Duration) {
        let threads = lock(&self.threads);
        let _ended = self
            .all_ended
            .wait_timeout_while(threads, at_most, |threads| *threads > 0)
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// Drives a worker whatever panics, unless that is all it does.
fn go_on(worker: &Arc<Worker>, epoch: u64) {
    let drive = || {
        worker.drive(epoch);
        Ok(())
    };
    let mut panics = 0;
    while panics < PANICS {
        let turns = worker.turns();
        let Err(panic) = caught(drive) else {
            return;
        };
        log::error!("{}: {panic}", worker.id);
        let has_served = worker.turns() != turns;
        panics = if has_served { 1 } else { panics + 1 };
    }
}
