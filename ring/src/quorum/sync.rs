//! The lock of this module. The interleavings of its users are explored with loom's in its place (`tests/loom.rs`).

pub(crate) use std::sync::{Mutex, MutexGuard};

/// What is locked here is whole wherever a panic could strike, so a poisoned lock is as good.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
