//! What `src/sync.rs` has, by loom.

use loom::sync::atomic::AtomicUsize;
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};

use std::ops::Deref;
use std::sync::Arc;

/// As parking_lot's: nothing is poisoned.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// As arc-swap's: a load acquires what the store of its value released, and nothing more. The values are kept all,
/// in a list that loom does not see, and which of them is the current one is an atomic that it sees.
#[derive(Debug)]
pub(crate) struct Swap<T> {
    current: AtomicUsize,
    all: std::sync::Mutex<Vec<Option<Arc<T>>>>,
}

/// A value that was loaded.
pub(crate) struct Loaded<T>(Option<Arc<T>>);

impl<T> Swap<T> {
    pub(crate) fn new(value: Option<Arc<T>>) -> Self {
        Self { current: AtomicUsize::new(0), all: std::sync::Mutex::new(vec![value]) }
    }

    pub(crate) fn load(&self) -> Loaded<T> {
        let current = self.current.load(Ordering::Acquire);
        Loaded(self.all.lock().unwrap()[current].clone())
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        let place = {
            let mut all = self.all.lock().unwrap();
            all.push(value);
            all.len() - 1
        };
        self.current.swap(place, Ordering::AcqRel);
    }
}

impl<T> Deref for Loaded<T> {
    type Target = Option<Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
