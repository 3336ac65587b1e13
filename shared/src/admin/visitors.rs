//! Who is connected to the admin port: as many as can be borne, and the oldest goes before a new one is kept out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How many are connected at the same time.
pub(super) const CONNECTIONS: usize = 128;
/// How many may be busy with a large answer, each of which is kept until it has been read.
pub(super) const LARGE_ANSWERS: usize = 4;
/// How long each may stay whoever else comes, which is enough for who asks at once.
const LEAST: Duration = Duration::from_millis(20);

/// Those who are connected.
#[derive(Debug, Default)]
pub(super) struct Visitors(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    next: u64,
    all: BTreeMap<u64, Visitor>,
}

#[derive(Debug)]
struct Visitor {
    came: Instant,
    task: AbortHandle,
    takes_much: bool,
}

impl Visitors {
    /// Takes one in: his task is begun here, and holds the visit.
    pub(super) fn enter(self: &Arc<Self>, begin: impl FnOnce(Visit) -> AbortHandle) {
        // A visit that ends at once waits for this lock, and so is known before it is forgotten.
        let mut present = self.present();
        let id = present.next;
        present.next += 1;
        let task = begin(Visit { id, visitors: self.clone() });
        present.all.insert(id, Visitor { came: Instant::now(), task, takes_much: false });
    }

    /// When the oldest has been here for long enough to make room; `None` while there is some.
    pub(super) fn full_until(&self) -> Option<Instant> {
        let present = self.present();
        let oldest = present.all.values().next().filter(|_| present.all.len() >= CONNECTIONS);
        oldest.map(|oldest| oldest.came + LEAST)
    }

    pub(super) fn oldest_goes(&self) {
        if let Some((_, oldest)) = self.present().all.pop_first() {
            oldest.task.abort();
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Visit {
    id: u64,
    visitors: Arc<Visitors>,
}

impl Visit {
    /// To be called before a large answer is sent.
    pub(super) fn takes_much(&self) {
        let mut present = self.visitors.present();
        if let Some(visitor) = present.all.get_mut(&self.id) {
            visitor.takes_much = true;
        }
        let large = || present.all.iter().filter(|(_, visitor)| visitor.takes_much);
        let oldest = large().next().map(|(id, _)| *id).filter(|_| large().count() > LARGE_ANSWERS);
        if let Some(visitor) = oldest.and_then(|id| present.all.remove(&id)) {
            visitor.task.abort();
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visitors.present().all.remove(&self.id);
    }
}
