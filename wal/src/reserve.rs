//! The segment made ahead, so that rotation creates nothing while appends wait: from a file that was kept, or anew.

use std::sync::atomic::Ordering;

use crate::directory::spare_path;
use crate::error::{AppendError, Reject};
use crate::format::MAX_NUMBER;
use crate::fs::Fs;
use crate::home::Home;
use crate::log::Quota;
use crate::make::{Made, Making};
use crate::segment::Segment;

/// At most one segment file beyond the one being written; durable, without frames.
pub(crate) struct Reserve<F: Fs> {
    ready: Option<Segment<F>>,
    /// What is to be the next one, where none is ready.
    making: Option<Making<F>>,
    /// Number of the segment after the one being written.
    next: u64,
}

impl<F: Fs> Reserve<F> {
    pub(crate) fn new(next: u64, ready: Option<Segment<F>>) -> Self {
        Self { ready, making: None, next }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// Whether there is none, nor one being made.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_none() && self.making.is_none()
    }

    /// Does a share of the work that the next segment takes, if there is none; whether there is one now.
    pub(crate) fn make_some(&mut self, home: &Home<F>, quota: Quota<'_>) -> Result<bool, AppendError> {
        if self.ready.is_none() {
            self.accounted(home, |reserve| match reserve.making.take() {
                Some(making) if !making.is_almost_done() => {
                    let shared = making.share(home);
                    reserve.making = or_else_room(home, shared)?;
                    Ok(())
                }
                making => {
                    reserve.making = making;
                    reserve.step(home, home.options.segment_bytes, quota).map(drop)
                }
            })?;
        }
        Ok(self.is_ready())
    }

    /// Makes the next segment if there is none; whether it made one.
    pub(crate) fn prepare(&mut self, home: &Home<F>, quota: Quota<'_>) -> Result<bool, AppendError> {
        if self.ready.is_some() {
            return Ok(false);
        }
        self.make(home, home.options.segment_bytes, quota)?;
        Ok(true)
    }

    /// The next segment, with room for at least `capacity` bytes of file.
    pub(crate) fn obtain(
        &mut self,
        home: &Home<F>,
        capacity: u64,
        quota: Quota<'_>,
    ) -> Result<Segment<F>, AppendError> {
        let features = *home.features.lock();
        let serves = |ready: &Segment<F>| {
            let header = &ready.header;
            let aligned = header.commit_align == home.options.commit_align;
            header.capacity >= capacity && header.features.has(features) && aligned
        };
        if !self.ready.as_ref().is_some_and(serves) {
            // Another file takes the name of that one; whichever survives a crash is empty and durable.
            self.make(home, capacity, quota)?;
        }
        let segment = self.ready.take().expect("made above if there was none");
        home.ahead.store(false, Ordering::Relaxed);
        self.next += 1;
        Ok(segment)
    }

    /// The segment was not needed after all.
    pub(crate) fn put_back(&mut self, home: &Home<F>, segment: Segment<F>) {
        home.ahead.store(true, Ordering::Relaxed);
        self.next = segment.number();
        self.ready = Some(segment);
    }

    /// What is being made is not wanted any more.
    pub(crate) fn abandon(&mut self, home: &Home<F>) {
        if let Some(making) = self.making.take() {
            making.abandon(home);
            home.directory.lock().set_reserved(0);
        }
    }

    fn make(&mut self, home: &Home<F>, capacity: u64, quota: Quota<'_>) -> Result<(), AppendError> {
        if self.making.as_ref().is_some_and(|making| making.capacity() < capacity) {
            self.abandon(home);
        }
        self.accounted(home, |reserve| {
            while !reserve.step(home, capacity, quota)? {}
            Ok(())
        })
    }

    /// Keeps the accounts of an attempt to make a segment.
    fn accounted(
        &mut self,
        home: &Home<F>,
        attempt: impl FnOnce(&mut Self) -> Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        let made = attempt(self);
        if made.is_err() {
            let ready = self.ready.as_ref().map_or(0, |ready| ready.header.capacity);
            home.directory.lock().set_reserved(ready);
        }
        home.starved.store(made.is_err(), Ordering::Relaxed);
        home.ahead.store(self.ready.is_some(), Ordering::Relaxed);
        made
    }

    /// Begins a segment, or does all that is missing of the one that was begun; whether it is ready now. Where the disk
    /// is full and the pool has something to give up, it is begun again.
    fn step(&mut self, home: &Home<F>, capacity: u64, quota: Quota<'_>) -> Result<bool, AppendError> {
        if self.next > MAX_NUMBER {
            return Err(Reject::NumbersUsedUp.into());
        }
        let made = match self.making.take() {
            Some(making) => making.finish(home),
            None => match claim(home, capacity, quota)? {
                Some(kept) => Made::renew(home, kept, (self.next, capacity)),
                None => {
                    self.making = or_else_room(home, Making::create(home, self.next, capacity))?;
                    return Ok(false);
                }
            },
        };
        let Some(made) = or_else_room(home, made)? else { return Ok(false) };
        // If giving it its name fails, the name may stand for either file: neither handle is used again.
        self.ready = None;
        let segment = made.publish(home)?;
        if segment.is_recycled() {
            home.counters.recycled();
        }
        self.ready = Some(segment);
        Ok(true)
    }
}

/// What was made, or nothing where the disk is full and a file of the pool was given up for another try.
fn or_else_room<F: Fs, T>(home: &Home<F>, made: Result<T, AppendError>) -> Result<Option<T>, AppendError> {
    match made {
        Err(AppendError::Rejected(Reject::NoSpace { .. })) if give_up(home) => Ok(None),
        made => made.map(Some),
    }
}

/// A file of the pool to be used again, or leave to make a new one; other files of the pool go where that helps. Its
/// bytes are counted from here on, so that nobody keeps a file meanwhile for which there would be no room.
fn claim<F: Fs>(home: &Home<F>, capacity: u64, quota: Quota<'_>) -> Result<Option<u64>, Reject> {
    let wanted = capacity.saturating_add(home.options.min_free_bytes);
    loop {
        let mut directory = home.directory.lock();
        if let Some(kept) = directory.pool.take(capacity) {
            directory.set_reserved(capacity);
            return Ok(Some(kept));
        }
        // What has just been given back can neither be used yet nor be given up.
        let used = directory.bytes() + directory.pool.arriving_bytes();
        let (before, pool) = (directory.reserved_bytes(), directory.pool.ready_bytes());
        let needed = used - before + capacity;
        let mut fits = true;
        if let (Some(limit), Some(pinned_by)) = (home.options.max_log_bytes, quota) {
            if needed > limit {
                drop(directory);
                let dir = home.dir.clone();
                return Err(Reject::QuotaExceeded { dir, limit, used, pinned_by: pinned_by() });
            }
            fits = needed + pool <= limit;
        }
        directory.set_reserved(capacity);
        drop(directory);
        let free = home.free_bytes();
        if fits && free >= wanted {
            return Ok(None);
        }
        home.directory.lock().set_reserved(before);
        if free.saturating_add(pool) < wanted || !give_up(home) {
            return Err(home.no_space(wanted));
        }
    }
}

/// Removes a file of the pool, to make room; whether it did.
fn give_up<F: Fs>(home: &Home<F>) -> bool {
    std::iter::from_fn(|| home.directory.lock().pool.give_up())
        .any(|kept| home.fs.remove(&spare_path(&home.dir, kept)).is_ok())
}

#[cfg(test)]
mod tests {
    use crate::fs::sim::SimFs;
    use crate::{Options, Wal};

    #[test]
    fn a_segment_that_cannot_be_had_is_not_asked_for_with_every_append() {
        let disk = SimFs::new(0);
        let options = Options { segment_bytes: 8192, max_spare_segments: 0, ..Options::default() };
        let (wal, _) = Wal::open_in(disk.clone(), "/log", options).unwrap();
        let rings = || wal.inner.doorbell.hush();
        for _ in 0..2 {
            wal.append("a").unwrap();
            assert!(rings());
            wal.rotate().unwrap();
        }
        disk.set_budget(Some(0));
        assert!(wal.reserve().is_err());
        rings();
        wal.append("b").unwrap();
        assert!(!rings());
        wal.truncate_before(wal.next_lsn()).unwrap();
        assert!(rings(), "something was given back");
        assert!(wal.reserve().is_err());
        disk.set_budget(None);
        wal.append("c").unwrap();
        assert!(!rings());
        wal.rotate().unwrap();
        assert!(rings(), "there was space when it was needed");
    }
}
