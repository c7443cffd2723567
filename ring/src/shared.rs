//! A ring that many read while one replaces it. Invariant: a reader sees one whole snapshot, old or new.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::ring::Ring;

/// The current [`Ring`] of instances, or another snapshot, for many readers.
///
/// Loading takes no lock and waits for nobody. Let one task publish: of two that derive from the same
/// snapshot, the later one undoes the earlier.
///
/// ```
/// use forebay_ring::{Membership, Options, Ring, SharedRing};
///
/// let shared = SharedRing::new(Ring::build(&Options::default(), &Membership::default(), 0)?);
/// let before = shared.load();
/// shared.publish(before.with_health(1_000_000_000));
/// assert!(shared.load().shares_topology(&before));
/// # Ok::<(), forebay_ring::BuildError>(())
/// ```
pub struct SharedRing<R = Ring> {
    current: ArcSwap<R>,
}

impl<R> SharedRing<R> {
    /// Begins with this snapshot.
    pub fn new(ring: R) -> Self {
        Self { current: ArcSwap::from_pointee(ring) }
    }

    /// The snapshot published last. Use one for all of a request: two loads may differ.
    pub fn load(&self) -> Arc<R> {
        self.current.load_full()
    }

    /// Replaces the snapshot; readers keep the one they loaded.
    pub fn publish(&self, ring: R) {
        self.current.store(Arc::new(ring));
    }
}

impl<R: fmt::Debug> fmt::Debug for SharedRing<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedRing").field(&self.load()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::instance::{Instance, State};
    use crate::membership::Membership;
    use crate::operation::Operation;
    use crate::ring::Options;

    #[test]
    fn many_readers_see_one_whole_snapshot_or_the_next() {
        let options = Options { replication_factor: 1, ..Options::default() };
        let mut members = Membership::default();
        let shared = SharedRing::new(Ring::build(&options, &members, 0).unwrap());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut last = 0;
                    loop {
                        let is_last = done.load(Ordering::Acquire);
                        let ring = shared.load();
                        let count = ring.instances().len();
                        assert!(count >= last, "an older one again");
                        assert_eq!(ring.token_count(), count);
                        assert_eq!(ring.get(0, Operation::WRITE).map_or(0, |set| set.len()), count.min(1));
                        last = count;
                        if is_last {
                            return assert_eq!(count, 50);
                        }
                    }
                });
            }
            // Readers end if this panics, too.
            let _done = Done(&done);
            for number in 0..50 {
                let tokens = vec![number * 7].into();
                let instance = Instance::new(number.to_string(), "");
                members.observe(Instance { state: State::Active, tokens, ..instance }, 0);
                shared.publish(shared.load().updated(&members, 0).unwrap());
            }
        });
    }

    struct Done<'a>(&'a AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
}
