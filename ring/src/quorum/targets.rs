//! What may be in flight at once, per target and in total. Invariant: a bound is never exceeded, and a
//! slot is given back when the call it belongs to has ended, however it ended.
//!
//! A quorum hides a slow replica: batches succeed without it while calls to it pile up. Refusing at the
//! bound, rather than queueing, keeps the others from waiting for the slow one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;

use crate::quorum::sync::{Mutex, MutexGuard, locked};

/// Bounds on what is in flight. A call counts from its start to its end, stragglers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Limits {
    /// To one target. Default 256 calls and 64 MiB. A single call above the bytes is always refused, so
    /// keep this above the largest batch.
    pub per_target: Load,
    /// To all targets. Default 8192 calls and 1 GiB: about the memory the process can spare for calls.
    pub total: Load,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_target: Load { calls: 256, bytes: 64 << 20 }, total: Load { calls: 8192, bytes: 1 << 30 } }
    }
}

/// Calls and the bytes they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Load {
    /// How many calls.
    pub calls: usize,
    /// The sizes of their items together.
    pub bytes: usize,
}

impl Load {
    fn one_call(bytes: usize) -> Self {
        Self { calls: 1, bytes }
    }

    fn has_room_for(self, more: Load, limit: Load) -> bool {
        let fits = |held: usize, more, limit| held.checked_add(more).is_some_and(|sum| sum <= limit);
        fits(self.calls, more.calls, limit.calls) && fits(self.bytes, more.bytes, limit.bytes)
    }
}

impl AddAssign for Load {
    fn add_assign(&mut self, more: Load) {
        self.calls += more.calls;
        self.bytes += more.bytes;
    }
}

impl SubAssign for Load {
    fn sub_assign(&mut self, less: Load) {
        self.calls -= less.calls;
        self.bytes -= less.bytes;
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls of {} bytes", self.calls, self.bytes)
    }
}

/// The bounds and what is in flight; a clone counts with the original, so that all batches share one.
///
/// Remembers only targets with calls in flight: instances that come and go leave nothing behind.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    limits: Limits,
    in_flight: Arc<Mutex<InFlight>>,
}

#[derive(Debug, Default)]
struct InFlight {
    total: Load,
    targets: HashMap<Arc<str>, Load>,
}

impl Targets {
    /// Nothing in flight yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, in_flight: Arc::default() }
    }

    /// Room for one call of `bytes` to the instance `id`, until the slot is dropped.
    ///
    /// # Errors
    ///
    /// If the call would exceed a bound; nothing is held then.
    pub fn acquire(&self, id: &Arc<str>, bytes: usize) -> Result<Slot, Full> {
        let call = Load::one_call(bytes);
        let mut in_flight = self.lock();
        let InFlight { total, targets } = &mut *in_flight;
        let target = targets.entry(Arc::clone(id));
        let held = if let Entry::Occupied(held) = &target { *held.get() } else { Load::default() };
        if !held.has_room_for(call, self.limits.per_target) {
            return Err(Full { total: false, bytes, held, limit: self.limits.per_target });
        }
        if !total.has_room_for(call, self.limits.total) {
            return Err(Full { total: true, bytes, held: *total, limit: self.limits.total });
        }
        *total += call;
        *target.or_default() += call;
        drop(in_flight);
        Ok(Slot { targets: self.clone(), id: Arc::clone(id), call })
    }

    /// What is in flight to the instance `id`.
    pub fn in_flight(&self, id: &str) -> Load {
        self.lock().targets.get(id).copied().unwrap_or_default()
    }

    /// What is in flight to all.
    pub fn total_in_flight(&self) -> Load {
        self.lock().total
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        locked(&self.in_flight)
    }
}

/// Room for one call; given back on drop.
#[derive(Debug)]
#[must_use = "dropping the slot gives the room back"]
pub struct Slot {
    targets: Targets,
    id: Arc<str>,
    call: Load,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut in_flight = self.targets.lock();
        in_flight.total -= self.call;
        if let Entry::Occupied(mut held) = in_flight.targets.entry(Arc::clone(&self.id)) {
            *held.get_mut() -= self.call;
            if *held.get() == Load::default() {
                held.remove();
            }
        }
    }
}

/// A call was not made, because too much is in flight already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Whether the bound over all targets was hit, rather than that of the one.
    pub total: bool,
    /// Size of the call that was refused.
    pub bytes: usize,
    /// What is in flight under that bound.
    pub held: Load,
    /// The bound.
    pub limit: Load,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.total { "all targets" } else { "target" };
        let Self { bytes, held, limit, .. } = self;
        write!(f, "no room for {bytes} bytes: {whose} at {held} in flight, limit {limit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(per_target: (usize, usize), total: (usize, usize)) -> Targets {
        let load = |(calls, bytes)| Load { calls, bytes };
        Targets::new(Limits { per_target: load(per_target), total: load(total) })
    }

    #[test]
    fn a_target_at_its_bound_is_refused_and_others_are_not() {
        let targets = targets((2, 100), (10, 1000));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let first = targets.acquire(&a, 60).unwrap();
        let full = targets.acquire(&a, 41).unwrap_err();
        assert_eq!((full.total, full.held), (false, Load { calls: 1, bytes: 60 }));
        let _second = targets.acquire(&a, 40).unwrap();
        targets.acquire(&a, 0).unwrap_err();
        let _other = targets.acquire(&b, 100).unwrap();
        drop(first);
        let _third = targets.acquire(&a, 60).unwrap();
    }

    #[test]
    fn the_total_bounds_what_single_targets_would_allow() {
        let targets = targets((10, 100), (10, 150));
        let _a = targets.acquire(&"a".into(), 100).unwrap();
        let full = targets.acquire(&"b".into(), 51).unwrap_err();
        assert!(full.total);
        assert_eq!(
            full.to_string(),
            "no room for 51 bytes: all targets at 1 calls of 100 bytes in flight, limit 10 calls of 150 bytes"
        );
    }

    #[test]
    fn hostile_sizes_do_not_overflow_and_idle_targets_are_forgotten() {
        let targets = targets((usize::MAX, usize::MAX), (usize::MAX, usize::MAX));
        let slot = targets.acquire(&"a".into(), usize::MAX).unwrap();
        targets.acquire(&"a".into(), 1).unwrap_err();
        targets.acquire(&"b".into(), 1).unwrap_err();
        drop(slot);
        assert_eq!(targets.total_in_flight(), Load::default());
        assert!(targets.lock().targets.is_empty());
    }
}
