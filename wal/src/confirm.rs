//! Writing frames again that are there already: the page cache may show what the media does not have.

use std::io::{self, IoSlice};

use crate::format::{Digest, HEADER_LEN};
use crate::fs::{File, Fs, write_all, write_zeros};
use crate::scan::Walk;
use crate::survey::Found;
use crate::window::{WINDOW, Window};

/// Step 7: writes again what no later frame proves synced, zeroes behind the end up to `zeros` and a bit further,
/// and syncs. The page cache may show frames, or zeros, that the media does not have.
pub(crate) fn confirm<F: Fs>(found: &Found<F>, walk: &Walk, zeros: Option<u64>) -> io::Result<()> {
    let from = if cfg!(wal_mutant = "trust_page_cache") { walk.end } else { walk.proven };
    let range = from..walk.end;
    each_frame(&found.file, &found.header.digest(), (range, found.size), |frames, at| {
        write_all(&found.file, &mut [IoSlice::new(frames)], at)
    })?;
    if let Some(zeros) = zeros.filter(|_| walk.seal.is_none() && !cfg!(wal_mutant = "keep_stale_frames")) {
        // One page is enough to break a chain of frames that begins at the end.
        let to = zeros.max(walk.end + HEADER_LEN).min(found.size);
        write_zeros(&found.file, walk.end, to)?;
    }
    found.file.sync_data()
}

/// Gives a range of whole frames to `sink`, in large pieces with their offsets. Each is checked once more: what was
/// read right before may be read wrongly now.
pub(crate) fn each_frame<R: File>(
    file: &R,
    digest: &Digest,
    (range, size): (std::ops::Range<u64>, u64),
    mut sink: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut window = Window::default();
    let (mut at, mut piece, mut piece_at) = (range.start, Vec::new(), range.start);
    while at < range.end {
        let Some((frame, _, body)) = window.frame(file, (at, size), digest)? else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame reads otherwise than before"));
        };
        piece.extend_from_slice(&frame.encode(digest));
        piece.extend_from_slice(body);
        piece.resize(piece.len().next_multiple_of(8), 0);
        at += frame.frame_len();
        if piece.len() >= WINDOW || at >= range.end {
            sink(&piece, piece_at)?;
            piece.clear();
            piece_at = at;
        }
    }
    Ok(())
}
