//! Dropping whole segments below an LSN.
//!
//! The low watermark is durable before the first file is unlinked, or kept to be used again. So recovery knows which
//! files a truncation was about to remove, whichever of them a crash brings back, and a file missing above the watermark
//! is damage.

use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::Lsn;
use crate::directory::{segment_path, spare_path};
use crate::error::{AppendError, Failure, Pinned, Reject};
use crate::frame::{Kind, frame_len};
use crate::fs::Fs;
use crate::home::Home;
use crate::log::{Log, Need, Quota};
use crate::pins::Pins;
use crate::reserve::Reserve;

/// What a truncation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// Segments that are gone.
    pub segments: usize,
    /// Bytes of their files, of which some may be kept to be used again.
    pub bytes: u64,
    /// Records below this LSN never come back: what was asked for, or the oldest pin. Where that gives back no
    /// segment and the log has no room to note it, what it was before.
    pub low: Lsn,
    /// Segments that should have gone and whose files the system would not remove; the next truncation, or
    /// opening, tries again.
    pub remaining: usize,
}

/// How much of the disk a log takes and who keeps it from giving some back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the segment files, the one made ahead included.
    pub log_bytes: u64,
    /// Bytes of files that are kept to be used again, see
    /// [`Options::max_spare_segments`](crate::Options::max_spare_segments).
    pub spare_bytes: u64,
    /// Segments with records.
    pub segments: usize,
    /// [`Options::max_log_bytes`](crate::Options::max_log_bytes).
    pub limit: Option<u64>,
    /// The oldest pin.
    pub pinned_by: Option<Pinned>,
}

impl<F: Fs> Log<F> {
    /// Makes the watermark durable, then takes away the names of what lies below it.
    pub(crate) fn truncate(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        pins: &Mutex<Pins>,
        (lsn, quota): (u64, Quota<'_>),
    ) -> Result<Truncated, AppendError> {
        let (low, before) = pins.lock().lower(lsn.min(self.next_lsn));
        // A segment without frames does not tell what was before it: the segments in front must not go first.
        let untold = !self.is_started() && home.directory.lock().frees(low);
        if low > self.low || untold {
            match self.note_low(home, reserve, (low, quota)) {
                Ok(true) => {}
                Ok(false) => pins.lock().floor = before,
                Err(error) => {
                    pins.lock().floor = before;
                    return Err(error);
                }
            }
        }
        let mut done = Truncated { segments: 0, bytes: 0, low: Lsn(self.low), remaining: 0 };
        let doomed = home.directory.lock().take_below(self.low);
        let mut going: u64 = doomed.iter().map(|entry| entry.bytes).sum();
        for entry in doomed {
            let path = segment_path(&home.dir, entry.segment);
            let is_wanted = {
                let directory = home.directory.lock();
                directory.pool.wants(entry.bytes, directory.bytes() - going)
            };
            going -= entry.bytes;
            let gone = match is_wanted {
                true => home.fs.rename(&path, &spare_path(&home.dir, entry.segment)),
                false => home.fs.remove(&path),
            };
            match gone {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => done.remaining += 1,
                other => {
                    done.segments += 1;
                    done.bytes += entry.bytes;
                    let mut directory = home.directory.lock();
                    directory.gone(entry.segment);
                    if is_wanted && other.is_ok() {
                        directory.pool.expect(entry.segment);
                    }
                }
            }
        }
        if done.segments > 0 {
            home.starved.store(false, Ordering::Relaxed);
            let synced = home.fs.sync_dir(&home.dir);
            synced
                .map_err(|cause| AppendError::Indeterminate(Failure::new("syncing the directory", cause)))?;
            // Not before: until its new name is durable, a crash may bring a file back as the segment that it was.
            home.directory.lock().pool.arrived();
        }
        Ok(done)
    }

    /// Makes the watermark durable; whether it did. One that gives back a segment may use the last of the active
    /// one, and exceed the limit by the segment that it needs to give back more. One that does not must leave room
    /// for those that do, and is not worth a refusal.
    fn note_low(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        (low, quota): (u64, Quota<'_>),
    ) -> Result<bool, AppendError> {
        let body = low.to_le_bytes();
        let bytes = frame_len(body.len() as u64);
        let frees = home.directory.lock().frees(low);
        let need = if frees { Need::Control(bytes) } else { Need::Records(bytes) };
        let room = match self.make_room(home, reserve, need, quota) {
            Err(AppendError::Rejected(Reject::QuotaExceeded { .. })) if frees => {
                self.make_room(home, reserve, need, None)
            }
            room => room,
        };
        match room {
            Err(AppendError::Rejected(_)) if !frees => return Ok(false),
            room => room?,
        }
        self.control(home, &[(Kind::LOW_WATERMARK, &body)])?;
        self.low = low;
        Ok(true)
    }
}
