//! Damage, as errors name it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Lsn;
use crate::directory::segment_path;
use crate::error::{Damage, DamageClass, OpenError};
use crate::format::{Features, HEADER_USED, Header, Unsupported};
use crate::fs::{File, Fs, read_full};
use crate::survey::{Found, cannot};

/// Refuses what a later version wrote for its repairs to know: a segment that is made anew would not have it.
pub(crate) fn check_repairable<R: File>(file: &R, path: &Path, segment: u64) -> Result<(), OpenError> {
    let mut block = [0; HEADER_USED];
    read_full(file, &mut block, 0).map_err(cannot("read", path))?;
    match Header::optional(&block) {
        Features::NONE => Ok(()),
        what => {
            let what = Unsupported::Repair(what);
            Err(OpenError::Unsupported { path: path.to_owned(), segment, offset: 0, what })
        }
    }
}

pub(crate) fn is_unreadable(error: &OpenError) -> bool {
    matches!(error, OpenError::Corrupt(Damage { class: DamageClass::BadHeader(_), .. }))
}

pub(crate) fn corrupt(
    (path, segment): (PathBuf, u64),
    bytes: Range<u64>,
    lsns: Range<u64>,
    class: DamageClass,
) -> OpenError {
    OpenError::Corrupt(Damage { path, segment, bytes, lsns: Lsn(lsns.start)..Lsn(lsns.end), class })
}

pub(crate) fn damaged<F: Fs>(found: &Found<F>, bytes: Range<u64>, lsns: Range<u64>) -> OpenError {
    corrupt((found.path.clone(), found.header.segment), bytes, lsns, DamageClass::DamagedDurable)
}

pub(crate) fn missing(dir: &Path, segment: u64, lsns: Range<u64>) -> OpenError {
    corrupt((segment_path(dir, segment), segment), 0..0, lsns, DamageClass::MissingSegment)
}

pub(crate) fn foreign<F: Fs>(found: &Found<F>) -> OpenError {
    corrupt((found.path.clone(), found.header.segment), 0..found.size, 0..0, DamageClass::Foreign)
}
