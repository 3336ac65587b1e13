//! Threads on which bodies are searched when that may take long: a few of their own, behind all others in the kernel's eyes, and in
//! turns, so that no page keeps a search for another one waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::body::Text;
use crate::pattern::{Pattern, Search};

/// How many states are reached in a turn: a millisecond or so.
const TURN: usize = 100_000;
/// How much less than others these threads get when the processors are busy.
const NICE: i32 = 10;

/// The threads. They begin when they are needed, and end when this is dropped.
#[derive(Debug)]
pub(super) struct Searchers {
    queue: Arc<Queue>,
    most: usize,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// A search under way. There are no more of them than checks.
#[derive(Debug)]
struct Job {
    pattern: Arc<Pattern>,
    body: Text,
    search: Search,
    answer: oneshot::Sender<bool>,
}

impl Searchers {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { queue: Arc::default(), most: (cores / 2).clamp(1, 4) }
    }

    /// Whether a body matches; nothing when that was not known by the deadline. Then the search ends.
    pub(super) async fn search(&self, pattern: &Arc<Pattern>, body: Text, deadline: Instant) -> Option<bool> {
        let (answer, found) = oneshot::channel();
        self.enqueue(Job { pattern: pattern.clone(), body, search: Search::default(), answer });
        // Whoever no longer waits has dropped his end, by which the search knows.
        tokio::time::timeout_at(deadline, found).await.ok()?.ok()
    }

    fn enqueue(&self, job: Job) {
        let mut state = self.queue.state();
        // Most searches end with their first turn, so they have it before those that go on.
        state.jobs.push_front(job);
        if state.jobs.len() > state.idle && state.threads < self.most {
            state.threads += 1;
            let queue = self.queue.clone();
            let begun = thread::Builder::new().name("search".to_owned()).spawn(move || queue.work());
            if begun.is_err() {
                state.threads -= 1;
            }
            if state.threads == 0 {
                // Nobody would ever come for it.
                state.jobs.clear();
            }
        }
        drop(state);
        self.queue.changed.notify_one();
    }
}

impl Drop for Searchers {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each of the threads does.
    fn work(&self) {
        // Where that is forbidden, they have to be like others.
        let _ = rustix::process::nice(NICE);
        while let Some(mut job) = self.next() {
            if job.answer.is_closed() {
                continue;
            }
            match job.search.step(&job.pattern, job.body.bytes(), TURN) {
                // Nobody may be there to take it.
                Some(found) => drop(job.answer.send(found)),
                None => self.state().jobs.push_back(job),
            }
        }
    }

    /// Waits for a job; none when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        while !state.closed {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        None
    }
}
