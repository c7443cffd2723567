//! What fits into a segment, and what its end is kept for.

use super::Segment;
use crate::control::{Seal, SegmentStart};
use crate::format::HEADER_LEN;
use crate::frame::{FRAME_HEADER_LEN, frame_len};
use crate::fs::Fs;

/// Bytes of a seal in the file.
pub(crate) const SEAL_LEN: u64 = 32 + Seal::LEN as u64;
/// Bytes of a segment start in the file.
pub(crate) const START_LEN: u64 = 32 + SegmentStart::LEN as u64;
/// Bytes at the end of a segment that records leave free: for the seal, and for low watermarks of truncations
/// that give back a segment while no further one can be had.
pub(crate) fn control_reserve(commit_align: u32) -> u64 {
    1024 + u64::from(commit_align)
}

/// Most bytes that fill a group up to where the next may begin.
fn longest_pad(commit_align: u32) -> u64 {
    // Where there is no room for a frame it goes on to the multiple after the next.
    if commit_align == 0 { 0 } else { u64::from(commit_align) + FRAME_HEADER_LEN as u64 - 8 }
}

/// Most bytes at the end of a segment that records leave free while no further one is there: some sixty checkpoints.
const LAST_RESERVE: u64 = 4 << 20;

impl<F: Fs> Segment<F> {
    /// Bytes of frames that still fit: of records, or of control frames.
    #[inline]
    pub(crate) fn room(&self, control: bool) -> u64 {
        self.room_but(if control { SEAL_LEN } else { self.left_free })
    }

    #[inline]
    fn room_but(&self, left_free: u64) -> u64 {
        let start = if self.started { 0 } else { START_LEN + self.carried.len() };
        let pad = longest_pad(self.header.commit_align);
        self.header.capacity.saturating_sub(self.end + start + left_free + pad)
    }

    /// It may be the last that can be had: until [`go_on`](Self::go_on) records leave a quarter of it to what gives
    /// segments back. One made for a record longer than `usual` segments is for that record alone.
    pub(crate) fn hold_back(&mut self, usual: u64) {
        let quarter = (self.header.capacity - HEADER_LEN) / 4;
        if self.header.capacity <= usual {
            self.left_free = quarter.clamp(control_reserve(self.header.commit_align), LAST_RESERVE);
        }
    }

    /// Whether `bytes` of records would fit into what it holds back.
    pub(crate) fn holds_back(&self, bytes: u64) -> bool {
        let least = control_reserve(self.header.commit_align);
        self.left_free > least && self.room_but(least) >= bytes
    }

    /// Another can be had: records may have what it held back.
    pub(crate) fn go_on(&mut self) {
        self.left_free = control_reserve(self.header.commit_align);
    }

    /// Size of a file in which `need` bytes of records fit.
    pub(crate) fn capacity_for(need: u64, commit_align: u32) -> u64 {
        (HEADER_LEN + START_LEN + need + overhead(commit_align)).next_multiple_of(HEADER_LEN)
    }
}

/// Bytes that records leave free in any segment.
pub(crate) fn overhead(commit_align: u32) -> u64 {
    control_reserve(commit_align) + longest_pad(commit_align)
}

/// Longest body of a batch for which a file of at most this size is made, where so many bytes are carried along.
pub(crate) fn longest_body(file: u64, (carried, commit_align): (u64, u32), max_frame: u32) -> u64 {
    let file = file / HEADER_LEN * HEADER_LEN;
    let room = file.saturating_sub(HEADER_LEN + START_LEN + carried + overhead(commit_align));
    let (max, full) = (u64::from(max_frame), frame_len(max_frame.into()));
    room / full * max + (room % full).saturating_sub(frame_len(0))
}
