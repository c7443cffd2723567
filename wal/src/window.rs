//! A stretch of a segment file in memory, and the frames in it that are whole.
//!
//! Every byte is read from the file once, in large pieces, into memory that is used again: parts of it may be lent out
//! as slices, and only while some are kept is other memory taken, and filled with zeros, in its place.

use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::format::{ALIGN, Digest, MAX_FRAME};
use crate::frame::{FRAME_HEADER_LEN, FrameHeader};
use crate::fs::{File, read_full};

/// A stretch of a file in memory; what is asked for in order is read in large pieces.
#[derive(Debug)]
pub(crate) struct Window {
    buf: Bytes,
    /// Where in the file it begins.
    start: u64,
    /// How much of `buf` was read.
    valid: usize,
    /// How much the next read asks for, where no frame is longer.
    ahead: usize,
    /// Bytes of bodies that were summed up.
    pub(crate) summed: u64,
}

/// What is asked for zeros at a time.
pub(crate) const PAGE: usize = 4096;
/// Most that is read ahead; a processor's cache keeps it until it is looked at.
pub(crate) const WINDOW: usize = 64 << 10;
pub(crate) static ZEROS: [u8; WINDOW] = [0; WINDOW];
/// What is read first where little may have come.
const LEAST: usize = 4 << 10;

/// A frame, the sum of its header, and where its body lies in the window.
pub(crate) type Located = (FrameHeader, u32, Range<usize>);

/// Memory of at least `len` bytes: that of `lent` where nobody holds a slice of it, and zeros otherwise.
pub(crate) fn again(lent: &mut Bytes, len: usize) -> BytesMut {
    match std::mem::take(lent).try_into_mut() {
        Ok(own) if own.len() >= len => own,
        other => {
            drop(other);
            BytesMut::zeroed(len)
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { buf: Bytes::new(), start: 0, valid: 0, ahead: WINDOW, summed: 0 }
    }
}

impl Window {
    /// Forgets what was read: it is of another file.
    pub(crate) fn clear(&mut self) {
        self.valid = 0;
    }

    /// Forgets what was read: what lay ahead of the end has changed.
    pub(crate) fn forget_ahead(&mut self) {
        self.valid = 0;
        self.ahead = LEAST;
    }

    /// What was read.
    #[inline]
    pub(crate) fn buf(&self) -> &Bytes {
        &self.buf
    }

    /// Whether all of the frame at `at` is in memory, if it is one, and it does not end the segment.
    #[cfg(feature = "tokio")]
    pub(crate) fn holds_frame(&self, at: u64) -> bool {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let held = skip.and_then(|skip| self.buf.get(skip..self.valid)).unwrap_or_default();
        let body_len = usize::try_from(crate::format::u32_at(held, 4)).unwrap_or(usize::MAX);
        let goes_on = held.get(20) != Some(&crate::frame::Kind::SEAL.0);
        goes_on && held.len() >= FRAME_HEADER_LEN && held.len() - FRAME_HEADER_LEN >= body_len
    }

    /// Where in the window the bytes `at..at + len` lie, or fewer where the file, of `size` bytes, ends.
    #[inline]
    fn bytes<R: File>(&mut self, file: &R, (at, size): (u64, u64), len: usize) -> io::Result<Range<usize>> {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let skip = skip.filter(|skip| *skip <= self.valid);
        match skip {
            Some(skip) if self.valid - skip >= len => Ok(skip..skip + len),
            _ => {
                let kept = skip.map_or(0..0, |skip| skip..self.valid);
                self.fill(file, (at, size), len, kept)?;
                Ok(0..len.min(self.valid))
            }
        }
    }

    /// Reads from `at` on, of which a part is in the window already.
    fn fill<R: File>(
        &mut self,
        file: &R,
        (at, size): (u64, u64),
        len: usize,
        kept: Range<usize>,
    ) -> io::Result<()> {
        let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
        let want = len.max(self.ahead.min(left));
        let done = kept.len();
        let mut buf = match std::mem::take(&mut self.buf).try_into_mut() {
            Ok(mut buf) if buf.len() >= want => {
                buf.copy_within(kept, 0);
                buf
            }
            other => {
                let mut buf = BytesMut::zeroed(want.max(WINDOW));
                let old = other.as_ref().map_or_else(|lent| &lent[..], |own| &own[..]);
                buf[..done].copy_from_slice(&old[kept]);
                buf
            }
        };
        let read = read_full(file, &mut buf[done..want], at + done as u64);
        self.buf = buf.freeze();
        self.start = at;
        self.valid = done;
        self.valid += read?;
        self.ahead = (2 * self.ahead).min(WINDOW);
        Ok(())
    }

    /// Whether there is nothing but zeros in the page at `at`.
    pub(crate) fn is_blank<R: File>(&mut self, file: &R, (at, size): (u64, u64)) -> io::Result<bool> {
        let page = self.bytes(file, (at, size), PAGE)?;
        Ok(ZEROS.get(..page.len()) == self.buf.get(page))
    }

    /// The header of the frame at `at`, if there is one.
    pub(crate) fn header<R: File>(
        &mut self,
        file: &R,
        (at, size): (u64, u64),
        digest: &Digest,
    ) -> io::Result<Option<FrameHeader>> {
        let head = self.bytes(file, (at, size), FRAME_HEADER_LEN)?;
        let head = self.buf.get(head).and_then(|head| head.first_chunk());
        Ok(head.and_then(|head| FrameHeader::decode(head, digest)))
    }

    /// The frame at `at`, if it is whole; `size` is the length of the file.
    pub(crate) fn frame<R: File>(
        &mut self,
        file: &R,
        (at, size): (u64, u64),
        digest: &Digest,
    ) -> io::Result<Option<(FrameHeader, u32, &[u8])>> {
        let located = self.locate(file, (at, size), digest)?;
        Ok(located.map(|(header, hcrc, body)| (header, hcrc, self.buf.get(body).unwrap_or_default())))
    }

    /// As [`frame`](Self::frame); says where its body lies.
    pub(crate) fn locate<R: File>(
        &mut self,
        file: &R,
        (at, size): (u64, u64),
        digest: &Digest,
    ) -> io::Result<Option<Located>> {
        let head = self.bytes(file, (at, size), FRAME_HEADER_LEN)?;
        let Some(head) = self.buf.get(head).and_then(|head| head.first_chunk::<FRAME_HEADER_LEN>()) else {
            return Ok(None);
        };
        let Some(header) = FrameHeader::decode(head, digest) else { return Ok(None) };
        let hcrc = crate::format::u32_at(head, 0);
        // The length is the writer's word by now, and still no reason to allocate more than there is to read.
        let inside = at + header.frame_len() <= size.next_multiple_of(ALIGN);
        if !inside || header.body_len > MAX_FRAME {
            return Ok(None);
        }
        let len = FRAME_HEADER_LEN + usize::try_from(header.body_len).expect("at most 256 MiB");
        self.summed += u64::from(header.body_len);
        let whole = self.bytes(file, (at, size), len)?;
        let body = whole.start + FRAME_HEADER_LEN..whole.end;
        if whole.len() < len
            || self.buf.get(body.clone()).map(|body| digest.sum(body)) != Some(header.body_crc)
        {
            return Ok(None);
        }
        Ok(Some((header, hcrc, body)))
    }
}
