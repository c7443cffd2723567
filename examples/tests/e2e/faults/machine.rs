//! What this machine can do.

use std::path::Path;
use std::process::{Command, Stdio};

/// Tells that a test was not run here.
pub(super) fn skipped(reason: &str) {
    eprintln!("skipped: {}", reason.trim());
}

/// Whether a program runs and succeeds; otherwise what it said.
pub(super) fn tries(program: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            Err(format!("{program} {}: {} {said}", arguments.join(" "), output.status))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
