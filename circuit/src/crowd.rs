//! How many of a registry's breakers may reject at the same time.
//!
//! A breaker that opens takes a seat, and gives it back when it closes. One that finds none free is *spared*: it is
//! open, says so, and admits, until a seat is free. So when everything seems to be down, which is more often the
//! caller's network than every endpoint, some are still tried (Envoy's `max_ejection_percent`).
//!
//! K1: seats taken never exceed `most`, as it was when the last one was taken.

use crate::sync::{AtomicUsize, Ordering};

/// The seats of a registry.
#[derive(Debug)]
pub(crate) struct Crowd {
    taken: AtomicUsize,
    members: AtomicUsize,
    permille: u32,
}

impl Crowd {
    /// Of nobody, with seats for so many of a thousand members, and at least one.
    pub(crate) fn new(permille: u32) -> Self {
        let (taken, members) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { taken, members, permille }
    }

    pub(crate) fn join(&self) {
        self.members.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn part(&self) {
        self.members.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether taking a seat would succeed.
    pub(crate) fn has_seat(&self) -> bool {
        self.taken.load(Ordering::Acquire) < self.most()
    }

    /// Takes a seat, if there is one.
    pub(crate) fn take(&self) -> bool {
        let mut taken = self.taken.load(Ordering::Acquire);
        while taken < self.most() {
            match self.taken.compare_exchange(taken, taken + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => taken = now,
            }
        }
        false
    }

    /// Gives back a seat that was taken.
    pub(crate) fn give(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }

    fn most(&self) -> usize {
        let members = self.members.load(Ordering::Relaxed) as u128;
        let most = members * u128::from(self.permille) / 1_000;
        usize::try_from(most).unwrap_or(usize::MAX).max(1)
    }
}
