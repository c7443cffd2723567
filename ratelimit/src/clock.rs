//! The clock of those who do not bring their own, and what makes any clock monotonic under a lock.

use std::sync::LazyLock;
use std::time::Instant;

/// Nanoseconds since this process first asked; monotonic, and the same origin for all limiters.
#[expect(clippy::disallowed_methods, reason = "the edge: the clock of those who do not bring their own")]
pub(crate) fn monotonic_ns() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // The origin first: it must not lie after the instant it is compared with.
    let origin = *ORIGIN;
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The latest instant that anybody brought under a lock: whoever read the clock and then waited for the lock must
/// not turn time back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latest(u64);

impl Latest {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self(now_ns)
    }

    /// `now_ns`, or a later instant that another caller brought.
    #[inline]
    pub(crate) fn advance(&mut self, now_ns: u64) -> u64 {
        self.0 = self.0.max(now_ns);
        self.0
    }
}
