//! Damage, as errors name it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Lsn;
use crate::directory::segment_path;
use crate::error::{Damage, DamageClass, OpenError};
use crate::format::{Features, Header, Unsupported};
use crate::fs::Fs;
use crate::survey::Found;

/// Refuses what a repair does not go on with: it aligns no groups, and hands no streams on.
pub(crate) fn check_repairable(path: &Path, header: &Header) -> Result<(), OpenError> {
    let Some(what) =
        [Features::STREAMS, Features::COMMIT_ALIGN].into_iter().find(|what| header.features.has(*what))
    else {
        return Ok(());
    };
    let (path, segment) = (path.to_owned(), header.segment);
    Err(OpenError::Unsupported { path, segment, offset: 0, what: Unsupported::Repair(what) })
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
