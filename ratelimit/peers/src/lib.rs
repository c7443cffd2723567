//! The clock that the benches share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::nanos::Nanos;

/// A clock turned by hand: one load a reading, the same for everybody.
#[derive(Clone, Copy, Debug)]
pub struct Injected(pub &'static AtomicU64);

impl Injected {
    /// A clock of its own, at one second.
    pub fn new() -> Self {
        Self(Box::leak(Box::new(AtomicU64::new(1_000_000_000))))
    }

    #[inline]
    pub fn now_ns(self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One load and one store: only one thread may turn it.
    #[inline]
    pub fn advance(self, step_ns: u64) {
        self.0.store(self.now_ns() + step_ns, Ordering::Relaxed);
    }
}

impl Default for Injected {
    fn default() -> Self {
        Self::new()
    }
}

impl governor::clock::Clock for Injected {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::from(self.now_ns())
    }
}

impl ratelimit::Clock for Injected {
    #[inline]
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now_ns())
    }
}
