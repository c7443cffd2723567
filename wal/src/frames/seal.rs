//! Frames on their way to a segment: how many fit, their headers and sums, and the pieces of one write.

use std::io::IoSlice;

use super::{Frames, Span};
use crate::format::{Digest, HEADER_LEN, put, u32_at};
use crate::frame::{FRAME_HEADER_LEN, Frag, FrameHeader, Kind};

/// What a write adds to a segment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Bytes in the file.
    pub(crate) len: u64,
    pub(crate) frames: u64,
    /// Bytes of the bodies of data frames.
    pub(crate) data_bytes: u64,
    pub(crate) records: u64,
    /// Bytes of the records themselves.
    pub(crate) payload: u64,
    pub(crate) last_hcrc: u32,
}

impl Tally {
    /// Both, one after the other.
    #[inline]
    pub(crate) fn then(self, next: Self) -> Self {
        Self {
            len: self.len + next.len,
            frames: self.frames + next.frames,
            data_bytes: self.data_bytes + next.data_bytes,
            records: self.records + next.records,
            payload: self.payload + next.payload,
            last_hcrc: next.last_hcrc,
        }
    }
}

impl Frames {
    /// Length in the file of the first frame, or of all fragments of the first batch, if its number is below `upto`.
    #[inline]
    pub(crate) fn first_len(&self, upto: u64) -> Option<u64> {
        let spans = self.spans();
        let first = spans.first().filter(|first| first.first_lsn < upto)?;
        Some(if first.goes_on() { spans[..batch(spans)].iter().map(Span::len).sum() } else { first.len() })
    }

    /// How many frames with numbers below `upto` fit into so many bytes of file; at least the first batch is
    /// counted.
    #[inline]
    pub(crate) fn fitting(&self, mut room: u64, upto: u64) -> usize {
        let spans = self.spans();
        let mut count = 0;
        while count < spans.len() && spans[count].first_lsn < upto {
            let next = count + batch(&spans[count..]);
            let len = spans[count..next].iter().map(Span::len).sum();
            match room.checked_sub(len) {
                Some(left) => room = left,
                None if count > 0 => break,
                None => room = 0,
            }
            count = next;
        }
        count
    }

    /// Gives the first `count` frames their headers, for a segment that is synced up to byte `synced`.
    #[inline]
    pub(crate) fn seal(&mut self, count: usize, digest: &Digest, synced: u64) -> Tally {
        let mut tally = Tally::default();
        for index in self.first..self.first + count {
            let span = self.spans[index];
            let header = FrameHeader {
                body_len: u32::try_from(span.body).expect("a body is at most max_frame"),
                first_lsn: span.first_lsn,
                records: u32::try_from(span.records).expect("a record takes a byte of a batch of 256 MiB"),
                kind: span.kind,
                codec: 0,
                frag: span.frag,
                synced8: synced8(synced),
                body_crc: self.sum(index, digest),
            };
            let head = header.encode(digest);
            put(&mut self.bytes, span.at, &head);
            tally.len += span.len();
            tally.frames += 1;
            let has_records = matches!(span.kind, Kind::DATA | Kind::STREAM_DATA);
            tally.records += if has_records { span.records } else { 0 };
            tally.payload += span.payload;
            tally.data_bytes += if has_records { span.body } else { 0 };
            tally.last_hcrc = u32_at(&head, 0);
        }
        tally
    }

    /// The first `count` frames, where they lie in one piece.
    #[inline]
    pub(crate) fn flat(&self, count: usize) -> Option<&[u8]> {
        let (from, to) = self.pieces(count);
        (from.1 == to.1).then(|| &self.bytes[from.0..to.0])
    }

    /// The first `count` frames as pieces for one write, behind what is there.
    pub(crate) fn slices<'a>(&'a self, count: usize, slices: &mut Vec<IoSlice<'a>>) {
        let (from, to) = self.pieces(count);
        let mut at = from.0;
        for (before, bytes) in &self.shared[from.1..to.1] {
            slices.extend([IoSlice::new(&self.bytes[at..*before]), IoSlice::new(bytes)]);
            at = *before;
        }
        slices.push(IoSlice::new(&self.bytes[at..to.0]));
    }

    /// The first `count` frames are done with; answers the LSN after them.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) -> Option<u64> {
        self.first += count;
        self.first.checked_sub(1).and_then(|last| self.spans.get(last)).map(Span::end_lsn)
    }

    /// LSN after the first `count` frames.
    #[inline]
    pub(crate) fn end_lsn(&self, count: usize) -> Option<u64> {
        count.checked_sub(1).and_then(|last| self.spans().get(last)).map(Span::end_lsn)
    }

    #[inline]
    fn pieces(&self, count: usize) -> ((usize, usize), (usize, usize)) {
        let start = self.spans.get(self.first).map_or((0, 0), |span| (span.at, span.shared));
        let end = if count == 0 { start } else { self.end(self.first + count - 1) };
        (start, end)
    }

    #[inline]
    fn sum(&self, index: usize, digest: &Digest) -> u32 {
        let mut sum = digest.start();
        self.pieces_of(index, |piece| sum = digest.update(sum, piece));
        sum
    }

    /// Calls for each piece of a body.
    #[inline]
    pub(super) fn pieces_of(&self, index: usize, mut each: impl FnMut(&[u8])) {
        let span = &self.spans[index];
        let mut at = span.at + FRAME_HEADER_LEN;
        let mut left = usize::try_from(span.body).expect("it lies in memory");
        for (before, bytes) in &self.shared[span.shared..self.end(index).1] {
            let run = &self.bytes[at..*before];
            each(run);
            each(bytes);
            left -= run.len() + bytes.len();
            at = *before;
        }
        each(&self.bytes[at..at + left]);
    }
}

/// How many frames the first batch has.
#[inline]
fn batch(spans: &[Span]) -> usize {
    1 + spans.iter().take_while(|span| span.goes_on()).count()
}

#[inline]
pub(super) fn synced8(synced: u64) -> u32 {
    let synced = if cfg!(wal_mutant = "zero_watermark") { HEADER_LEN } else { synced };
    u32::try_from(synced / 8).expect("a segment is at most 16 GiB")
}

/// A frame that carries no records, and its header's sum.
pub(crate) fn control_frame(
    (kind, body): (Kind, &[u8]),
    next_lsn: u64,
    digest: &Digest,
    synced: u64,
) -> (Vec<u8>, u32) {
    let header = FrameHeader {
        body_len: u32::try_from(body.len()).expect("control bodies are short"),
        first_lsn: next_lsn,
        records: 0,
        kind,
        codec: 0,
        frag: Frag::Whole,
        synced8: synced8(synced),
        body_crc: digest.sum(body),
    };
    let head = header.encode(digest);
    let mut frame = [&head[..], body].concat();
    frame.resize(frame.len().next_multiple_of(8), 0);
    (frame, u32_at(&head, 0))
}
