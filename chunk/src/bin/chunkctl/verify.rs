//! `chunkctl verify`: is a file whole?

use std::path::Path;

use forebay_chunk::{CorruptionPolicy, Direction, Error};
use serde::Serialize;

use crate::args::Verify;
use crate::file::{Failure, File, each, refuse};
use crate::out::{Out, count, facts};
use crate::report::{self, Hurt, Summary};
use crate::{Outcome, Verdict};

#[derive(Debug, Serialize)]
struct Report {
    state: &'static str,
    #[serde(flatten)]
    summary: Summary,
    entries_lost: u64,
    content_hash: Option<String>,
    damage: Vec<Hurt>,
    /// What is wrong beside blocks that cannot be read.
    error: Option<String>,
}

/// That nothing can be said of a file but why.
#[derive(Debug, Serialize)]
struct Unread {
    state: &'static str,
    file: String,
    error: String,
}

pub(crate) fn run(arguments: &Verify, policy: CorruptionPolicy, out: &mut Out) -> Outcome {
    each(&arguments.files, policy, |path, file| {
        let report = file.and_then(|file| look(path, &file));
        match report {
            Ok(ref report) if out.json => out.object(report)?,
            Ok(ref report) => {
                let mut lines = vec![("state", report.state.to_owned())];
                lines.extend(report.summary.facts());
                lines.extend(report.content_hash.clone().map(|hash| ("content hash", hash)));
                if report.entries_lost > 0 {
                    lines.push(("lost", count(report.entries_lost, "entry").replace("entrys", "entries")));
                }
                lines.extend(report.error.clone().map(|error| ("error", error)));
                out.line(facts(lines))?;
                report::damage(&report.damage, out)?;
                out.line("")?;
            }
            Err(failure) => {
                if out.json {
                    let file = path.display().to_string();
                    out.object(&Unread { state: "unreadable", file, error: failure.to_string() })?;
                }
                return refuse(path, &failure);
            }
        }
        let is_whole = matches!(report, Ok(Report { state: "whole", .. }));
        Ok(if is_whole { Verdict::Whole } else { Verdict::Faulty })
    })
}

/// Reads all of a file; what is lost only if something is.
fn look(path: &Path, file: &File) -> Result<Report, Failure> {
    let chunk = &file.chunk;
    let mut damage: Vec<_> = chunk.damage().to_vec();
    let mut error = None;
    let mut content_hash = None;
    match chunk.verify() {
        Ok(()) if !file.is_damaged() => content_hash = Some(format!("{:032x}", chunk.content_hash()?)),
        Ok(()) => {}
        Err(found) if is_fault(&found) => {
            error = Some(found.to_string());
            let mut entries = chunk.entries(.., Direction::Forward);
            while entries.next_batch()?.is_some() {}
            damage.extend_from_slice(entries.damage());
        }
        Err(found) => return Err(found.into()),
    }
    let is_whole = error.is_none() && !file.is_damaged();
    Ok(Report {
        state: if is_whole { "whole" } else { "damaged" },
        summary: Summary::new(path, file),
        entries_lost: damage.iter().map(forebay_chunk::Damage::entries_lost).fold(0, u64::saturating_add),
        content_hash,
        damage: damage.iter().map(Hurt::from).collect(),
        error,
    })
}

fn is_fault(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::Truncated { .. } | Error::ChecksumMismatch { .. })
}
