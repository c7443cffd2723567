//! Damage, as errors name it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Lsn;
use crate::carried::Carried;
use crate::directory::segment_path;
use crate::error::{Damage, DamageClass, OpenError};
use crate::format::{Header, Kind, Unsupported};
use crate::fs::Fs;
use crate::survey::Found;

/// Refuses what a repair does not go on with: it does not align groups, and hands no streams of these segments on.
pub(crate) fn untouched<'a>(
    file: Option<(&PathBuf, &Header)>,
    carried: impl IntoIterator<Item = &'a Carried>,
) -> Result<(), OpenError> {
    let Some((path, header)) = file else { return Ok(()) };
    let what = match carried.into_iter().find(|carried| !carried.streams.is_empty()) {
        Some(_) => Unsupported::Writing(Kind::STREAM_DEF.0),
        None if header.commit_align != 0 => Unsupported::CommitAlign(header.commit_align),
        None => return Ok(()),
    };
    Err(OpenError::Unsupported { path: path.clone(), segment: header.segment, offset: 0, what })
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
