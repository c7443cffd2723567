//! A group of requests as frames: the pieces of one vectored write.
//!
//! Small records are copied into one buffer, large ones stay where they are. A batch lies in one frame, or in
//! first, middle and last frames of its own, so that it is read back whole or not at all.

use std::io::IoSlice;
use std::ops::Range;

use bytes::Bytes;

use crate::format::Digest;
use crate::frame::{FRAME_HEADER_LEN, Frag, FrameHeader, Kind, frame_len};
use crate::record::{put_uvarint, uvarint_len};

/// Records that stand or fall together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    records: Vec<Bytes>,
    body: u64,
}

impl Batch {
    pub(crate) fn new(records: Vec<Bytes>) -> Self {
        let body = records.iter().map(|r| uvarint_len(r.len() as u64) + r.len() as u64).sum();
        Self { records, body }
    }

    /// Records in the batch.
    pub(crate) fn count(&self) -> u64 {
        self.records.len() as u64
    }

    /// Bytes of its encoded body.
    pub(crate) fn body(&self) -> u64 {
        self.body
    }

    /// Bytes of the records themselves.
    pub(crate) fn bytes(&self) -> u64 {
        self.records.iter().map(|record| record.len() as u64).sum()
    }

    /// Bytes in the file when it has frames of its own; sharing a frame never takes more.
    pub(crate) fn alone(&self, max_frame: u32) -> u64 {
        let max = u64::from(max_frame);
        let rest = self.body % max;
        self.body / max * frame_len(max) + if rest > 0 { frame_len(rest) } else { 0 }
    }
}

/// Frames ready to be written one after the other.
#[derive(Debug, Default)]
pub(crate) struct Group {
    scratch: Vec<u8>,
    pieces: Vec<Piece>,
    /// Bytes in the file.
    pub(crate) len: u64,
    pub(crate) frames: u64,
    /// Bytes of the bodies of data frames.
    pub(crate) data_bytes: u64,
    pub(crate) last_hcrc: u32,
}

#[derive(Debug)]
enum Piece {
    Scratch(Range<usize>),
    Shared(Bytes),
}

impl Group {
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let bytes = self.pieces.iter().map(|piece| match piece {
            Piece::Scratch(range) => &self.scratch[range.clone()],
            Piece::Shared(bytes) => bytes,
        });
        bytes.map(IoSlice::new).collect()
    }
}

/// Records from this size on are not copied.
const SHARED_FROM: usize = 16 << 10;

/// Lays frames out for one segment and one write.
#[derive(Debug)]
pub(crate) struct Encoder {
    group: Group,
    digest: Digest,
    synced8: u32,
    max_frame: u32,
    /// Start of the scratch bytes that are in no piece yet.
    run: usize,
    /// Start of the scratch bytes that are in no checksum yet.
    unsummed: usize,
    sum: u32,
    body: u64,
}

/// What a frame's header says besides lengths and sums.
#[derive(Clone, Copy)]
struct Label {
    kind: Kind,
    frag: Frag,
    first_lsn: u64,
    records: u64,
}

impl Encoder {
    /// Frames for a segment that is synced up to byte `synced`.
    pub(crate) fn new(digest: Digest, synced: u64, max_frame: u32) -> Self {
        let synced8 = u32::try_from(synced / 8).expect("a segment is at most 16 GiB");
        let group = Group::default();
        Self { group, digest, synced8, max_frame, run: 0, unsummed: 0, sum: 0, body: 0 }
    }

    /// One frame that carries no records.
    pub(crate) fn control(&mut self, kind: Kind, next_lsn: u64, body: &[u8]) {
        self.frame(Label { kind, frag: Frag::Whole, first_lsn: next_lsn, records: 0 }, |frame| {
            frame.copy(body)
        });
    }

    /// The batches, numbered from `lsn`, in as few frames as they fit.
    pub(crate) fn batches<'a>(&mut self, mut lsn: u64, batches: impl IntoIterator<Item = &'a Batch>) {
        let mut shared: Vec<&Batch> = Vec::new();
        let (mut body, mut count) = (0, 0);
        for batch in batches {
            let fits = body + batch.body <= u64::from(self.max_frame);
            if !fits || count + batch.count() > u64::from(u32::MAX) {
                self.whole(lsn, count, &shared);
                shared.clear();
                lsn += count;
                (body, count) = (0, 0);
            }
            if batch.body > u64::from(self.max_frame) {
                self.fragments(lsn, batch);
                lsn += batch.count();
            } else {
                shared.push(batch);
                body += batch.body;
                count += batch.count();
            }
        }
        self.whole(lsn, count, &shared);
    }

    pub(crate) fn finish(mut self) -> Group {
        self.close_run();
        self.group
    }

    fn whole(&mut self, lsn: u64, records: u64, batches: &[&Batch]) {
        if batches.is_empty() {
            return;
        }
        self.frame(Label { kind: Kind::DATA, frag: Frag::Whole, first_lsn: lsn, records }, |frame| {
            for record in batches.iter().flat_map(|batch| &batch.records) {
                put_uvarint(&mut frame.group.scratch, record.len() as u64);
                frame.add(record);
            }
        });
    }

    fn fragments(&mut self, first_lsn: u64, batch: &Batch) {
        let mut left = batch.body;
        let mut rope = batch.records.iter().flat_map(|record| {
            let mut head = Vec::new();
            put_uvarint(&mut head, record.len() as u64);
            [Bytes::from(head), record.clone()]
        });
        let mut piece = Bytes::new();
        while left > 0 {
            let mut room = u64::from(self.max_frame).min(left);
            let frag = match (left == batch.body, left == room) {
                (true, _) => Frag::First,
                (false, true) => Frag::Last,
                (false, false) => Frag::Middle,
            };
            left -= room;
            let records = if frag == Frag::Last { batch.count() } else { 0 };
            self.frame(Label { kind: Kind::DATA, frag, first_lsn, records }, |frame| {
                while room > 0 {
                    if piece.is_empty() {
                        piece = rope.next().expect("the pieces add up to the body");
                    }
                    let n = piece.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                    frame.add(&piece.split_to(n));
                    room -= n as u64;
                }
            });
        }
    }

    fn frame(&mut self, label: Label, fill: impl FnOnce(&mut Self)) {
        let head = self.group.scratch.len();
        self.group.scratch.extend([0; FRAME_HEADER_LEN]);
        self.sum = self.digest.start();
        self.unsummed = self.group.scratch.len();
        self.body = 0;
        fill(self);
        self.sum_scratch();
        let header = FrameHeader {
            body_len: u32::try_from(self.body).expect("a body is at most max_frame, or a control body"),
            first_lsn: label.first_lsn,
            records: u32::try_from(label.records).expect("a record takes a byte, a batch is at most 256 MiB"),
            kind: label.kind,
            codec: 0,
            frag: label.frag,
            synced8: self.synced8,
            body_crc: self.sum,
        };
        let bytes = header.encode(&self.digest);
        self.group.scratch[head..head + FRAME_HEADER_LEN].copy_from_slice(&bytes);
        let padding = header.frame_len() - FRAME_HEADER_LEN as u64 - self.body;
        self.group.scratch.extend((0..padding).map(|_| 0));
        self.group.len += header.frame_len();
        self.group.frames += 1;
        self.group.last_hcrc = crate::format::u32_at(&bytes, 0);
        if label.kind == Kind::DATA {
            self.group.data_bytes += self.body;
        }
    }

    fn add(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_FROM {
            self.copy(bytes);
            return;
        }
        self.sum_scratch();
        self.sum = self.digest.update(self.sum, bytes);
        self.body += bytes.len() as u64;
        self.close_run();
        self.group.pieces.push(Piece::Shared(bytes.clone()));
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.group.scratch.extend_from_slice(bytes);
    }

    fn sum_scratch(&mut self) {
        let fresh = &self.group.scratch[self.unsummed..];
        self.sum = self.digest.update(self.sum, fresh);
        self.body += fresh.len() as u64;
        self.unsummed = self.group.scratch.len();
    }

    fn close_run(&mut self) {
        let end = self.group.scratch.len();
        if self.run < end {
            self.group.pieces.push(Piece::Scratch(self.run..end));
        }
        self.run = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Checksum;
    use crate::record::{Records, count_records};

    const DIGEST: fn() -> Digest = || Digest::new(Checksum::Crc32, 5);

    fn flat(group: &Group) -> Vec<u8> {
        group.slices().iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// The frames of a group, each checked, and its body.
    fn parse(mut bytes: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let header = FrameHeader::decode(bytes.first_chunk().unwrap(), &DIGEST()).unwrap();
            let body = &bytes[FRAME_HEADER_LEN..][..header.body_len as usize];
            assert_eq!(DIGEST().sum(body), header.body_crc);
            frames.push((header, body.to_vec()));
            bytes = &bytes[usize::try_from(header.frame_len()).unwrap()..];
        }
        frames
    }

    fn batch(lens: &[usize]) -> Batch {
        Batch::new(lens.iter().map(|&len| Bytes::from(vec![len.to_le_bytes()[0]; len])).collect())
    }

    #[test]
    fn many_batches_share_one_frame() {
        let mut encoder = Encoder::new(DIGEST(), 4096, 1 << 20);
        let batches = [batch(&[1, 2]), batch(&[0]), batch(&[20_000, 3])];
        encoder.batches(7, &batches);
        let group = encoder.finish();
        let frames = parse(&flat(&group));
        assert_eq!(frames.len(), 1);
        assert_eq!((frames[0].0.first_lsn, frames[0].0.records, frames[0].0.synced8), (7, 5, 512));
        assert_eq!(count_records(Kind::DATA, &frames[0].1), Some(5));
        assert!(group.len <= batches.iter().map(|b| b.alone(1 << 20)).sum());
        assert_eq!(group.slices().len(), 3, "the large record is not copied");
    }

    #[test]
    fn a_long_batch_becomes_fragments_of_full_frames() {
        let mut encoder = Encoder::new(DIGEST(), 4096, 512);
        let batches = [batch(&[10]), batch(&[700, 600]), batch(&[11])];
        encoder.batches(1, &batches);
        let group = encoder.finish();
        let frames = parse(&flat(&group));
        let shape: Vec<_> = frames.iter().map(|(h, _)| (h.frag, h.first_lsn, h.records)).collect();
        let expected = [
            (Frag::Whole, 1, 1),
            (Frag::First, 2, 0),
            (Frag::Middle, 2, 0),
            (Frag::Last, 2, 2),
            (Frag::Whole, 4, 1),
        ];
        assert_eq!(shape, expected);
        let body: Vec<u8> = frames[1..4].iter().flat_map(|(_, body)| body.clone()).collect();
        let mut records = Records::new(body.into());
        assert_eq!(records.next().flatten().unwrap().len(), 700);
        assert_eq!(records.next().flatten().unwrap().len(), 600);
        let fragments: u64 = frames[1..4].iter().map(|(h, _)| h.frame_len()).sum();
        assert_eq!(fragments, batches[1].alone(512));
        assert_eq!(group.len, flat(&group).len() as u64);
        assert_eq!(group.data_bytes, batches.iter().map(Batch::body).sum::<u64>());
    }

    #[test]
    fn a_frame_is_cut_where_the_next_batch_does_not_fit() {
        let mut encoder = Encoder::new(DIGEST(), 4096, 512);
        encoder.control(Kind::PAD, 1, &[]);
        encoder.batches(1, &[batch(&[300]), batch(&[100]), batch(&[200])]);
        let frames = parse(&flat(&encoder.finish()));
        let records: Vec<_> = frames.iter().map(|(h, _)| (h.first_lsn, h.records)).collect();
        assert_eq!(records, [(1, 0), (1, 2), (3, 1)]);
    }
}
