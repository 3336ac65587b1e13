//! What this machine does to anyone who sleeps: a bare thread that wakes a hundred times a second, beside what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(10);

/// A thread that notes how much longer it slept than it wanted to.
#[derive(Debug)]
pub(crate) struct Witness {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<f64>>,
}

impl Witness {
    pub(crate) fn start() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut overslept = Vec::new();
            while !end.load(Ordering::Relaxed) {
                let wanted = Instant::now() + NAP;
                std::thread::sleep(NAP);
                overslept.push(wanted.elapsed().as_secs_f64() * 1000.0);
            }
            overslept
        });
        Self { ended, thread }
    }

    /// By how much it overslept, in milliseconds, sorted.
    pub(crate) fn end(self) -> Vec<f64> {
        self.ended.store(true, Ordering::Relaxed);
        let mut overslept = self.thread.join().unwrap_or_default();
        overslept.sort_by(f64::total_cmp);
        overslept
    }
}
