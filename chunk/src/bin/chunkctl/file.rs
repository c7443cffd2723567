//! A file on disk: an object or a bare chunk, in either format.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use forebay_chunk::loki::{Envelope, Object};
use forebay_chunk::{Chunk, CorruptionPolicy, Error, Limits};
use indicatif::ProgressBar;

use crate::Verdict;
use crate::out::{Text, complain, progress};

/// A file that was opened.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) size_bytes: u64,
    pub(crate) chunk: Chunk,
    /// Whose it is, if it is an object.
    pub(crate) object: Option<(Envelope, u32)>,
}

/// Why a file could not be opened or read.
#[derive(Debug)]
pub(crate) enum Failure {
    System(io::Error),
    Chunk(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Chunk(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            // It may quote what the file says.
            Self::Chunk(error) => Text(error.to_string().as_bytes()).fmt(f),
        }
    }
}

impl Failure {
    /// Whether the file is at fault.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Chunk(
                Error::Empty
                | Error::BadMagic { .. }
                | Error::Truncated { .. }
                | Error::ChecksumMismatch { .. }
                | Error::Corrupt { .. }
                | Error::WrongMetadata { .. },
            ) => Verdict::Faulty,
            _ => Verdict::Unknown,
        }
    }
}

impl File {
    pub(crate) fn open(path: &Path, policy: CorruptionPolicy) -> Result<Self, Failure> {
        let limits = Limits::default();
        let bytes = bytes::Bytes::from(read(path, limits.max_object_bytes as u64)?);
        let size_bytes = bytes.len() as u64;
        let described = |object: Object| ((object.envelope, object.checksum), object.chunk);
        let (object, chunk) = match Chunk::open_with(bytes.clone(), &limits, policy) {
            // A columnar one may say itself whose it is.
            Ok(chunk) => (Object::open_with(bytes, &limits, policy).ok().map(|o| described(o).0), chunk),
            Err(Error::BadMagic { .. }) => {
                let (object, chunk) = described(Object::open_with(bytes, &limits, policy)?);
                (Some(object), chunk)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { size_bytes, chunk, object })
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.chunk.damage().iter().any(crate::report::is_loss)
    }
}

/// All of a file, unless that is too much. What is no file has no size, and one that is may grow.
fn read(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the program reads files")]
    let file = std::fs::File::open(path).map_err(Failure::System)?;
    let said = file.metadata().map_err(Failure::System)?.len();
    let mut bytes = Vec::new();
    if said <= max {
        bytes.reserve_exact(usize::try_from(said).unwrap_or(0).saturating_add(1));
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(Failure::System)?;
    }
    let size_bytes = said.max(bytes.len() as u64);
    if size_bytes > max {
        return Err(Error::LimitExceeded { limit: "max_object_bytes", value: size_bytes, max }.into());
    }
    Ok(bytes)
}

/// Calls `show` for each file, with how far the command is; says on standard error what could not be opened. The worst
/// verdict is that of all.
pub(crate) fn each(
    paths: &[PathBuf],
    policy: CorruptionPolicy,
    mut show: impl FnMut(&Path, Result<File, Failure>) -> io::Result<Verdict>,
) -> io::Result<Verdict> {
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bar: ProgressBar = progress(paths.iter().map(size).fold(0, u64::saturating_add));
    let mut worst = Verdict::Whole;
    for path in paths {
        let verdict = show(path, File::open(path, policy))?;
        worst = worst.max(verdict);
        bar.inc(size(path));
    }
    bar.finish_and_clear();
    Ok(worst)
}

/// Says why a file could not be opened or read.
pub(crate) fn refuse(path: &Path, failure: &Failure) -> io::Result<Verdict> {
    complain(format_args!("{}: {failure}", path.display()))?;
    Ok(failure.verdict())
}
