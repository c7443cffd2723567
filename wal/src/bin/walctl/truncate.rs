//! `walctl truncate`: old segments given back, or which would be.

use std::path::Path;

use forebay_wal::fs::{Fs, StdFs};
use forebay_wal::{AppendError, Lsn, OpenError, Options, RepairPolicy, Truncated, Wal};
use serde::Serialize;

use crate::args::Truncate;
use crate::disk::Files;
use crate::out::{Out, bytes, complain, count, hint};
use crate::overlay::{Change, Overlay};
use crate::repair;
use crate::{Outcome, Verdict};

/// What was, or would be, given back, as JSON.
#[derive(Debug, Serialize)]
struct Done {
    done: bool,
    segments: usize,
    bytes: u64,
    low_lsn: u64,
    /// Segments whose files the system would not remove.
    remaining: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
}

/// Why a log was not truncated.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("cannot truncate")]
    Truncate(#[from] AppendError),
}

pub(crate) fn run(arguments: &Truncate, out: &mut Out) -> Outcome {
    let files = Files::list(&arguments.dir)?;
    let options = Options { repair: RepairPolicy::Fail, ..files.options() };
    let before = Lsn(arguments.before);
    let overlay = if arguments.yes { None } else { Some(Overlay::new(&files)?) };
    let truncated = match &overlay {
        Some(overlay) => truncate(overlay.clone(), &files.dir, options, before),
        None => truncate(StdFs, &files.dir, options, before),
    };
    overlay.iter().for_each(|overlay| overlay.bar.finish_and_clear());
    let truncated = match truncated {
        Err(Refused::Open(error @ (OpenError::Corrupt(_) | OpenError::TornTail(_)))) => {
            complain(&error)?;
            hint("only a log that is whole is truncated: see `walctl repair`")?;
            return Ok(Verdict::Faulty);
        }
        truncated => truncated?,
    };
    let Truncated { segments, bytes: given, low, remaining } = truncated;
    let changes = overlay.as_ref().map(Overlay::changes).transpose()?;
    if out.json {
        out.object(&Done {
            done: arguments.yes,
            segments,
            bytes: given,
            low_lsn: low.0,
            remaining,
            changes,
        })?;
        return Ok(Verdict::Whole);
    }
    let would = if arguments.yes { "" } else { "would be " };
    out.line(format_args!("{} {would}given back, {}", count(segments as u64, "segment"), bytes(given)))?;
    out.line(format_args!("records from {} on {would}kept", low.0))?;
    if remaining > 0 {
        out.line(format_args!("{remaining} segments could not be removed; the next truncation tries again"))?;
    }
    if let Some(changes) = changes {
        repair::files(&changes, out)?;
        out.line("\nNothing was changed. To do it: walctl truncate --yes")?;
    }
    Ok(Verdict::Whole)
}

/// Leaves the log closed: it was nobody's, and is whole.
fn truncate<F: Fs>(fs: F, dir: &Path, options: Options, before: Lsn) -> Result<Truncated, Refused> {
    let (wal, _) = Wal::open_in(fs, dir, options)?;
    let truncated = wal.truncate_before(before)?;
    wal.close()?;
    Ok(truncated)
}
