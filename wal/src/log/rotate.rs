//! Room for what comes: in the segment that is being written, or in the one that follows it.
//!
//! Order of a rotation: the successor is durable with its name, then the seal that names it is written and
//! synced, then the successor gets its first group (I1, I2).

use parking_lot::Mutex;

use super::{Log, Quota, Tail};
use crate::directory::Entry;
use crate::error::{AppendError, Reject};
use crate::frame::{Kind, frame_len};
use crate::fs::Fs;
use crate::home::Home;
use crate::reserve::Reserve;
use crate::segment::{Link, SEAL_LEN, Segment, control_reserve};

/// Room is needed for records, or for the control frames that may use the last of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    Records(u64),
    /// Leaves the last of a segment to low watermarks.
    Checkpoint(u64),
    Control(u64),
}

impl<F: Fs> Log<F> {
    /// Brings an active segment to the tail that has room. On an error the log is as before, except that it may
    /// have rotated.
    pub(crate) fn make_room(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        need: Need,
        quota: Quota<'_>,
    ) -> Result<(), AppendError> {
        let (bytes, control) = match need {
            Need::Records(bytes) => (bytes, false),
            Need::Checkpoint(bytes) => (bytes + control_reserve(home.options.commit_align) - SEAL_LEN, true),
            Need::Control(bytes) => (bytes, true),
        };
        loop {
            if let Tail::Active(segment) = &self.tail
                && segment.room(control) >= bytes + if self.clean { frame_len(0) } else { 0 }
            {
                if !self.clean {
                    return Ok(());
                }
                // The next opening takes a CleanClose for the end of all that was written, so nothing that may stay
                // behind it when its write fails may be more than this. Where groups are aligned it takes more room
                // than a frame, so room is looked for again.
                self.control(home, &[(Kind::PAD, &[])])?;
                continue;
            }
            if let Tail::Active(segment) = &mut self.tail
                && !control
                && segment.holds_back(bytes)
            {
                match reserve.lock().prepare(home, quota) {
                    Err(error) if !is_forbidden(&error) => return Err(error),
                    _ => segment.go_on(),
                }
                continue;
            }
            let capacity = self.capacity_for(home, bytes);
            let rotated = self.rotate(home, reserve, capacity, quota);
            match (rotated, &self.tail) {
                (Ok(()), _) => {}
                // No successor to be had: a log left by a crash must still be able to go on.
                (Err(AppendError::Rejected(_)), Tail::Frozen(segment)) if segment.room(control) >= bytes => {
                    segment.wipe(home)?;
                    self.thaw();
                }
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Bytes of a file for the next segment, in which `bytes` of records fit besides what is carried.
    pub(crate) fn capacity_for(&self, home: &Home<F>, bytes: u64) -> u64 {
        home.options
            .segment_bytes
            .max(Segment::<F>::capacity_for(bytes + self.carried.len(), home.options.commit_align))
    }

    /// Seals the tail and puts the successor in its place.
    pub(crate) fn rotate(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        capacity: u64,
        quota: Quota<'_>,
    ) -> Result<(), AppendError> {
        // The start of the next segment would name a number that no opening believes.
        self.numbers_for(0)?;
        let begin_ns = home.options.time.monotonic_ns();
        let place = self.place();
        // Locked only now: somebody may be filling the next segment with zeros while this one has room.
        let mut reserve = reserve.lock();
        let mut next = reserve.obtain(home, capacity, quota)?;
        let link = match &mut self.tail {
            Tail::Empty => Ok(Link::default()),
            Tail::Frozen(segment) | Tail::Active(segment) => segment.seal(home, place, &next.header),
        };
        match link {
            Ok(link) => {
                next.link = link;
                next.carried.clone_from(&self.carried);
                next.hold_back(home.options.segment_bytes);
            }
            Err(error) => {
                reserve.put_back(home, next);
                return Err(error);
            }
        }
        if let Tail::Frozen(old) | Tail::Active(old) = &self.tail {
            let bytes = old.shrink();
            home.directory.lock().resize(old.number(), bytes);
            home.counters.rotated(home.options.time.monotonic_ns().saturating_sub(begin_ns));
        }
        home.directory.lock().activate(Entry {
            segment: next.number(),
            base: self.next_lsn,
            bytes: next.header.capacity,
        });
        self.tail = Tail::Active(next);
        self.durable = self.next_lsn;
        self.clean = false;
        Ok(())
    }

    fn thaw(&mut self) {
        self.tail = match std::mem::replace(&mut self.tail, Tail::Empty) {
            Tail::Frozen(segment) => Tail::Active(segment),
            other => other,
        };
    }
}

/// Whether there may be space for another segment although it was refused: what gives segments back may make it.
fn is_forbidden(error: &AppendError) -> bool {
    matches!(error, AppendError::Rejected(Reject::QuotaExceeded { .. } | Reject::NumbersUsedUp))
}
