//! What was taken in and is not written: records with their numbers, in the order in which they will lie in the log.
//!
//! A number is given when a record is taken in. Where its write is refused it is taken back, unless somebody was
//! told a higher one: then it is burned, and no record ever has it (I3, I6).

use std::ops::Range;

use crate::error::Reject;
use crate::format::MAX_NUMBER;
use crate::frame::frame_len;
use crate::frames::{Class, Frames, alone, body_len};
use crate::payload::Payload;
use crate::segment::longest_body;

/// Bytes that are written although nobody waits for them: a frame, or as much as is still in the processor's caches when
/// it is summed and copied.
fn full_at(max_frame: u32) -> u64 {
    u64::from(max_frame).min(256 << 10)
}

#[derive(Debug)]
pub(crate) struct Intake {
    frames: Frames,
    /// Memory of frames that were written.
    spare: Frames,
    /// Of the next record.
    next_lsn: u64,
    /// Whether writing it was refused, and nothing has come since.
    is_stuck: bool,
    /// From so many bytes on it is to be written, although nobody waits for it.
    full_at: u64,
    max_frame: u32,
    /// Bytes of frames that fit a segment without records.
    segment_room: u64,
    /// Bytes that the frames after the last closed one may take in the segment that takes them, as far as is known.
    room: u64,
}

impl Intake {
    /// After records below `next_lsn`, which are durable.
    pub(crate) fn new(next_lsn: u64, max_frame: u32, segment_bytes: u64) -> Self {
        Self {
            frames: Frames::default(),
            spare: Frames::default(),
            next_lsn,
            is_stuck: false,
            full_at: full_at(max_frame),
            max_frame,
            segment_room: alone(longest_body(segment_bytes, (0, 0), max_frame), max_frame),
            room: 0,
        }
    }

    #[inline]
    pub(crate) fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// Bytes of records that are not written, encoded.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.frames.body()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether there is nothing that is worth a try to write it.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.is_empty() || self.is_stuck
    }

    /// Whether a frame is full, so that writing is worth it.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.frames.body() >= self.full_at
    }

    /// Takes records in that stand or fall together and answers their numbers, which the caller knows from now on if the
    /// class says so.
    #[inline]
    pub(crate) fn push(&mut self, records: &mut [Payload<'_>], class: Class) -> Result<Range<u64>, Reject> {
        let lsn = self.next_lsn;
        let next = lsn.checked_add(records.len() as u64).filter(|next| *next <= MAX_NUMBER);
        let next = next.ok_or(Reject::NumbersUsedUp)?;
        let body = body_len(records, class.stream);
        if body > u64::from(self.max_frame) {
            self.begin(alone(body, self.max_frame));
            self.frames.add_fragments((lsn, class), records, self.max_frame);
            self.room = self.room.saturating_sub(alone(body, self.max_frame));
        } else {
            let shared = self.frames.open_body(class).map(|open| open + body);
            let fits = |body: &u64| *body <= u64::from(self.max_frame) && frame_len(*body) <= self.room;
            if !shared.is_some_and(|body| fits(&body)) {
                self.begin(frame_len(body));
            }
            self.frames.add(lsn, class, records);
        }
        self.next_lsn = next;
        self.is_stuck = false;
        Ok(lsn..next)
    }

    /// What comes now begins a frame, of at least this length, perhaps in another segment.
    #[inline]
    fn begin(&mut self, len: u64) {
        self.close();
        if self.room < len {
            self.room = self.segment_room.max(len);
        }
    }

    /// What is taken in from now on comes in another frame.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.room = self.room.saturating_sub(self.frames.close());
    }

    /// Gives out everything to be written.
    #[inline]
    pub(crate) fn take(&mut self) -> Frames {
        self.close();
        std::mem::replace(&mut self.frames, std::mem::take(&mut self.spare))
    }

    /// What was taken is written, and the segment has room for so many bytes of frames more. Keeps the memory.
    #[inline]
    pub(crate) fn landed(&mut self, frames: &mut Frames, room: u64) {
        frames.clear(self.max_frame as usize);
        std::mem::swap(&mut self.spare, frames);
        self.full_at = full_at(self.max_frame);
        self.is_stuck = false;
        if self.frames.is_empty() {
            self.room = room;
        }
    }

    /// What was taken could not be written, from record `written` on: keeps what somebody was told of, and takes
    /// back, or burns, all other numbers.
    pub(crate) fn refused(&mut self, rest: &Frames, written: u64) {
        let mut kept = std::mem::take(&mut self.spare);
        let mut next = written;
        for frames in [rest, &self.frames] {
            for (index, span) in frames.spans().iter().enumerate().filter(|(_, span)| span.told) {
                if span.first_lsn > next && !cfg!(wal_mutant = "no_burn") {
                    kept.burn(next..span.first_lsn);
                }
                kept.copy(frames, index);
                next = span.end_lsn().max(next);
            }
        }
        kept.close();
        self.frames = kept;
        self.next_lsn = if cfg!(wal_mutant = "reuse_burned") { written } else { next };
        self.room = 0;
        self.is_stuck = true;
        self.full_at = self.frames.body() + full_at(self.max_frame);
    }

    /// Nothing will be written any more.
    pub(crate) fn clear(&mut self) {
        self.frames = Frames::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake() -> Intake {
        Intake::new(1, 512, 1 << 16)
    }

    fn push(intake: &mut Intake, len: usize, told: bool) -> u64 {
        intake.push(&mut [vec![7; len].into()], Class { told, stream: 0 }).unwrap().start
    }

    /// First LSN and records of each frame.
    fn shape(frames: &Frames) -> Vec<(u64, u64)> {
        frames.spans().iter().map(|span| (span.first_lsn, span.records)).collect()
    }

    #[test]
    fn numbers_are_given_in_order_and_records_share_frames_with_their_like() {
        let mut intake = intake();
        for (lsn, (len, told)) in [(10, true), (20, true), (30, false), (40, true)].into_iter().enumerate() {
            assert_eq!(push(&mut intake, len, told), lsn as u64 + 1);
        }
        assert_eq!(intake.next_lsn(), 5);
        assert_eq!(shape(&intake.take()), [(1, 2), (3, 1), (4, 1)]);
    }

    #[test]
    fn a_frame_ends_where_the_longest_does_and_where_the_segment_does() {
        let mut intake = intake();
        for len in [300, 300, 100, 2] {
            push(&mut intake, len, true);
        }
        assert!(intake.is_full());
        let mut frames = intake.take();
        assert_eq!(shape(&frames), [(1, 1), (2, 3)]);
        intake.landed(&mut frames, 250);
        for len in [100, 100, 100] {
            push(&mut intake, len, true);
        }
        assert_eq!(shape(&intake.take()), [(5, 2), (7, 1)]);
    }

    #[test]
    fn refused_numbers_roll_back_where_nobody_was_told_a_higher_one() {
        let mut intake = intake();
        push(&mut intake, 10, false);
        let taken = intake.take();
        push(&mut intake, 10, false);
        intake.refused(&taken, 1);
        assert!(intake.is_empty());
        assert_eq!((intake.next_lsn(), push(&mut intake, 5, false)), (1, 1));
    }

    #[test]
    fn refused_numbers_are_burned_in_front_of_those_that_somebody_was_told() {
        let mut intake = intake();
        push(&mut intake, 10, true);
        push(&mut intake, 10, false);
        push(&mut intake, 700, false);
        push(&mut intake, 800, true);
        let taken = intake.take();
        push(&mut intake, 10, false);
        intake.refused(&taken, 1);
        assert_eq!(intake.next_lsn(), 5);
        let again = intake.take();
        assert_eq!(shape(&again), [(1, 1), (2, 2), (4, 0), (4, 1)]);
        push(&mut intake, 10, false);
        push(&mut intake, 20, true);
        intake.refused(&again, 1);
        assert_eq!(shape(&intake.take()), [(1, 1), (2, 2), (4, 0), (4, 1), (5, 1), (6, 1)]);
    }
}
