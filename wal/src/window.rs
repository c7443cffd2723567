//! A stretch of a segment file in memory, and the frames in it that are whole.

use std::io;

use crate::format::{ALIGN, Digest, MAX_FRAME};
use crate::frame::{FRAME_HEADER_LEN, FrameHeader};
use crate::fs::{File, read_full};

/// A stretch of a file in memory; what is asked for in order is read in large pieces.
#[derive(Debug, Default)]
pub(crate) struct Window {
    buf: Vec<u8>,
    start: u64,
    /// How much of `buf` was read.
    valid: usize,
    /// Bytes of bodies that were summed up.
    pub(crate) summed: u64,
}

/// What is asked for zeros at a time.
pub(crate) const PAGE: usize = 4096;
pub(crate) const WINDOW: usize = 64 << 10;
pub(crate) static ZEROS: [u8; WINDOW] = [0; WINDOW];

impl Window {
    /// Forgets what was read: it may have changed.
    pub(crate) fn clear(&mut self) {
        self.valid = 0;
    }

    /// The bytes `at..at + len`, or fewer where the file, of `size` bytes, ends.
    fn bytes<R: File>(&mut self, file: &R, (at, size): (u64, u64), len: usize) -> io::Result<&[u8]> {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let held = skip.filter(|skip| self.valid >= *skip && self.valid - skip >= len);
        let skip = match held {
            Some(skip) => skip,
            None => {
                let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
                let want = len.max(WINDOW.min(left));
                if self.buf.len() < want {
                    self.buf = vec![0; want];
                }
                self.valid = 0;
                self.start = at;
                self.valid = read_full(file, self.buf.get_mut(..want).unwrap_or_default(), at)?;
                0
            }
        };
        let rest = self.buf.get(skip..self.valid).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }

    /// Whether there is nothing but zeros in the page at `at`.
    pub(crate) fn is_blank<R: File>(&mut self, file: &R, (at, size): (u64, u64)) -> io::Result<bool> {
        let page = self.bytes(file, (at, size), PAGE)?;
        Ok(ZEROS.get(..page.len()) == Some(page))
    }

    /// The header of the frame at `at`, if there is one.
    pub(crate) fn header<R: File>(
        &mut self,
        file: &R,
        (at, size): (u64, u64),
        digest: &Digest,
    ) -> io::Result<Option<FrameHeader>> {
        let head = self.bytes(file, (at, size), FRAME_HEADER_LEN)?;
        Ok(head.first_chunk().and_then(|head| FrameHeader::decode(head, digest)))
    }

    /// The frame at `at`, if it is whole; `size` is the length of the file.
    pub(crate) fn frame<R: File>(
        &mut self,
        file: &R,
        (at, size): (u64, u64),
        digest: &Digest,
    ) -> io::Result<Option<(FrameHeader, u32, &[u8])>> {
        let head = self.bytes(file, (at, size), FRAME_HEADER_LEN)?;
        let Some(head) = head.first_chunk::<FRAME_HEADER_LEN>() else { return Ok(None) };
        let Some(header) = FrameHeader::decode(head, digest) else { return Ok(None) };
        let hcrc = crate::format::u32_at(head, 0);
        // The length is the writer's word by now, and still no reason to allocate more than there is to read.
        let inside = at + header.frame_len() <= size.next_multiple_of(ALIGN);
        if !inside || header.body_len > MAX_FRAME {
            return Ok(None);
        }
        let len = FRAME_HEADER_LEN + usize::try_from(header.body_len).expect("at most 256 MiB");
        self.summed += u64::from(header.body_len);
        let Some(body) = self.bytes(file, (at, size), len)?.get(FRAME_HEADER_LEN..len) else {
            return Ok(None);
        };
        if digest.sum(body) != header.body_crc {
            return Ok(None);
        }
        Ok(Some((header, hcrc, body)))
    }
}
