//! The segment being written: its file, where it ends, how much of it is synced, and a write that stays or is taken
//! back.
//!
//! Everything before `synced` is on the media, everything before `end` in the file; nothing of this log is at or
//! behind it. So a frame says what was synced when it was built, and a failed write leaves no byte under a number
//! that the next one will use (I4, I6).

use std::io::{self, IoSlice};

use crate::carry::Carry;
use crate::control::{Seal, SegmentStart};
use crate::error::{AppendError, Failure, Reject};
use crate::format::{Digest, Features, HEADER_LEN, Header};
use crate::frame::{FRAME_HEADER_LEN, Kind, frame_len};
use crate::frames::{Frames, Tally, control_frame};
use crate::fs::{File, Fs, is_full, write_all, write_zeros};
use crate::home::Home;
use crate::options::Compression;

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
pub(crate) fn longest_pad(commit_align: u32) -> u64 {
    // Where there is no room for a frame it goes on to the multiple after the next.
    if commit_align == 0 { 0 } else { u64::from(commit_align) + FRAME_HEADER_LEN as u64 - 8 }
}

/// Most bytes at the end of a segment that records leave free while no further one is there: some sixty checkpoints.
const LAST_RESERVE: u64 = 4 << 20;

/// How a segment is tied to the one before; all zero in the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link {
    pub(crate) segment: u64,
    pub(crate) end: u64,
    pub(crate) hcrc: u32,
}

/// Where the log stands when a frame is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) next_lsn: u64,
    pub(crate) low: u64,
    pub(crate) epoch: u64,
}

pub(crate) struct Segment<F: Fs> {
    pub(crate) file: F::File,
    pub(crate) header: Header,
    pub(crate) digest: Digest,
    pub(crate) link: Link,
    /// What it begins with behind its start.
    pub(crate) carried: Carry,
    /// Whether its start frame is written.
    pub(crate) started: bool,
    pub(crate) end: u64,
    /// Up to where it is on the media.
    pub(crate) synced: u64,
    pub(crate) frames: u64,
    pub(crate) data_bytes: u64,
    pub(crate) last_hcrc: u32,
    /// Bytes at its end that records leave free.
    pub(crate) left_free: u64,
    /// Whether a recovery cut it at `end`.
    pub(crate) repaired: bool,
}

impl<F: Fs> Segment<F> {
    /// A segment file with a header and no frame.
    pub(crate) fn unstarted(file: F::File, header: Header) -> Self {
        Self {
            file,
            digest: header.digest(),
            link: Link::default(),
            carried: Carry::default(),
            started: false,
            end: HEADER_LEN,
            synced: HEADER_LEN,
            frames: 0,
            data_bytes: 0,
            last_hcrc: 0,
            left_free: control_reserve(header.commit_align),
            repaired: false,
            header,
        }
    }

    /// Whether its file was another segment before.
    pub(crate) fn is_recycled(&self) -> bool {
        self.header.features.has(Features::RECYCLED)
    }

    pub(crate) fn number(&self) -> u64 {
        self.header.segment
    }

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

    /// The start frame and what is carried, where they are still due, and what they add.
    #[inline]
    fn start(&self, place: Place) -> (Vec<u8>, Tally) {
        if self.started {
            return (Vec::new(), Tally::default());
        }
        let start = SegmentStart {
            segment: self.number(),
            base_lsn: place.next_lsn,
            prev_segment: self.link.segment,
            prev_last_lsn: place.next_lsn - 1,
            prev_end: self.link.end,
            prev_last_hcrc: self.link.hcrc,
            low_watermark: place.low,
            epoch: place.epoch,
        };
        let frame = |kind, body: &[u8]| {
            control(control_frame((kind, body), place.next_lsn, &self.digest, self.synced))
        };
        let (mut bytes, mut tally) = frame(Kind::SEGMENT_START, &start.encode());
        for (kind, body) in self.carried.frames() {
            let (copy, more) = frame(kind, body);
            bytes.extend_from_slice(&copy);
            tally = tally.then(more);
        }
        (bytes, tally)
    }

    /// Seals the segment and syncs it; `next` is durable. Answers how the next is tied to it.
    pub(crate) fn seal(&mut self, home: &Home<F>, place: Place, next: &Header) -> Result<Link, AppendError> {
        let seal = Seal {
            end_lsn: place.next_lsn,
            frames: self.frames + self.start(place).1.frames,
            data_bytes: self.data_bytes,
            next_segment: next.segment,
            next_salt: next.salt,
            flags: if self.repaired { Seal::REPAIRED } else { 0 },
        };
        self.control(home, place, (Kind::SEAL, &seal.encode()))?;
        if !cfg!(wal_mutant = "rotate_before_sync") {
            self.sync(home)?;
        }
        Ok(Link { segment: self.number(), end: self.end, hcrc: self.last_hcrc })
    }

    /// Writes the first `count` frames. `Rejected`: they are taken back, durably, and all before them is synced.
    /// `Indeterminate`: the log is poisoned.
    #[inline]
    pub(crate) fn write(
        &mut self,
        home: &Home<F>,
        place: Place,
        (frames, count): (&mut Frames, usize),
    ) -> Result<Tally, AppendError> {
        let compression = home.options.compression;
        if compression != Compression::None && self.header.features.has(Features::COMPRESSION) {
            let (start, before) = self.start(place);
            let packer = &mut home.packer.lock();
            let data = frames.pack(count, (&self.digest, self.synced), (compression, packer));
            let slices = &mut [IoSlice::new(&start), IoSlice::new(&packer.out)];
            return self.put(home, slices, (before.then(data), place.next_lsn)).map(|()| data);
        }
        let data = frames.seal(count, &self.digest, self.synced);
        match frames.flat(count) {
            Some(flat) if self.started => {
                self.put(home, &mut [IoSlice::new(flat)], (data, place.next_lsn))?
            }
            _ => {
                let (start, before) = self.start(place);
                let mut slices = vec![IoSlice::new(&start)];
                frames.slices(count, &mut slices);
                self.put(home, &mut slices, (before.then(data), place.next_lsn))?;
            }
        }
        Ok(data)
    }

    /// Writes one frame without records.
    pub(crate) fn control(
        &mut self,
        home: &Home<F>,
        place: Place,
        (kind, body): (Kind, &[u8]),
    ) -> Result<(), AppendError> {
        let (start, before) = self.start(place);
        let frame = control_frame((kind, body), place.next_lsn, &self.digest, self.synced);
        let (frame, tally) = control(frame);
        let tally = before.then(tally);
        self.put(home, &mut [IoSlice::new(&start), IoSlice::new(&frame)], (tally, place.next_lsn))
    }

    #[inline]
    fn put(
        &mut self,
        home: &Home<F>,
        slices: &mut [IoSlice<'_>],
        (tally, next_lsn): (Tally, u64),
    ) -> Result<(), AppendError> {
        if let Err(error) = write_all(&self.file, slices, self.end) {
            return Err(self.take_back(home, &error, (tally.len, next_lsn)));
        }
        home.counters.written(tally.len);
        if self.synced == self.end {
            home.counters.unsynced_since(Some(home.options.time.monotonic_ns()));
        }
        self.started = true;
        self.add(tally);
        Ok(())
    }

    #[inline]
    fn add(&mut self, tally: Tally) {
        self.end += tally.len;
        self.frames += tally.frames;
        self.data_bytes += tally.data_bytes;
        self.last_hcrc = tally.last_hcrc;
    }

    /// Takes back a write of so many bytes that failed.
    #[cold]
    fn take_back(&mut self, home: &Home<F>, error: &io::Error, (len, next_lsn): (u64, u64)) -> AppendError {
        home.counters.write_failed();
        if cfg!(wal_mutant = "keep_partial_frame") {
            return refusal(error).into();
        }
        let zeroed = write_zeros(&self.file, self.end, self.end + len)
            .and_then(|()| self.pad(next_lsn))
            .and_then(|()| match cfg!(wal_mutant = "rollback_unsynced") {
                true => Ok(()),
                false => home.sync(&self.file),
            });
        if let Err(cause) = zeroed {
            return AppendError::Indeterminate(Failure::new("taking back a write", cause));
        }
        self.synced = self.end;
        refusal(error).into()
    }

    /// Fills what was written up to where a later write touches no block of it, where groups are aligned.
    fn pad(&mut self, next_lsn: u64) -> io::Result<()> {
        let (head, align) = (FRAME_HEADER_LEN as u64, u64::from(self.header.commit_align));
        if align == 0 || !self.started || self.end.is_multiple_of(align) {
            return Ok(());
        }
        let body = (self.end + head).next_multiple_of(align) - self.end - head;
        let body = vec![0; usize::try_from(body).expect("an alignment is at most 64 KiB")];
        let (frame, tally) = control(control_frame((Kind::PAD, &body), next_lsn, &self.digest, self.synced));
        write_all(&self.file, &mut [IoSlice::new(&frame)], self.end)?;
        self.add(tally);
        Ok(())
    }

    /// As an opening does with what it found whole, of which nobody was told yet. Whatever the media has where the next
    /// frame would be goes.
    pub(crate) fn pad_found(&mut self, next_lsn: u64) -> io::Result<()> {
        let end = self.end;
        self.pad(next_lsn)?;
        if self.end > end {
            let page = (self.end + HEADER_LEN).min(self.header.capacity);
            write_zeros(&self.file, self.end, page)?;
            self.file.sync_data()?;
        }
        self.synced = self.end;
        Ok(())
    }

    /// Ends a group, and syncs it. An error poisons the log.
    #[inline]
    pub(crate) fn finish(&mut self, home: &Home<F>, next_lsn: u64) -> Result<(), AppendError> {
        if self.synced < self.end {
            self.pad(next_lsn)
                .map_err(|cause| AppendError::Indeterminate(Failure::new("filling up a group", cause)))?;
        }
        self.sync(home)
    }

    /// Syncs what was written. An error poisons the log.
    #[inline]
    pub(crate) fn sync(&mut self, home: &Home<F>) -> Result<(), AppendError> {
        if self.synced == self.end {
            return Ok(());
        }
        home.sync(&self.file)
            .or_else(|cause| match cfg!(wal_mutant = "retry_fsync") {
                true => home.sync(&self.file),
                false => Err(cause),
            })
            .map_err(|cause| AppendError::Indeterminate(Failure::new("syncing a segment", cause)))?;
        self.synced = self.end;
        Ok(())
    }

    /// Zeroes all behind the end, durably, so that the segment can go on although a crash may have left frames
    /// there that this process cannot see.
    pub(crate) fn wipe(&self, home: &Home<F>) -> Result<(), AppendError> {
        write_zeros(&self.file, self.end, self.header.capacity).map_err(|error| refusal(&error))?;
        home.sync(&self.file)
            .map_err(|cause| AppendError::Indeterminate(Failure::new("syncing a segment", cause)))
    }

    /// Gives back the space behind the seal, where that is a page and an eighth of the file or more: a file that is used
    /// up keeps its length, and can be used again. Answers the length. Not synced: a crash may leave the file at either
    /// length, and the seal ends it all the same.
    pub(crate) fn shrink(&self) -> u64 {
        let capacity = self.header.capacity;
        // Cutting a file is a write to the block that it cuts.
        let len = self.end.next_multiple_of(u64::from(self.header.commit_align.max(1)));
        let unused = capacity.saturating_sub(len);
        if unused < HEADER_LEN.max(capacity / 8) || self.file.set_len(len).is_err() {
            return capacity;
        }
        len
    }
}

fn control((frame, last_hcrc): (Vec<u8>, u32)) -> (Vec<u8>, Tally) {
    let tally = Tally { len: frame.len() as u64, frames: 1, last_hcrc, ..Tally::default() };
    (frame, tally)
}

/// Bytes that records leave free in any segment.
fn overhead(commit_align: u32) -> u64 {
    control_reserve(commit_align) + longest_pad(commit_align)
}

/// Longest body of a batch for which a file of at most this size is made, where so many bytes are carried along.
pub(crate) fn longest_body(file: u64, (carried, commit_align): (u64, u32), max_frame: u32) -> u64 {
    let file = file / HEADER_LEN * HEADER_LEN;
    let room = file.saturating_sub(HEADER_LEN + START_LEN + carried + overhead(commit_align));
    let (max, full) = (u64::from(max_frame), frame_len(max_frame.into()));
    room / full * max + (room % full).saturating_sub(frame_len(0))
}

/// A failed call that changed nothing durable.
pub(crate) fn refusal(error: &io::Error) -> Reject {
    if is_full(error) { Reject::NoSpace } else { Reject::Io { kind: error.kind() } }
}
