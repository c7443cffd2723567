//! What threads share, in one place: `tests/loom.rs` puts loom's types under the same names and explores the
//! interleavings of the very files that use them. It includes them by their paths, so their own submodules have
//! to name theirs.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
pub(crate) use parking_lot::Mutex;

/// A value that is replaced as a whole. Whoever has loaded the old one keeps it.
#[derive(Debug)]
pub(crate) struct Swap<T>(ArcSwapOption<T>);

impl<T> Swap<T> {
    pub(crate) fn new(value: Option<Arc<T>>) -> Self {
        Self(ArcSwapOption::new(value))
    }

    #[inline]
    pub(crate) fn load(&self) -> impl Deref<Target = Option<Arc<T>>> {
        self.0.load()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        self.0.store(value);
    }
}
