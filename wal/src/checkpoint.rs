//! Checkpoints: what the caller wants to know at the next opening, kept in the log itself.
//!
//! Every segment begins with a copy of the newest one, in the same group as its start. So truncations never take it
//! away, and where the last segment is torn the one before still has it.

use bytes::Bytes;
use parking_lot::Mutex;

use crate::control::Checkpoint;
use crate::error::AppendError;
use crate::frame::{Kind, frame_len};
use crate::fs::Fs;
use crate::home::Home;
use crate::log::{Log, Need, Quota};
use crate::reserve::Reserve;

/// Most bytes of the caller's in segments of this size.
fn max_meta(segment_bytes: u64) -> u64 {
    (segment_bytes / 8).min(Checkpoint::MAX_META as u64)
}

/// Most bytes that a copy of a checkpoint takes in segments of this size.
pub(crate) fn longest_copy(segment_bytes: u64) -> u64 {
    frame_len(8 + max_meta(segment_bytes))
}

/// The body of a checkpoint frame, or how long it is, and may be, where that is too long for segments of this size.
pub(crate) fn body(lsn: u64, meta: &[u8], segment_bytes: u64) -> Result<Bytes, (u64, u64)> {
    let (len, limit) = (meta.len() as u64, max_meta(segment_bytes));
    if len > limit {
        return Err((len, limit));
    }
    Ok(Checkpoint { lsn, meta: Bytes::copy_from_slice(meta) }.encode().into())
}

impl<F: Fs> Log<F> {
    /// Makes a checkpoint durable. It may use the last of the active segment, but for what truncations need.
    pub(crate) fn checkpoint(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        (body, quota): (&Bytes, Quota<'_>),
    ) -> Result<(), AppendError> {
        self.make_room(home, reserve, Need::Checkpoint(frame_len(body.len() as u64)), quota)?;
        self.control(home, &[(Kind::CHECKPOINT, body)])?;
        self.carried.checkpoint = Some(body.clone());
        Ok(())
    }
}
