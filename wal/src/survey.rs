//! The files of a log as they are found, without changing them.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::carried::Carried;
use crate::damage::corrupt;
use crate::directory::{LOCK, Name, segment_path};
use crate::error::{DamageClass, OpenError};
use crate::format::{HEADER_LEN, HEADER_USED, Header, HeaderError};
use crate::fs::{File, Fs, read_full};
use crate::scan::{Unknown, Walk};
use crate::window::Window;

/// Kind of the error where a file reads otherwise than right before.
pub(crate) const CHANGED: io::ErrorKind = io::ErrorKind::InvalidData;

/// A segment file with a readable header.
pub(crate) struct Found<F: Fs> {
    pub(crate) path: PathBuf,
    pub(crate) file: F::File,
    pub(crate) size: u64,
    pub(crate) header: Header,
}

/// The files of a log.
pub(crate) struct Survey<'a, F: Fs> {
    pub(crate) fs: &'a F,
    pub(crate) dir: &'a Path,
    pub(crate) segments: BTreeSet<u64>,
    pub(crate) spares: Vec<PathBuf>,
    /// Whether there is a lock file.
    pub(crate) locked: bool,
}

impl<'a, F: Fs> Survey<'a, F> {
    /// Step 1: what files there are.
    pub(crate) fn list(fs: &'a F, dir: &'a Path) -> Result<Self, OpenError> {
        let mut survey = Self { fs, dir, segments: BTreeSet::new(), spares: Vec::new(), locked: false };
        for name in fs.list(dir).map_err(cannot("list", dir))? {
            match Name::parse(&name) {
                Name::Segment(number) => drop(survey.segments.insert(number)),
                Name::Spare => survey.spares.push(dir.join(name)),
                Name::Other => survey.locked |= name == LOCK,
            }
        }
        Ok(survey)
    }

    /// Walks once more, before anything is said of what lies behind an end: frames there were written when all before
    /// them was whole. Where the walk ends elsewhere now, somebody writes, or a read was wrong.
    pub(crate) fn ends_alike(&self, found: &Found<F>, end: u64) -> Result<(), OpenError> {
        if self.walk(found, 0)?.end == end { Ok(()) } else { Err(changed(&found.path)) }
    }

    /// As [`ends_alike`](Self::ends_alike) for a segment that has not begun: a start frame is no beginning without all
    /// that the one before hands on.
    pub(crate) fn has_not_begun(&self, found: &Found<F>, before: Option<&Walk>) -> Result<(), OpenError> {
        let none = Carried::default();
        let before = before.map_or(&none, |walk| &walk.carried);
        if self.walk(found, 0)?.has_begun(before) { Err(changed(&found.path)) } else { Ok(()) }
    }

    pub(crate) fn find(&self, number: u64) -> Result<Found<F>, OpenError> {
        let path = segment_path(self.dir, number);
        let file = self.fs.open_read(&path).map_err(cannot("open", &path))?;
        let size = file.size().map_err(cannot("measure", &path))?;
        let mut block = [0; HEADER_USED];
        read_full(&file, &mut block, 0).map_err(cannot("read", &path))?;
        let header = Header::decode(&block).map_err(|error| match error {
            HeaderError::Unsupported(what) => {
                OpenError::Unsupported { path: path.clone(), segment: number, offset: 0, what }
            }
            error => corrupt((path.clone(), number), 0..HEADER_LEN, 0..0, DamageClass::BadHeader(error)),
        })?;
        // What lies behind the capacity was never ours.
        let found = Found { path, file, size: size.min(header.capacity), header };
        if found.header.segment == number {
            return Ok(found);
        }
        Err(corrupt((found.path, number), 0..found.size, 0..0, DamageClass::Foreign))
    }

    /// Walks a segment, counting burned numbers from `from` on.
    pub(crate) fn walk(&self, found: &Found<F>, from: u64) -> Result<Walk, OpenError> {
        self.walk_to(found, (found.size, from))
    }

    /// As [`walk`](Self::walk), up to an offset.
    pub(crate) fn walk_to(&self, found: &Found<F>, (to, from): (u64, u64)) -> Result<Walk, OpenError> {
        known(found, Walk::over(&found.file, &found.header, (to, from)))
    }

    /// Goes on with a walk up to an offset, counting burned numbers from `from` on.
    pub(crate) fn walk_on(
        &self,
        found: &Found<F>,
        (walk, window): (Walk, &mut Window),
        (to, from): (u64, u64),
    ) -> Result<Walk, OpenError> {
        known(found, walk.on(&found.file, &found.header, (to, from), window))
    }
}

fn known<F: Fs>(found: &Found<F>, walk: io::Result<Result<Walk, Unknown>>) -> Result<Walk, OpenError> {
    walk.map_err(cannot("read", &found.path))?.map_err(|unknown| OpenError::Unsupported {
        path: found.path.clone(),
        segment: found.header.segment,
        offset: unknown.offset,
        what: unknown.what,
    })
}

pub(crate) fn changed(path: &Path) -> OpenError {
    cannot("read", path)(io::Error::new(CHANGED, "it reads otherwise than before"))
}

pub(crate) fn cannot(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { operation, path: path.to_path_buf(), source }
}
