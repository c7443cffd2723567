//! Segments that nobody wrote: any frames, with lengths and sums that fit.

use forebay_wal::format::{Frag, FrameHeader, Header, Kind, SegmentStart};

/// The start of a log's first segment.
pub(crate) fn first_start() -> SegmentStart {
    SegmentStart {
        segment: 1,
        base_lsn: 1,
        prev_segment: 0,
        prev_last_lsn: 0,
        prev_end: 0,
        prev_last_hcrc: 0,
        low_watermark: 1,
        epoch: 1,
    }
}

pub(crate) fn frame_header(kind: u8, frag: Frag, first_lsn: u64, records: u32, synced8: u32) -> FrameHeader {
    FrameHeader { body_len: 0, first_lsn, records, kind: Kind(kind), codec: 0, frag, synced8, body_crc: 0 }
}

/// A segment of these frames behind a start frame, with sums and lengths that fit.
pub(crate) fn forge(
    start: &SegmentStart,
    capacity: usize,
    frames: impl IntoIterator<Item = (FrameHeader, Vec<u8>)>,
) -> Vec<u8> {
    forge_in(&Header::new([1; 16], start.segment, 9, capacity as u64), start, frames)
}

/// As [`forge`], with this header.
pub(crate) fn forge_in(
    header: &Header,
    start: &SegmentStart,
    frames: impl IntoIterator<Item = (FrameHeader, Vec<u8>)>,
) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    bytes.resize(4096, 0);
    let first = (frame_header(3, Frag::Whole, start.base_lsn, 0, 512), start.encode().to_vec());
    for (frame, body) in std::iter::once(first).chain(frames) {
        let frame = FrameHeader {
            body_len: u32::try_from(body.len()).unwrap(),
            body_crc: header.digest().sum(&body),
            ..frame
        };
        bytes.extend(frame.encode(&header.digest()));
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes.resize(usize::try_from(header.capacity).unwrap(), 0);
    bytes
}

/// A whole data frame and its body.
pub(crate) fn data(first_lsn: u64, records: u32, synced8: u32, body: &[u8]) -> (FrameHeader, Vec<u8>) {
    (frame_header(1, Frag::Whole, first_lsn, records, synced8), body.to_vec())
}
