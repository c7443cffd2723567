//! `walctl verify`: is the log whole?

use forebay_wal::verify_in;

use crate::Outcome;
use crate::args::Verify;
use crate::disk::Files;
use crate::out::Out;
use crate::report::Report;

pub(crate) fn run(arguments: &Verify, out: &mut Out) -> Outcome {
    let files = Files::list(&arguments.dir)?;
    let report = look(&files)?;
    match out.json {
        true => out.object(&report)?,
        false => report.print(out)?,
    }
    Ok(report.verdict())
}

/// Judges the log without changing it.
pub(crate) fn look(files: &Files) -> Result<Report, forebay_wal::OpenError> {
    let disk = files.disk();
    let verified = verify_in(disk.clone(), &files.dir);
    disk.bar.finish_and_clear();
    verified.map_or_else(Report::of, |report| Ok(Report::from(&report)))
}
