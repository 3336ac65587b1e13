//! What all checks under way may hold in memory together: bodies that are searched, decoders, and what the connections have read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shared::message::{FailureClass, Phase};

use super::Broken;

/// The memory of all checks.
#[derive(Debug)]
pub(super) struct Memory {
    most: usize,
    held: AtomicUsize,
}

/// A check's share of it, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0) }
    }
}

impl Share {
    pub(super) fn of(memory: &Arc<Memory>) -> Self {
        Self { memory: memory.clone(), bytes: 0 }
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Broken> {
        let most = self.memory.most;
        let room = |held: usize| held.checked_add(bytes).filter(|held| *held <= most);
        if self.memory.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            let detail = format!(
                "no room for {bytes} bytes more: what the checks under way hold is bounded by probe.max_memory_bytes ({most})"
            );
            return Err(Broken::ours(FailureClass::Resources, Phase::Transfer, detail));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_a_bound_together_and_are_given_back() {
        let memory = Arc::new(Memory::new(100));
        let (mut one, mut other) = (Share::of(&memory), Share::of(&memory));
        one.grow(60).unwrap();
        other.grow(40).unwrap();
        let Broken::Ours(failure) = other.grow(1).unwrap_err() else { panic!("it is ours") };
        assert_eq!(failure.class, FailureClass::Resources);
        assert!(failure.detail.contains("probe.max_memory_bytes (100)"), "{failure:?}");
        drop(one);
        other.grow(60).unwrap();
        other.grow(usize::MAX).unwrap_err();
        drop(other);
        assert_eq!(memory.held.load(Ordering::Relaxed), 0);
    }
}
