//! LZ4 frames (lz4/lz4, `lz4_Frame_format.md`), as Loki writes them: independent blocks of the size that the
//! codec names, and neither checksums nor lengths. Whatever other writers put in a frame is read, and checked.

#![warn(clippy::indexing_slicing)]

mod block;

use lz4_flex::block::{DecompressError, decompress_into_with_dict};
use xxhash_rust::xxh32::xxh32;

use super::Fault;

const MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();
/// Of frames that are passed over, but for the low four bits.
const SKIPPABLE: u32 = 0x184D_2A50;
/// In the length of a block that is stored as it is.
const STORED: u32 = 1 << 31;
/// How far back a match can reach.
const WINDOW: usize = 1 << 16;
/// A match of 255 bytes takes one.
const MAX_RATIO: usize = 255;

/// Bits of the frame's flags.
mod flag {
    pub(super) const VERSION: u8 = 0b1100_0000;
    pub(super) const VERSION_1: u8 = 0b0100_0000;
    pub(super) const INDEPENDENT: u8 = 0b0010_0000;
    pub(super) const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
    pub(super) const CONTENT_SIZE: u8 = 0b0000_1000;
    pub(super) const CONTENT_CHECKSUM: u8 = 0b0000_0100;
    pub(super) const RESERVED: u8 = 0b0000_0010;
    pub(super) const DICTIONARY: u8 = 0b0000_0001;
}

/// The sizes of blocks that frames can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockSize {
    Kib64 = 4,
    Kib256 = 5,
    Mib1 = 6,
    Mib4 = 7,
}

impl BlockSize {
    fn bytes(self) -> usize {
        1 << (8 + 2 * usize::from(self.number()))
    }

    fn number(self) -> u8 {
        match self {
            Self::Kib64 => 4,
            Self::Kib256 => 5,
            Self::Mib1 => 6,
            Self::Mib4 => 7,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Kib64, Self::Kib256, Self::Mib1, Self::Mib4].into_iter().find(|size| size.number() == number)
    }
}

/// Appends one frame.
pub(crate) fn compress(plain: &[u8], size: BlockSize, out: &mut Vec<u8>) {
    let descriptor = [flag::VERSION_1 | flag::INDEPENDENT, size.number() << 4];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&descriptor);
    out.push(header_checksum(&descriptor));
    for data in plain.chunks(size.bytes()) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        block::compress(data, out);
        let mut length = out.len() - start - 4;
        let mut stored = 0;
        if length >= data.len() {
            out.truncate(start + 4);
            out.extend_from_slice(data);
            (length, stored) = (data.len(), STORED);
        }
        let length = u32::try_from(length).expect("a block has at most 4 MiB") | stored;
        if let Some(field) = out.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
            *field = length.to_le_bytes();
        }
    }
    out.extend_from_slice(&[0; 4]);
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    xxh32(descriptor, 0).to_le_bytes()[1]
}

/// Takes the parts of a stream off its front.
struct Input<'a> {
    stored: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn malformed(&self, what: &'static str) -> Fault {
        Fault::Malformed { offset: self.stored.len() - self.rest.len(), what }
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (bytes, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.malformed("an lz4 frame is cut short"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.bytes(4)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
    }

    fn expect_checksum(&mut self, data: &[u8], what: &'static str) -> Result<(), Fault> {
        let at = self.malformed(what);
        if self.u32()? == xxh32(data, 0) { Ok(()) } else { Err(at) }
    }
}

/// What a frame says of itself.
struct Frame {
    size: BlockSize,
    independent: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_size: Option<u64>,
}

pub(crate) fn decompress(stored: &[u8], expected: usize, max: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut input = Input { stored, rest: stored };
    out.reserve(expected.min(max).min(stored.len().saturating_mul(MAX_RATIO)));
    let start = out.len();
    loop {
        let magic = input.u32()?;
        if magic == u32::from_le_bytes(MAGIC) {
            let frame = header(&mut input)?;
            blocks(&mut input, &frame, start, expected, max, out)?;
        } else if magic & !0xF == SKIPPABLE {
            let length = usize::try_from(input.u32()?).unwrap_or(usize::MAX);
            input.bytes(length)?;
        } else {
            return Err(input.malformed("an lz4 frame must start with 04224d18"));
        }
        if input.rest.is_empty() {
            return Ok(());
        }
    }
}

fn header(input: &mut Input<'_>) -> Result<Frame, Fault> {
    let descriptor = input.rest;
    let [flags, sizes] = *input.bytes(2)? else { return Err(input.malformed("an lz4 frame is cut short")) };
    if flags & flag::VERSION != flag::VERSION_1 || flags & flag::RESERVED != 0 || sizes & 0x8F != 0 {
        return Err(input.malformed("an lz4 frame of another version"));
    }
    if flags & flag::DICTIONARY != 0 {
        return Err(input.malformed("an lz4 frame with a dictionary"));
    }
    let size =
        BlockSize::of(sizes >> 4).ok_or_else(|| input.malformed("an lz4 frame of no known block size"))?;
    let content_size = if flags & flag::CONTENT_SIZE == 0 {
        None
    } else {
        let (low, high) = (input.u32()?, input.u32()?);
        Some(u64::from(high) << 32 | u64::from(low))
    };
    let descriptor = descriptor.get(..descriptor.len() - input.rest.len()).unwrap_or_default();
    let at = input.malformed("lz4 header checksum mismatch");
    if input.bytes(1)? != [header_checksum(descriptor)] {
        return Err(at);
    }
    Ok(Frame {
        size,
        independent: flags & flag::INDEPENDENT != 0,
        block_checksums: flags & flag::BLOCK_CHECKSUMS != 0,
        content_checksum: flags & flag::CONTENT_CHECKSUM != 0,
        content_size,
    })
}

/// Appends what the blocks of a frame hold; `start` is where in `out` the stream began.
fn blocks(
    input: &mut Input<'_>,
    frame: &Frame,
    start: usize,
    expected: usize,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let content = out.len();
    loop {
        let at = input.malformed("an lz4 block of more bytes than its frame allows");
        let length = input.u32()?;
        if length == 0 {
            break;
        }
        let size = usize::try_from(length & !STORED).unwrap_or(usize::MAX);
        if size > frame.size.bytes() {
            return Err(at);
        }
        let at = input.malformed("invalid lz4 data");
        let data = input.bytes(size)?;
        if frame.block_checksums {
            input.expect_checksum(data, "lz4 block checksum mismatch")?;
        }
        let left = max.saturating_sub(out.len() - start);
        if length & STORED == 0 {
            let guess = expected.saturating_sub(out.len() - start);
            let history =
                if frame.independent { out.len() } else { content.max(out.len().saturating_sub(WINDOW)) };
            append_block(data, frame.size.bytes(), guess, left, history, out).map_err(
                |refusal| match refusal {
                    Refusal::Invalid => at,
                    Refusal::TooLong => Fault::TooLong { reached: max.saturating_add(1) },
                },
            )?;
        } else if size > left {
            return Err(Fault::TooLong { reached: out.len() - start + size });
        } else {
            out.extend_from_slice(data);
        }
    }
    let plain = out.get(content..).unwrap_or_default();
    if frame.content_size.is_some_and(|size| u64::try_from(plain.len()) != Ok(size)) {
        return Err(input.malformed("lz4 content size mismatch"));
    }
    if frame.content_checksum {
        input.expect_checksum(plain, "lz4 content checksum mismatch")?;
    }
    Ok(())
}

enum Refusal {
    Invalid,
    TooLong,
}

/// Appends a block of at most `block` bytes, which ought to be about `guess` and must not be more than `left`.
/// It may refer to what is in `out` from `history` on.
fn append_block(
    data: &[u8],
    block: usize,
    guess: usize,
    left: usize,
    history: usize,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let end = out.len();
    let most = block.min(left).min(data.len().saturating_mul(MAX_RATIO));
    // Memory is cleared before it is written to: where the size is known, no more than that.
    let mut room = if guess == 0 { most } else { guess.min(most) };
    loop {
        if out.capacity() < end + room {
            let capacity = (2 * out.capacity()).min(end.saturating_add(left)).max(end + room);
            out.reserve_exact(capacity - out.len());
        }
        out.resize(end + room, 0);
        let Some((before, free)) = out.split_at_mut_checked(end) else { return Err(Refusal::Invalid) };
        match decompress_into_with_dict(data, free, before.get(history..).unwrap_or_default()) {
            Ok(length) => {
                out.truncate(end + length);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < most => room = most,
            Err(DecompressError::OutputTooSmall { .. }) if most == left => return Err(Refusal::TooLong),
            Err(_) => return Err(Refusal::Invalid),
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that goes past the end should fail")]
mod tests;
