//! The segment being written: its file, where it ends, how much of it is synced, and the frames that go there.
//!
//! Everything before `synced` is on the media, everything before `end` in the file; nothing of this log is at or
//! behind it. So a frame says what was synced when it was built, and a failed write leaves no byte under a number
//! that the next one will use (I4, I6).

mod room;
mod write;

use std::io::IoSlice;

pub(crate) use self::room::{SEAL_LEN, START_LEN, control_reserve, longest_body, overhead};
use crate::carry::Carry;
use crate::control::{Seal, SegmentStart};
use crate::error::AppendError;
use crate::format::{Digest, Features, HEADER_LEN, Header};
use crate::frame::Kind;
use crate::frames::{Frames, Tally, control_frame};
use crate::fs::Fs;
use crate::home::Home;
use crate::options::Compression;

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
        self.control(home, place, &[(Kind::SEAL, &seal.encode())])?;
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
            let put = self.put(home, slices, (before.then(data), place.next_lsn));
            packer.clear(home.options.max_frame as usize);
            return put.map(|()| data);
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

    /// Writes frames without records.
    pub(crate) fn control(
        &mut self,
        home: &Home<F>,
        place: Place,
        frames: &[(Kind, &[u8])],
    ) -> Result<(), AppendError> {
        let (mut bytes, mut tally) = self.start(place);
        for frame in frames {
            let (frame, more) = control(control_frame(*frame, place.next_lsn, &self.digest, self.synced));
            bytes.extend_from_slice(&frame);
            tally = tally.then(more);
        }
        self.put(home, &mut [IoSlice::new(&bytes)], (tally, place.next_lsn))
    }
}

fn control((frame, last_hcrc): (Vec<u8>, u32)) -> (Vec<u8>, Tally) {
    let tally = Tally { len: frame.len() as u64, frames: 1, last_hcrc, ..Tally::default() };
    (frame, tally)
}
