//! Frames in the making: records are encoded when they are taken in, headers and sums follow when they are written.
//!
//! Small records are copied into one buffer, long ones stay where they are. A batch lies in one frame, or in first,
//! middle and last frames of its own, so that it is read back whole or not at all. A frame holds either records
//! whose numbers somebody was told, or records for which somebody waits: the latter can be given up without the
//! former.

mod pack;
mod seal;

use std::ops::Range;

use bytes::Bytes;

pub(crate) use self::seal::{Tally, control_frame};
use crate::frame::{FRAME_HEADER_LEN, Frag, Kind, frame_len};
use crate::payload::{Payload, SHARED_FROM};
use crate::record::{put_uvarint, uvarint_len};

/// Bytes of the body that these records are encoded to.
#[inline]
pub(crate) fn body_len(records: &[Payload<'_>], stream: u32) -> u64 {
    let len = |record: &Payload<'_>| record.as_slice().len() as u64;
    let mark = if stream == 0 { 0 } else { uvarint_len(stream.into()) };
    records.iter().map(|record| mark + uvarint_len(len(record)) + len(record)).sum()
}

/// What records are that share a frame, but for the stream, which each record of a stream is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    /// Whether somebody was told that they are in the log.
    pub(crate) told: bool,
    /// 0 of none.
    pub(crate) stream: u32,
}

impl Class {
    #[inline]
    fn kind(self) -> Kind {
        if self.stream == 0 { Kind::DATA } else { Kind::STREAM_DATA }
    }

    #[inline]
    fn mark(self, bytes: &mut Vec<u8>) {
        if self.stream > 0 {
            put_uvarint(bytes, self.stream.into());
        }
    }
}

/// Bytes in the file of a batch in frames of its own; sharing a frame never takes more.
#[inline]
pub(crate) fn alone(body: u64, max_frame: u32) -> u64 {
    let max = u64::from(max_frame);
    let rest = body % max;
    body / max * frame_len(max) + if rest > 0 { frame_len(rest) } else { 0 }
}

/// A frame without its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Where its header will be, among the bytes.
    at: usize,
    /// The first of its long records.
    shared: usize,
    body: u64,
    /// Bytes of the records themselves.
    payload: u64,
    pub(crate) first_lsn: u64,
    pub(crate) records: u64,
    kind: Kind,
    frag: Frag,
    /// Whether somebody was told that its records are in the log.
    pub(crate) told: bool,
}

impl Span {
    /// LSN after its last record.
    #[inline]
    pub(crate) fn end_lsn(&self) -> u64 {
        self.first_lsn + self.records
    }

    #[inline]
    fn len(&self) -> u64 {
        frame_len(self.body)
    }

    /// Whether the next one belongs to the same batch.
    #[inline]
    fn goes_on(&self) -> bool {
        matches!(self.frag, Frag::First | Frag::Middle)
    }
}

/// Frames in the order of their numbers; the last may still be open.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Long records, each with the place among the bytes in front of which it belongs.
    shared: Vec<(usize, Bytes)>,
    spans: Vec<Span>,
    /// Those in front are done with.
    first: usize,
    is_open: bool,
    body: u64,
}

impl Frames {
    /// What is not done with.
    #[inline]
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans[self.first..]
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.spans().is_empty()
    }

    /// Bytes of all bodies, about what they take in memory.
    #[inline]
    pub(crate) fn body(&self) -> u64 {
        self.body
    }

    /// Body of the open frame, where it takes such records.
    #[inline]
    pub(crate) fn open_body(&self, class: Class) -> Option<u64> {
        let alike = |last: &&Span| last.told == class.told && last.kind == class.kind();
        let last = self.spans.last().filter(|last| self.is_open && alike(last))?;
        Some(last.body)
    }

    /// Ends the open frame; answers its length in the file.
    #[inline]
    pub(crate) fn close(&mut self) -> u64 {
        if !std::mem::take(&mut self.is_open) {
            return 0;
        }
        self.pad();
        self.spans.last().map_or(0, Span::len)
    }

    /// Adds records to the open frame, or to a new one.
    #[inline]
    pub(crate) fn add(&mut self, lsn: u64, class: Class, records: &mut [Payload<'_>]) {
        if !self.is_open {
            self.begin(class.kind(), Frag::Whole, lsn, class.told);
            self.is_open = true;
        }
        let (body, mut payload) = (body_len(records, class.stream), 0);
        for record in &mut *records {
            let len = record.as_slice().len() as u64;
            match record.take_shared() {
                Some(bytes) => {
                    class.mark(&mut self.bytes);
                    put_uvarint(&mut self.bytes, len);
                    self.shared.push((self.bytes.len(), bytes));
                }
                None => {
                    self.make_room(record.as_slice().len());
                    class.mark(&mut self.bytes);
                    put_uvarint(&mut self.bytes, len);
                    self.bytes.extend_from_slice(record.as_slice());
                }
            }
            payload += len;
        }
        self.body += body;
        if let Some(span) = self.spans.last_mut() {
            span.body += body;
            span.payload += payload;
            span.records += records.len() as u64;
        }
    }

    /// Cuts a batch that is longer than a frame into several.
    pub(crate) fn add_fragments(
        &mut self,
        (lsn, class): (u64, Class),
        records: &mut [Payload<'_>],
        max_frame: u32,
    ) {
        self.close();
        let first = self.spans.len();
        let payload = records.iter().map(|record| record.as_slice().len() as u64).sum();
        for record in &mut *records {
            let mut head = Vec::with_capacity(15);
            class.mark(&mut head);
            put_uvarint(&mut head, record.as_slice().len() as u64);
            let shared = record.take_shared();
            let bytes = shared.as_deref().unwrap_or(record.as_slice());
            for (mut piece, whole) in [(head.as_slice(), None), (bytes, shared.as_ref())] {
                while !piece.is_empty() {
                    let room = self.fragment_room(first, (lsn, class), max_frame);
                    let (now, rest) = piece.split_at(piece.len().min(room));
                    match whole.filter(|_| now.len() >= SHARED_FROM) {
                        Some(whole) => self.shared.push((self.bytes.len(), whole.slice_ref(now))),
                        None => {
                            self.make_room(now.len());
                            self.bytes.extend_from_slice(now);
                        }
                    }
                    self.body += now.len() as u64;
                    if let Some(span) = self.spans.last_mut() {
                        span.body += now.len() as u64;
                    }
                    piece = rest;
                }
            }
        }
        self.pad();
        if let Some(last) = self.spans.last_mut() {
            (last.frag, last.records, last.payload) = (Frag::Last, records.len() as u64, payload);
        }
    }

    /// Room in the fragment that is being filled, which may be a new one.
    fn fragment_room(&mut self, first: usize, (lsn, class): (u64, Class), max_frame: u32) -> usize {
        let begun = self.spans.get(first..).and_then(<[Span]>::last).map(|last| last.body);
        let mut room = u64::from(max_frame) - begun.unwrap_or(0);
        if begun.is_none() || room == 0 {
            let frag = if begun.is_none() { Frag::First } else { Frag::Middle };
            self.pad();
            self.begin(class.kind(), frag, lsn, class.told);
            room = max_frame.into();
        }
        usize::try_from(room).expect("it lies in memory")
    }

    /// A frame that says of numbers that no record will ever have them.
    pub(crate) fn burn(&mut self, numbers: Range<u64>) {
        self.close();
        let mut next = numbers.start;
        while next < numbers.end {
            let records = (numbers.end - next).min(u64::from(u32::MAX));
            self.begin(Kind::BURNED, Frag::Whole, next, true);
            if let Some(span) = self.spans.last_mut() {
                span.records = records;
            }
            next += records;
        }
    }

    /// Copies a frame of others, to the end.
    pub(crate) fn copy(&mut self, from: &Self, index: usize) {
        self.close();
        let index = from.first + index;
        let span = from.spans[index];
        let (bytes_end, shared_end) = from.end(index);
        let (at, first) = (self.bytes.len(), self.shared.len());
        let shared = from.shared[span.shared..shared_end].iter();
        self.shared.extend(shared.map(|(before, bytes)| (before - span.at + at, bytes.clone())));
        self.bytes.extend_from_slice(&from.bytes[span.at..bytes_end]);
        self.spans.push(Span { at, shared: first, ..span });
        self.body += span.body;
        self.pad();
    }

    /// Forgets everything but the memory, and of that more than `keep` bytes too.
    #[inline]
    pub(crate) fn clear(&mut self, keep: usize) {
        self.bytes.clear();
        if self.bytes.capacity() > 4 * keep {
            self.bytes.shrink_to(keep);
        }
        self.shared.clear();
        self.spans.clear();
        self.first = 0;
        self.is_open = false;
        self.body = 0;
    }

    /// Makes room for a record or a piece of one, its length, and a header. Large memory grows by an eighth and not to
    /// the double, so that what waits takes about what it may.
    #[inline]
    fn make_room(&mut self, len: usize) {
        const LARGE: usize = 64 << 10;
        let need = len + FRAME_HEADER_LEN + 23;
        if self.bytes.capacity() - self.bytes.len() < need && self.bytes.len() > LARGE {
            self.bytes.reserve_exact(need.max(self.bytes.len() / 8));
        }
    }

    #[inline]
    fn begin(&mut self, kind: Kind, frag: Frag, first_lsn: u64, told: bool) {
        let (at, shared) = (self.bytes.len(), self.shared.len());
        self.bytes.extend_from_slice(&[0; FRAME_HEADER_LEN]);
        self.spans.push(Span { at, shared, body: 0, payload: 0, first_lsn, records: 0, kind, frag, told });
    }

    /// Fills the last frame up to where the next one starts.
    #[inline]
    fn pad(&mut self) {
        let Some(last) = self.spans.last() else { return };
        let shared: u64 = self.shared[last.shared..].iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let len = usize::try_from(last.len() - shared).expect("it lies in memory");
        self.bytes.resize(last.at + len, 0);
    }

    /// Where a frame's bytes and its long records end.
    #[inline]
    fn end(&self, index: usize) -> (usize, usize) {
        self.spans.get(index + 1).map_or((self.bytes.len(), self.shared.len()), |next| (next.at, next.shared))
    }
}

#[cfg(test)]
mod tests;
