//! What lies behind the end of a walk: bytes, and frames that prove a sync although what is before them is not whole.

use std::io;
use std::ops::ControlFlow;

use crate::format::{Features, Header, MAX_NUMBER};
use crate::frame::{FRAME_HEADER_LEN, Frag, FrameHeader};
use crate::fs::{File, read_full};
use crate::window::{WINDOW, ZEROS};

/// Whether the file has no byte but zeros there.
pub(crate) fn is_zero<R: File>(file: &R, range: std::ops::Range<u64>) -> io::Result<bool> {
    let mut buf = vec![0; WINDOW];
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(WINDOW);
        let n = read_full(file, buf.get_mut(..left).unwrap_or_default(), at)?;
        if ZEROS.get(..n) != buf.get(..n) {
            return Ok(false);
        }
        if n == 0 {
            break;
        }
        at += n as u64;
    }
    Ok(true)
}

/// What lies behind the end of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Residue {
    /// Behind the last byte that is not zero, or the last frame where the file had an earlier life; the start where
    /// there is none.
    pub(crate) end: u64,
    /// Up to where frames found there prove that the segment was synced.
    pub(crate) synced: u64,
    /// Whether frames were found there.
    pub(crate) any: bool,
    /// The first group found there that begins behind the start: its offset and first LSN.
    pub(crate) next: Option<(u64, u64)>,
    /// LSN after the last record that frames found there speak of.
    pub(crate) end_lsn: u64,
}

/// Looks through the bytes from `from` on, at every place where a frame could start.
pub(crate) fn residue<R: File>(
    file: &R,
    header: &Header,
    (from, size): (u64, u64),
    next_lsn: u64,
) -> io::Result<Residue> {
    let recycled = header.features.has(Features::RECYCLED);
    let mut found = Residue { end: from, synced: 0, any: false, next: None, end_lsn: next_lsn };
    let mut frames_end = from;
    let end = each_header(file, header, (from, size), next_lsn, |offset, frame| {
        found.synced = found.synced.max(frame.synced());
        found.any = true;
        frames_end = frames_end.max(offset.saturating_add(frame.frame_len()).min(size));
        if offset > from && matches!(frame.frag, Frag::Whole | Frag::First) {
            found.next.get_or_insert((offset, frame.first_lsn));
        }
        let end_lsn = frame.first_lsn.saturating_add(u64::from(frame.records));
        found.end_lsn = found.end_lsn.max(end_lsn);
        ControlFlow::Continue(())
    })?;
    found.end = if recycled { frames_end } else { end };
    Ok(found)
}

/// Gives every header of this segment that stands behind `from`, with numbers from `next_lsn` on, to `sink`, until that
/// has enough. Answers where the bytes that are not zero end, as far as it looked.
pub(crate) fn each_header<R: File>(
    file: &R,
    header: &Header,
    (from, size): (u64, u64),
    next_lsn: u64,
    mut sink: impl FnMut(u64, &FrameHeader) -> ControlFlow<()>,
) -> io::Result<u64> {
    let digest = header.digest();
    let len = (WINDOW as u64).min(size.saturating_sub(from));
    let mut buf = vec![0; usize::try_from(len).unwrap_or(WINDOW) + FRAME_HEADER_LEN];
    let (mut at, mut end) = (from, from);
    while at < size {
        // What lies behind the size was never ours.
        let left = usize::try_from(size - at).unwrap_or(usize::MAX).min(buf.len());
        let n = read_full(file, buf.get_mut(..left).unwrap_or_default(), at)?;
        let fresh = buf.get(..n.min(WINDOW)).unwrap_or_default();
        // Most of a segment is zeros, and comparing is much faster than looking.
        let zeros = ZEROS.get(..fresh.len()) == Some(fresh);
        if let Some(last) = (!zeros).then(|| fresh.iter().rposition(|&byte| byte != 0)).flatten() {
            end = at + last as u64 + 1;
            for skip in (0..fresh.len()).step_by(8) {
                let bytes = buf.get(skip..n).and_then(|bytes| bytes.first_chunk());
                let Some(bytes) = bytes.filter(|bytes| **bytes != [0; FRAME_HEADER_LEN]) else { continue };
                let offset = at + skip as u64;
                if let Some(frame) = FrameHeader::decode(bytes, &digest)
                    && frame.synced() <= offset
                    // No closer bound: what lies between may be frames that count records and have no bytes.
                    && (next_lsn..=MAX_NUMBER).contains(&frame.first_lsn)
                    && sink(offset, &frame).is_break()
                {
                    return Ok(end);
                }
            }
        }
        if n == 0 {
            break;
        }
        at += fresh.len() as u64;
    }
    Ok(end)
}
