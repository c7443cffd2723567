//! Where output goes: to people, to programs, to nobody.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use forebay_wal::fs::StdFs;
use forebay_wal::{Durability, Wal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::bench::{Log, golden, options, run, walctl};

/// More than a pipe holds, and more than is read in a moment.
fn long_log() -> Log {
    let log = Log::empty();
    let long = forebay_wal::Options { segment_bytes: 4 << 20, max_frame: 1 << 20, ..options() };
    let (wal, _) = Wal::open_in(StdFs, log.dir(), long).unwrap();
    for _ in 0..24 {
        wal.append_batch_with(vec!["a line of a log. ".repeat(100); 120], Durability::Written).unwrap();
    }
    log
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let log = long_log();
    for command in [&["dump"][..], &["dump", "--json"], &["inspect", "--frames"]] {
        let mut child = walctl()
            .args(command)
            .arg(log.dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut some = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{command:?}");
    }
}

#[test]
fn the_answer_is_right_although_nobody_reads() {
    let log = Log::golden("v1");
    log.edit(1, |bytes| bytes[5000] ^= 1);
    for (dir, code) in [(log.dir(), 1), (&golden("v1"), 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = walctl().arg("verify").arg(dir).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(code), &b""[..]));
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = walctl().arg("verify").arg(golden("v1")).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("No space left on device"));
}

#[test]
fn long_work_shows_how_far_it_is_on_a_terminal_and_nowhere_else() {
    let log = long_log();
    for command in ["verify", "dump", "inspect"] {
        assert_eq!(run(&[command], log.dir()).err, "", "no terminal, no bar");
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let mut child =
            walctl().arg(command).arg(log.dir()).stdout(Stdio::null()).stderr(other).spawn().unwrap();
        // Reading ends with an error when the last one who has the terminal is gone.
        let mut shown = Vec::new();
        let _ = File::from(terminal).read_to_end(&mut shown);
        assert!(child.wait().unwrap().success());
        let shown = String::from_utf8_lossy(&shown);
        assert!(shown.contains("of 8.00 MiB"), "{command}: {shown:?}");
    }
}

#[test]
fn the_help_teaches_by_examples() {
    for command in [&["--help"][..], &["dump", "--help"], &["repair", "--help"], &["truncate", "--help"]] {
        let output = walctl().args(command).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("Examples:"), "{help}");
    }
    let help = String::from_utf8(walctl().arg("--help").output().unwrap().stdout).unwrap();
    assert!(help.contains("Exit codes:") && help.contains("0  the log is whole"), "{help}");
}
