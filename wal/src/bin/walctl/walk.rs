//! The frames of a segment as they lie in its file, and the holes between them, in bounded memory.
//!
//! Nothing is judged: a frame is shown if its header's sum fits, whatever its neighbours say.

use std::io::{self, ErrorKind};
use std::ops::Range;

use forebay_wal::format::{
    Checkpoint, FRAME_HEADER_LEN, Features, Frag, FrameHeader, HEADER_LEN, Header, Kind, Seal, SegmentStart,
    StreamDef,
};
use forebay_wal::fs::File;

/// What is found, in the order of the file.
#[derive(Debug)]
pub(crate) enum Item {
    Frame(Frame),
    /// Bytes that are no frame, before a frame that is one or behind the last.
    Hole(Range<u64>),
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) at: u64,
    pub(crate) header: FrameHeader,
    /// Whether all of the body is there, and its sum fits.
    pub(crate) whole: bool,
    /// What it says, where it carries control.
    pub(crate) control: Option<Control>,
}

#[derive(Debug)]
pub(crate) enum Control {
    Start(SegmentStart),
    Seal(Seal),
    Checkpoint(Checkpoint),
    Stream(StreamDef),
    Low(u64),
}

/// Frames start at multiples of this.
const ALIGN: usize = 8;
/// Longest body of a frame that carries control: a checkpoint's.
const CONTROL: usize = 8 + Checkpoint::MAX_META;

/// Gives every frame of a segment file of `size` bytes, and every hole, to `sink`.
pub(crate) fn walk(
    file: &impl File,
    header: &Header,
    size: u64,
    mut sink: impl FnMut(Item) -> io::Result<()>,
) -> io::Result<()> {
    let size = size.min(header.capacity);
    let mut pages = Pages { file, buf: Vec::new(), start: 0 };
    let mut at = HEADER_LEN;
    while at < size {
        let (found, end) = pages.next_header(header, at..size)?;
        // What a file held in an earlier life stays behind its frames.
        let stale = found.is_none() && header.features.has(Features::RECYCLED);
        let hole = at..found.map_or(end, |(offset, _)| offset);
        if !hole.is_empty() && !stale {
            sink(Item::Hole(hole))?;
        }
        let Some((offset, frame)) = found else { break };
        let frame = pages.frame(header, (offset, size), frame)?;
        at = offset.saturating_add(frame.header.frame_len());
        sink(Item::Frame(frame))?;
    }
    Ok(())
}

/// A stretch of the file in memory.
struct Pages<'a, F> {
    file: &'a F,
    buf: Vec<u8>,
    start: u64,
}

impl<F: File> Pages<'_, F> {
    const LEN: usize = 64 << 10;

    /// The bytes from `at` on that are in memory, at least `want` if the file has them.
    fn bytes(&mut self, at: u64, want: usize) -> io::Result<&[u8]> {
        let held = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let held = held.filter(|skip| self.buf.len() >= skip.saturating_add(want));
        if held.is_none() {
            self.buf.resize(Self::LEN.max(want), 0);
            self.start = at;
            let mut read = 0;
            while let Some(rest) = self.buf.get_mut(read..).filter(|rest| !rest.is_empty()) {
                match self.file.read_at(rest, at + read as u64) {
                    Ok(0) => break,
                    Ok(more) => read += more,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.buf.truncate(read);
        }
        Ok(self.buf.get(held.unwrap_or(0)..).unwrap_or_default())
    }

    /// The first frame header in a range, and where the bytes that are not zero end before it.
    fn next_header(
        &mut self,
        header: &Header,
        range: Range<u64>,
    ) -> io::Result<(Option<(u64, FrameHeader)>, u64)> {
        let digest = header.digest();
        let (mut at, mut end) = (range.start, range.start);
        while at < range.end {
            let here = at;
            let left = usize::try_from(range.end - here).unwrap_or(usize::MAX);
            let bytes = self.bytes(here, FRAME_HEADER_LEN)?;
            let bytes = bytes.get(..left).unwrap_or(bytes);
            if bytes.is_empty() {
                break;
            }
            // The last few begin the next piece.
            let last = bytes.len() < FRAME_HEADER_LEN;
            let fresh = if last { bytes.len() } else { bytes.len() - FRAME_HEADER_LEN + 1 };
            for skip in (0..fresh).step_by(ALIGN) {
                let offset = here + skip as u64;
                let frame = bytes.get(skip..).and_then(<[u8]>::first_chunk);
                let frame = frame.filter(|head| **head != [0; FRAME_HEADER_LEN]);
                if let Some(frame) = frame.and_then(|head| FrameHeader::decode(head, &digest)) {
                    return Ok((Some((offset, frame)), end));
                }
                let eight = bytes.get(skip..).unwrap_or_default();
                let eight = eight.get(..ALIGN).unwrap_or(eight);
                if let Some(last) = eight.iter().rposition(|&byte| byte != 0) {
                    end = offset + last as u64 + 1;
                }
            }
            at = here + fresh.next_multiple_of(ALIGN) as u64;
        }
        Ok((None, end))
    }

    /// The rest of a frame whose header is known.
    fn frame(&mut self, header: &Header, (at, size): (u64, u64), frame: FrameHeader) -> io::Result<Frame> {
        let digest = header.digest();
        let begin = at + FRAME_HEADER_LEN as u64;
        let end = begin.saturating_add(u64::from(frame.body_len));
        let mut shown = Frame { at, header: frame, whole: end <= size, control: None };
        if !shown.whole {
            return Ok(shown);
        }
        let (mut sum, mut from) = (digest.start(), begin);
        while from < end {
            let left = usize::try_from(end - from).unwrap_or(usize::MAX);
            let bytes = self.bytes(from, 1)?;
            let bytes = bytes.get(..left).unwrap_or(bytes);
            if bytes.is_empty() {
                break;
            }
            sum = digest.update(sum, bytes);
            from += bytes.len() as u64;
        }
        shown.whole = from == end && sum == frame.body_crc;
        let may_control = shown.whole && frame.frag == Frag::Whole && frame.codec == 0;
        let len = usize::try_from(frame.body_len).unwrap_or(usize::MAX);
        if may_control && len <= CONTROL {
            let body = self.bytes(begin, len)?;
            shown.control = control(frame.kind, body.get(..len).unwrap_or_default());
        }
        Ok(shown)
    }
}

fn control(kind: Kind, body: &[u8]) -> Option<Control> {
    match kind {
        Kind::SEGMENT_START => SegmentStart::decode(body).map(Control::Start),
        Kind::SEAL => Seal::decode(body).map(Control::Seal),
        Kind::CHECKPOINT => Checkpoint::decode(body).map(Control::Checkpoint),
        Kind::STREAM_DEF => StreamDef::decode(body).map(Control::Stream),
        Kind::LOW_WATERMARK => body.first_chunk().map(|lsn| Control::Low(u64::from_le_bytes(*lsn))),
        _ => None,
    }
}

/// What a kind of frame is called.
pub(crate) fn kind(kind: Kind) -> String {
    let name = match kind {
        Kind::DATA => "data",
        Kind::STREAM_DATA => "stream-data",
        Kind::SEGMENT_START => "start",
        Kind::SEAL => "seal",
        Kind::CHECKPOINT => "checkpoint",
        Kind::LOW_WATERMARK => "low-watermark",
        Kind::STREAM_DEF => "stream",
        Kind::PAD => "pad",
        Kind::CLEAN_CLOSE => "clean-close",
        Kind::BURNED => "burned",
        Kind(other) => return format!("kind-{other}"),
    };
    name.to_owned()
}

/// What a part of a group is called.
pub(crate) fn frag(frag: Frag) -> &'static str {
    match frag {
        Frag::Whole => "whole",
        Frag::First => "first",
        Frag::Middle => "middle",
        Frag::Last => "last",
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;

    struct Memory(Vec<u8>);

    impl File for Memory {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            Ok(len)
        }

        fn write_vectored_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
            unreachable!("nothing is written")
        }

        fn size(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("nothing is written")
        }

        fn allocate(&self, _: u64) -> io::Result<()> {
            unreachable!("nothing is written")
        }

        fn sync_data(&self) -> io::Result<()> {
            unreachable!("nothing is written")
        }

        fn sync_all(&self) -> io::Result<()> {
            unreachable!("nothing is written")
        }
    }

    #[test]
    fn a_frame_behind_a_hole_is_found_wherever_a_piece_of_the_file_ends() {
        let header = Header::new([1; 16], 1, 2, 1 << 20);
        let frame = FrameHeader {
            body_len: 0,
            first_lsn: 9,
            records: 0,
            kind: Kind::PAD,
            codec: 0,
            frag: Frag::Whole,
            synced8: 512,
            body_crc: header.digest().sum(&[]),
        };
        let piece = Pages::<Memory>::LEN;
        for hole in (piece - 64..piece + 64).step_by(ALIGN) {
            let mut bytes = vec![0; usize::try_from(HEADER_LEN).unwrap()];
            bytes.resize(bytes.len() + hole, 7);
            let at = bytes.len() as u64;
            bytes.extend(frame.encode(&header.digest()));
            bytes.resize(1 << 20, 0);
            let mut found = Vec::new();
            let walked = walk(&Memory(bytes), &header, 1 << 20, |item| {
                found.push(match item {
                    Item::Hole(hole) => (hole.start, hole.end, false),
                    Item::Frame(frame) => (frame.at, frame.at + 32, frame.whole),
                });
                Ok(())
            });
            walked.unwrap();
            assert_eq!(found, [(HEADER_LEN, at, false), (at, at + 32, true)], "{hole}");
        }
    }
}
