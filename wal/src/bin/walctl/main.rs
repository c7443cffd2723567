//! Looks at a log on disk, verifies it, and repairs or truncates it.
//!
//! Whatever does not say `--yes` goes through file systems that cannot write: [`disk`] reads, and [`overlay`] keeps in
//! memory what a repair or a truncation would do.

mod args;
mod disk;
mod dump;
mod inspect;
mod out;
mod overlay;
mod repair;
mod report;
mod stat;
mod truncate;
mod verify;
mod walk;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use out::Out;

/// What the log is, for scripts: see the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Whole,
    Faulty,
}

type Outcome = Result<Verdict, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = Out::new(arguments.json);
    let outcome = match &arguments.command {
        Command::Inspect(inspect) => inspect::run(inspect, &mut out),
        Command::Verify(verify) => verify::run(verify, &mut out),
        Command::Dump(dump) => dump::run(dump, &mut out),
        Command::Stat(stat) => stat::run(stat, &mut out),
        Command::Repair(repair) => repair::run(repair, &mut out),
        Command::Truncate(truncate) => truncate::run(truncate, &mut out),
    };
    match outcome.and_then(|verdict| out.finish().map(|()| verdict).map_err(Into::into)) {
        Ok(Verdict::Whole) => ExitCode::SUCCESS,
        Ok(Verdict::Faulty) => ExitCode::from(1),
        Err(error) => {
            // There is nobody left to tell when this fails as well.
            let _ = out::complain(error.as_ref());
            ExitCode::from(2)
        }
    }
}
