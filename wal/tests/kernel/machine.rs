//! What this machine can do, and how the other process is started.

use std::ffi::OsStr;
use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ROLE: &str = "FOREBAY_WAL_ROLE";
const DIR: &str = "FOREBAY_WAL_DIR";
/// What the role is told besides.
pub(crate) const ARGUMENT: &str = "FOREBAY_WAL_ARGUMENT";
/// How a role ends that finds that the machine cannot do it.
const SKIPPED: i32 = 77;

/// What this process is, if it is not the one that tests.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var(ROLE).ok()?;
    // The harness has begun a line.
    println!();
    Some((role, std::env::var_os(DIR)?.into()))
}

pub(crate) fn argument() -> String {
    std::env::var(ARGUMENT).unwrap_or_default()
}

/// This binary in another role, behind a program that starts it, if one is named.
pub(crate) fn start<S: AsRef<OsStr>>(wrapper: &[S], role: &str, dir: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(this),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(this);
            command
        }
    };
    command.args(["--exact", "the_other_process", "--ignored", "--nocapture", "--test-threads=2"]);
    command.env(ROLE, role).env(DIR, dir).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Runs a role that is a whole test of its own; it skips by [`skip`].
pub(crate) fn run<S: AsRef<OsStr>>(wrapper: &[S], role: &str, dir: &Path) {
    let output = start(wrapper, role, dir).stderr(Stdio::piped()).output().unwrap();
    let said = said(&output);
    if output.status.code() == Some(SKIPPED) {
        return skipped(&said);
    }
    assert!(output.status.success(), "{role}: {}\n{said}", output.status);
}

/// Everything that a process has printed.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).join("\n")
}

/// Tells that a test was not run here. Not by `eprintln!`: of a test that passes the harness shows none of that.
pub(crate) fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let mut stderr = stderr().lock();
    writeln!(stderr, "{test} skipped: {}", reason.trim()).unwrap();
}

/// Ends a role that the machine cannot do.
pub(crate) fn skip(reason: &str) -> ! {
    println!("{reason}");
    std::process::exit(SKIPPED)
}

/// Whether a program runs and succeeds; otherwise what it said.
pub(crate) fn tries(program: &str, args: &[&str]) -> Result<(), String> {
    match Command::new(program).args(args).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program} {}: {} {}", args.join(" "), output.status, said(&output))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// As [`tries`], of what cannot fail any more.
pub(crate) fn does(program: &str, args: &[&str]) {
    tries(program, args).unwrap_or_else(|error| panic!("{error}"));
}

/// A directory in memory where there is one: for disks whose syncs would only cost time.
pub(crate) fn scratch_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Rounds of a test that ends in chance, as many as a variable says.
pub(crate) fn rounds(variable: &str, few: u64) -> u64 {
    std::env::var(variable).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// Every number, or a sample of one in `step` whose phase differs by `phase`.
pub(crate) fn sample(step: u64, phase: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var_os("WAL_EXHAUSTIVE").is_some();
    let (first, step) = if all { (1, 1) } else { (1 + phase % step, step) };
    (0..).map(move |n| first + n * step)
}

/// Deterministic chance (splitmix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}
