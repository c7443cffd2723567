//! The memory that pushes may take before they are records: all of them together, and each one alone.
//!
//! Invariant: nothing is allocated for a client's bytes, or for what they decode to, before it was asked for here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Gauge;

use super::PushError;

/// What an allocation takes beyond what was asked for, about.
const ALLOCATION: u64 = 16;
/// Decoded structures are counted against the intake in steps of so many bytes.
const STEP: u64 = 64 << 10;

/// Bounds the bytes of all bodies that are being taken in, packed and unpacked, and of what is decoded of them. A
/// clone counts with the original.
#[derive(Debug, Clone)]
pub struct Intake {
    limit: u64,
    held: Arc<AtomicU64>,
    shown: Gauge,
}

/// What one push holds of the [`Intake`], until it is dropped.
#[derive(Debug)]
pub struct Room {
    intake: Intake,
    held: u64,
    limit: u64,
    /// Bytes of decoded structures.
    decoded: Counted,
    /// Bytes that they take in a record.
    recorded: Counted,
}

/// Bytes that are counted one by one and held in steps.
#[derive(Debug, Default)]
struct Counted {
    bytes: u64,
    held: u64,
}

impl Intake {
    /// Room for `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, held: Arc::default(), shown: metrics::gauge!("forebay_intake_bytes") }
    }

    /// Room for a push whose body may unpack to `limit` bytes, whose decoded structures may take as many again, and its
    /// record as many beyond their bytes.
    pub fn enter(&self, limit: u64) -> Room {
        let (decoded, recorded) = Default::default();
        Room { intake: self.clone(), held: 0, limit, decoded, recorded }
    }

    /// Bytes that pushes hold now.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl Room {
    /// The most that the body may unpack to.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Holds `bytes` more. What is larger than the whole intake gets in when nothing else is there, so that nothing
    /// is refused for ever.
    ///
    /// # Errors
    /// [`PushError::Busy`] at once. To wait would keep the bytes that are here already, and the connection, for a
    /// client that has them too and comes back.
    pub fn grow(&mut self, bytes: u64) -> Result<(), PushError> {
        let Self { intake: Intake { limit, held, shown }, held: own, .. } = self;
        let fits = |held: u64| {
            let more = held.checked_add(bytes)?;
            (more <= *limit || held == *own).then_some(more)
        };
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|held| PushError::Busy {
            bytes,
            held,
            limit: *limit,
        })?;
        *own += bytes;
        shown.increment(bytes as f64);
        Ok(())
    }

    /// Gives back what it holds beyond `bytes`: nothing but these is in memory still.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.held.saturating_sub(bytes);
        self.held -= less;
        self.intake.held.fetch_sub(less, Ordering::Relaxed);
        self.intake.shown.decrement(less as f64);
        (self.decoded, self.recorded) = Default::default();
    }

    /// Counts `bytes` on the heap that were decoded of the body.
    pub(super) fn decoded(&mut self, bytes: usize) -> Result<(), PushError> {
        self.charge(bytes as u64 + ALLOCATION)
    }

    /// Counts `bytes` that what was decoded takes in a record, beyond its own: apart from what it was decoded to, of
    /// which a list may take all that it is allowed.
    pub(super) fn recorded(&mut self, bytes: usize) -> Result<(), PushError> {
        let step = self.recorded.add(bytes as u64, self.limit)?;
        if step > 0 {
            self.grow(step)?;
            self.recorded.held += step;
        }
        Ok(())
    }

    /// Appends `item`, with as much memory as there is room for.
    #[inline]
    pub(super) fn push<T>(&mut self, items: &mut Vec<T>, item: T) -> Result<(), PushError> {
        if items.len() == items.capacity() {
            self.extend(items)?;
        }
        items.push(item);
        Ok(())
    }

    /// Doubles the capacity as long as there is room: most lists are short, and few are very long.
    #[cold]
    fn extend<T>(&mut self, items: &mut Vec<T>) -> Result<(), PushError> {
        let wanted = if items.capacity() == 0 { 1 } else { items.capacity().max(3) };
        let left = self.limit.saturating_sub(self.decoded.bytes + ALLOCATION) / size_of::<T>() as u64;
        let more = wanted.min(usize::try_from(left).unwrap_or(usize::MAX)).max(1);
        self.charge((more * size_of::<T>()) as u64 + ALLOCATION)?;
        items.reserve_exact(more);
        Ok(())
    }

    fn charge(&mut self, bytes: u64) -> Result<(), PushError> {
        let step = self.decoded.add(bytes, self.limit)?;
        if step > 0 {
            self.grow(step)?;
            self.decoded.held += step;
        }
        Ok(())
    }
}

impl Counted {
    /// Adds `bytes`, to no more than `limit`; how many more are to be held for them.
    fn add(&mut self, bytes: u64, limit: u64) -> Result<u64, PushError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limit {
            return Err(PushError::TooLarge { what: "decoded push", size: self.bytes, limit });
        }
        Ok(if self.bytes > self.held { (self.bytes - self.held).max(STEP) } else { 0 })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_beside_others_is_refused_and_what_is_given_back_is_free() {
        let intake = Intake::new(100);
        let (mut first, mut second) = (intake.enter(0), intake.enter(0));
        first.grow(60).unwrap();
        assert_eq!(second.grow(41), Err(PushError::Busy { bytes: 41, held: 60, limit: 100 }));
        second.grow(40).unwrap();
        assert_eq!(first.grow(1), Err(PushError::Busy { bytes: 1, held: 100, limit: 100 }));
        drop(first);
        second.grow(60).unwrap();
        drop(second);
        assert_eq!(intake.held(), 0);
    }

    #[test]
    fn a_body_larger_than_everything_gets_in_alone() {
        let intake = Intake::new(100);
        let mut large = intake.enter(0);
        large.grow(90).unwrap();
        large.grow(1000).unwrap();
        intake.enter(0).grow(1).unwrap_err();
        large.grow(u64::MAX).unwrap_err();
        drop(large);
        intake.enter(0).grow(100).unwrap();
    }

    #[test]
    fn what_is_no_longer_in_memory_is_given_back_and_what_comes_then_is_asked_for_again() {
        let intake = Intake::new(u64::MAX);
        let mut room = intake.enter(10 * STEP);
        room.grow(1_000_000).unwrap();
        room.decoded(10).unwrap();
        assert_eq!(intake.held(), 1_000_000 + STEP);
        room.shrink_to(u64::MAX);
        assert_eq!(intake.held(), 1_000_000 + STEP);
        room.shrink_to(300);
        assert_eq!(intake.held(), 300);
        room.decoded(10).unwrap();
        assert_eq!(intake.held(), 300 + STEP);
        drop(room);
        assert_eq!(intake.held(), 0);
    }

    #[test]
    fn a_list_grows_to_what_its_push_may_take_and_no_further() {
        let intake = Intake::new(u64::MAX);
        let mut room = intake.enter(10_000);
        let mut items = Vec::new();
        let refused = (0_u64..).find_map(|item| room.push(&mut items, item).err()).unwrap();
        assert!(matches!(refused, PushError::TooLarge { limit: 10_000, .. }), "{refused}");
        assert!((1_200..=1_250).contains(&items.len()), "{} items of 8 bytes", items.len());
        assert!(intake.held() >= 10_000);
    }
}
