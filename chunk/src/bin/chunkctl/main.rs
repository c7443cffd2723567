//! Looks at chunks of log lines, verifies them, shows their entries and converts them.

mod args;
mod convert;
mod dump;
mod file;
mod inspect;
mod out;
mod report;
mod verify;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use out::Out;

/// What the files are, for scripts: see the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Whole,
    Faulty,
    /// It cannot be said.
    Unknown,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = Out::new(arguments.json);
    let policy = arguments.policy.into();
    let outcome = match &arguments.command {
        Command::Inspect(inspect) => inspect::run(inspect, policy, &mut out),
        Command::Verify(verify) => verify::run(verify, policy, &mut out),
        Command::Dump(dump) => dump::run(dump, policy, &mut out),
        Command::Convert(convert) => convert::run(convert, policy, &mut out),
    };
    match outcome.and_then(|verdict| out.finish().map(|()| verdict)) {
        Ok(Verdict::Whole) => ExitCode::SUCCESS,
        Ok(Verdict::Faulty) => ExitCode::from(1),
        Ok(Verdict::Unknown) => ExitCode::from(2),
        Err(error) => {
            // There is nobody left to tell when this fails as well.
            let _ = out::complain(error);
            ExitCode::from(2)
        }
    }
}

/// The worst of what was found of several files.
type Outcome = io::Result<Verdict>;
