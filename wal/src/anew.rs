//! Making a segment anew of what is whole of it: groups stay where they were, and burned numbers fill the holes.

use std::io::{self, IoSlice};
use std::path::PathBuf;

use crate::carry::Carry;
use crate::confirm::each_frame;
use crate::control::{Seal, SegmentStart};
use crate::directory::spare_path;
use crate::format::{Digest, HEADER_LEN, Header};
use crate::frame::{FRAME_HEADER_LEN, Frag, FrameHeader, Kind, frame_len};
use crate::fs::{File, Fs, write_all, write_zeros};
use crate::scan::Walk;
use crate::survey::Survey;
use crate::window::ZEROS;

/// A segment file that is being made, under a spare name.
pub(crate) struct Anew<W: File> {
    file: W,
    pub(crate) path: PathBuf,
    digest: Digest,
    at: u64,
    lsn: u64,
    synced: u64,
    frames: u64,
    data_bytes: u64,
    /// Whether the last frame says that the log was closed.
    closed: bool,
}

/// Longest body that fills a hole.
const FILL: u64 = 64 << 10;

impl<F: Fs> Survey<'_, F> {
    /// Makes a segment; what it had before under this name is gone, as is what was made of it where that fails.
    pub(crate) fn anew(
        &self,
        header: &Header,
        fill: impl FnOnce(&mut Anew<F::File>) -> io::Result<()>,
    ) -> io::Result<Anew<F::File>> {
        let made = self.begin(header).and_then(|mut anew| fill(&mut anew).map(|()| anew));
        if made.is_err() {
            // The first error is the one to tell.
            let _ = self.fs.remove(&spare_path(self.dir, header.segment));
        }
        made
    }

    fn begin(&self, header: &Header) -> io::Result<Anew<F::File>> {
        let path = spare_path(self.dir, header.segment);
        match self.fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.fs.create_new(&path)?;
        write_zeros(&file, 0, HEADER_LEN)?;
        write_all(&file, &mut [IoSlice::new(&header.encode())], 0)?;
        Ok(Anew {
            file,
            path,
            digest: header.digest(),
            at: HEADER_LEN,
            lsn: 0,
            synced: HEADER_LEN,
            frames: 0,
            data_bytes: 0,
            closed: false,
        })
    }
}

impl<W: File> Anew<W> {
    /// Zeros up to `len`, and all of it on the media; still under its spare name.
    pub(crate) fn finish(&self, len: u64) -> io::Result<()> {
        if self.at < len {
            self.file.allocate(len)?;
            write_zeros(&self.file, self.at, len)?;
        }
        self.file.sync_all()
    }

    pub(crate) fn start(&mut self, start: &SegmentStart) -> io::Result<()> {
        self.lsn = start.base_lsn;
        self.frame(Kind::SEGMENT_START, 0, &start.encode())
    }

    /// A stretch as it was, without its seal, behind what fills the hole in front of it.
    pub(crate) fn stretch(&mut self, from: &impl File, size: u64, walk: &Walk) -> io::Result<()> {
        if walk.start.is_none() {
            self.fill(walk.begin, walk.first_lsn)?;
        }
        let end = if walk.seal.is_some() { walk.last_at } else { walk.end };
        let file = &self.file;
        each_frame(from, &self.digest, (walk.begin..end, size), |frames, at| {
            write_all(file, &mut [IoSlice::new(frames)], at)
        })?;
        self.frames += walk.frames - u64::from(walk.seal.is_some());
        self.data_bytes += walk.data_bytes;
        (self.at, self.lsn, self.synced, self.closed) = (end, walk.next_lsn, walk.synced, walk.clean);
        Ok(())
    }

    /// Fills the bytes up to `to` and burns the numbers up to `lsn`.
    fn fill(&mut self, to: u64, lsn: u64) -> io::Result<()> {
        while self.at < to {
            let (left, header) = (to - self.at, FRAME_HEADER_LEN as u64);
            // What is left for the last frame must take a header.
            let len = if left > FILL + header { FILL } else { left };
            let burned = lsn.saturating_sub(self.lsn).min(u32::MAX.into());
            let body = usize::try_from(len.saturating_sub(header)).unwrap_or(0);
            let kind = if burned > 0 { Kind::BURNED } else { Kind::PAD };
            self.frame(
                kind,
                u32::try_from(burned).unwrap_or(u32::MAX),
                ZEROS.get(..body).unwrap_or_default(),
            )?;
        }
        if self.at == to && self.lsn == lsn { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Burns the numbers up to `lsn`, in as little space as it takes.
    pub(crate) fn burn(&mut self, lsn: u64) -> io::Result<()> {
        while self.lsn < lsn {
            let burned = u32::try_from(lsn - self.lsn).unwrap_or(u32::MAX);
            self.frame(Kind::BURNED, burned, &[])?;
        }
        Ok(())
    }

    pub(crate) fn low_watermark(&mut self, low: u64) -> io::Result<()> {
        self.frame(Kind::LOW_WATERMARK, 0, &low.to_le_bytes())
    }

    /// What is handed on, as the last word of each.
    pub(crate) fn copies(&mut self, copies: &Carry) -> io::Result<()> {
        copies.frames().try_for_each(|(kind, body)| self.frame(kind, 0, body))
    }

    /// Fills what is there up to where a later write touches no block of it, where groups are aligned. Behind a mark
    /// that the log was closed whoever goes on does so.
    pub(crate) fn pad(&mut self, align: u32) -> io::Result<()> {
        let (head, align) = (FRAME_HEADER_LEN as u64, u64::from(align));
        if align == 0 || self.closed || self.at.is_multiple_of(align) {
            return Ok(());
        }
        let body = (self.at + head).next_multiple_of(align) - self.at - head;
        self.frame(Kind::PAD, 0, &vec![0; usize::try_from(body).unwrap_or(0)])
    }

    /// The seal, before a segment with this number and salt.
    pub(crate) fn seal(&mut self, next_segment: u64, next_salt: u64) -> io::Result<()> {
        let seal = Seal {
            end_lsn: self.lsn,
            frames: self.frames,
            data_bytes: self.data_bytes,
            next_segment,
            next_salt,
            flags: Seal::SALVAGED,
        };
        self.frame(Kind::SEAL, 0, &seal.encode())
    }

    fn frame(&mut self, kind: Kind, records: u32, body: &[u8]) -> io::Result<()> {
        let header = FrameHeader {
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX),
            first_lsn: self.lsn,
            records,
            kind,
            codec: 0,
            frag: Frag::Whole,
            synced8: u32::try_from(self.synced / 8).unwrap_or(u32::MAX),
            body_crc: self.digest.sum(body),
        };
        let len = frame_len(body.len() as u64);
        let padding = usize::try_from(len).unwrap_or(0) - FRAME_HEADER_LEN - body.len();
        let head = header.encode(&self.digest);
        let mut parts = [&head[..], body, ZEROS.get(..padding).unwrap_or_default()].map(IoSlice::new);
        write_all(&self.file, &mut parts, self.at)?;
        self.at += len;
        self.lsn += u64::from(records);
        self.frames += 1;
        self.closed = false;
        Ok(())
    }
}
