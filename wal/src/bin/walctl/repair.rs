//! `walctl repair`: a log with a torn tail or damage made whole, or what that would do.

use std::io;
use std::path::Path;

use forebay_wal::fs::{Fs, StdFs};
use forebay_wal::{OpenError, Options, RecoveryReport, Wal};
use serde::Serialize;

use crate::args::{Policy, Repair};
use crate::disk::Files;
use crate::out::{Out, bytes, hint, span};
use crate::overlay::{Change, Overlay};
use crate::report::Report;
use crate::verify::look;
use crate::{Outcome, Verdict};

/// What was wrong and what was, or would be, done about it, as JSON.
#[derive(Debug, Serialize)]
struct Done {
    done: bool,
    found: Report,
    repaired: Option<Report>,
    /// Files, where nothing was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<Change>>,
}

pub(crate) fn run(arguments: &Repair, out: &mut Out) -> Outcome {
    let files = Files::list(&arguments.dir)?;
    let found = look(&files)?;
    if !out.json {
        found.print(out)?;
    }
    if found.verdict() == Verdict::Whole || arguments.policy == Policy::Fail {
        let verdict = found.verdict();
        if out.json {
            out.object(&Done { done: false, found, repaired: None, changes: None })?;
        }
        return Ok(verdict);
    }
    let options =
        Options { repair: arguments.policy.into(), quarantine: !arguments.no_quarantine, ..files.options() };
    let overlay = if arguments.yes { None } else { Some(Overlay::new(&files)?) };
    let repaired = match &overlay {
        Some(overlay) => repair(overlay.clone(), &files.dir, options),
        None => repair(StdFs, &files.dir, options),
    };
    overlay.iter().for_each(|overlay| overlay.bar.finish_and_clear());
    let report = match repaired {
        Err(error @ (OpenError::Corrupt(_) | OpenError::TornTail(_))) => {
            if out.json {
                out.object(&Done { done: false, found, repaired: None, changes: None })?;
            }
            crate::out::complain(&error)?;
            if arguments.policy == Policy::TruncateTail {
                hint("this is damage, and no torn tail: see --policy truncate-at and --policy salvage")?;
            }
            return Ok(Verdict::Faulty);
        }
        repaired => repaired?,
    };
    let changes = overlay.as_ref().map(Overlay::changes).transpose()?;
    if out.json {
        let repaired = Some(Report::from(&report));
        out.object(&Done { done: arguments.yes, found, repaired, changes })?;
    } else {
        print(&report, changes.as_deref(), out)?;
    }
    Ok(if arguments.yes { Verdict::Whole } else { Verdict::Faulty })
}

/// Opening is repairing. Nothing is written behind it: whoever opens the log next finds it as this left it.
fn repair<F: Fs>(fs: F, dir: &Path, options: Options) -> Result<RecoveryReport, OpenError> {
    let (_, report) = Wal::open_in(fs, dir, options)?;
    Ok(report)
}

fn print(report: &RecoveryReport, changes: Option<&[Change]>, out: &mut Out) -> io::Result<()> {
    out.line("")?;
    out.line(if changes.is_some() { "The repair would leave:" } else { "The repair has left:" })?;
    let numbered = span(&(report.first_lsn.0..report.next_lsn.0));
    out.line(format_args!("  {} records, numbered {numbered}", report.records))?;
    if let Some(torn) = &report.torn {
        out.line(format_args!("  less a tail of {}", bytes(torn.bytes.end - torn.bytes.start)))?;
    }
    for lost in &report.lost {
        out.line(format_args!("  without records {}", span(&(lost.start.0..lost.end.0))))?;
    }
    match changes {
        Some(changes) => {
            files(changes, out)?;
            out.line("\nNothing was changed. To do it: walctl repair --yes, with the same --policy")
        }
        None => {
            let torn = report.torn.iter().filter_map(|torn| torn.quarantine.as_ref());
            let mut kept = report.quarantined.iter().chain(torn);
            kept.try_for_each(|path| out.line(format_args!("  kept: {}", path.display())))
        }
    }
}

/// Says what would become of files.
pub(crate) fn files(changes: &[Change], out: &mut Out) -> io::Result<()> {
    for change in changes {
        let file = change.file.display();
        let from =
            change.from.as_ref().map_or_else(String::new, |from| format!(", which is {}", from.display()));
        match (change.was, change.is, &change.bytes) {
            (None, Some(len), _) => out.line(format_args!("  new       {file}, {}{from}", bytes(len)))?,
            (Some(len), None, _) => out.line(format_args!("  gone      {file}, {}", bytes(len)))?,
            (Some(_), Some(len), None) => {
                out.line(format_args!("  replaced  {file}, now {}{from}", bytes(len)))?;
            }
            (_, _, Some(range)) => {
                out.line(format_args!("  changed   {file}, within bytes {}", span(range)))?;
            }
            (None, None, None) => {}
        }
    }
    Ok(())
}
