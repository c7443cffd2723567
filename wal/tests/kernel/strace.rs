//! System calls that fail, lie, last, or are the last: by `strace -e inject`.

use std::path::Path;
use std::process::{Output, Stdio};

use forebay_wal::{DamageClass, OpenError, Wal};

use crate::machine::{said, sample, scratch_in_memory, skipped, start, tries};
use crate::promise::Promises;
use crate::writer::options;

/// What writes: several pieces, and one.
const WRITES: [&str; 2] = ["pwritev", "pwrite64"];
/// What of the log's calls changes something; the loader of programs makes none of these.
const CHANGES: &str = "pwritev,pwrite64,fdatasync,fsync,rename,unlink,ftruncate,fallocate,mkdir";

/// `strace` is there and may be used.
fn is_here() -> bool {
    let here = tries("strace", &["-f", "-qq", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", "true"]);
    here.map_err(|reason| skipped(&reason)).is_ok()
}

/// Runs a role under `strace` with these options more.
fn trace(role: &str, dir: &Path, log: &Path, options: &[&str]) -> Output {
    let strace = ["strace", "-f", "-qq", "-o", log.to_str().unwrap()];
    start(&[&strace[..], options].concat(), role, dir).stderr(Stdio::piped()).output().unwrap()
}

/// Runs a role that meets `what` at the `when`-th of these system calls.
fn inject(role: &str, dir: &Path, calls: &str, what: &str, when: &str) -> Output {
    let trace_only = format!("trace={calls}");
    let inject = format!("inject={calls}:{what}:when={when}");
    trace(role, dir, Path::new("/dev/null"), &["-e", &trace_only, "-e", &inject])
}

/// How many of these system calls a role makes.
fn count(role: &str, dir: &Path, calls: &str) -> u64 {
    let scratch = tempfile::NamedTempFile::new().unwrap();
    let output = trace(role, dir, scratch.path(), &["-e", &format!("trace={calls}")]);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::read_to_string(scratch.path()).unwrap().lines().filter(|line| line.contains('(')).count() as u64
}

/// Runs the script, of all of which or a sample the n-th call meets `what`: what it was promised, and where it is.
fn strike(calls: &str, what: &str, (step, plus): (u64, &str), mut judge: impl FnMut(Promises, &Path, &str)) {
    if !is_here() {
        return;
    }
    let all = count("script", &scratch_in_memory().path().join("log"), calls);
    assert!(all > 0, "there are calls of {calls}");
    for when in sample(step, all).take_while(|when| *when <= all) {
        let scratch = scratch_in_memory();
        let dir = scratch.path().join("log");
        let output = inject("script", &dir, calls, what, &format!("{when}{plus}"));
        let what = format!("{calls} {what} at {when}{plus} of {all}");
        let mut promises = Promises::default();
        promises.hear_all(&String::from_utf8_lossy(&output.stdout));
        assert!(output.status.code().is_none_or(|code| code == 0), "{what}: {}", said(&output));
        judge(promises, &dir, &what);
    }
}

/// G7: it poisons the log for good; what was acknowledged before is there, and nothing was after it.
#[test]
fn the_first_sync_that_fails_ends_all_writing() {
    for plus in ["", "+"] {
        strike("fdatasync", "error=EIO", (4, plus), |mut promises, dir, what| {
            let answers = promises.answers();
            let acked = answers.iter().take_while(|answer| *answer == "acked").count();
            assert!(!answers[acked..].contains(&"acked".to_owned()), "{what}: {answers:?}");
            assert!(promises.count("unknown") <= 1 && promises.count("closed") == 0, "{what}: {answers:?}");
            promises.check(dir, what);
        });
    }
}

/// Of a file that is being made: the log is whole without it. Of a directory: nobody knows its names any more.
#[test]
fn a_sync_that_fails_where_a_segment_is_made_loses_nothing() {
    strike("fsync", "error=EIO", (1, ""), |mut promises, dir, what| {
        promises.check(dir, what);
    });
}

/// G3, G12: one append is refused and the log goes on; the bytes are taken back before anything else is written.
#[test]
fn a_write_that_fails_refuses_one_append_and_no_other() {
    for (calls, failure) in WRITES
        .into_iter()
        .flat_map(|calls| ["error=ENOSPC", "error=EIO", "retval=0"].map(|failure| (calls, failure)))
    {
        strike(calls, failure, (5, ""), |mut promises, dir, what| {
            let failed = (promises.count("rejected"), promises.count("unknown"));
            assert!(failed.0 <= 1 && failed.1 == 0, "{what}: {failed:?}");
            assert!(promises.count("closed") == 1 || failed == (0, 0), "{what}");
            promises.check(dir, what);
        });
    }
}

#[test]
fn a_disk_that_takes_nothing_any_more_loses_nothing() {
    for calls in WRITES {
        strike(calls, "error=ENOSPC", (5, "+"), |mut promises, dir, what| {
            promises.check(dir, what);
        });
    }
}

/// The kernel says that it took eight bytes and did not: the frame is there but for its beginning, acknowledged and
/// synced. What follows it proves that, and opening refuses to go on without it.
#[test]
fn a_write_that_lies_is_told_as_damage() {
    let mut damaged = 0;
    let mut judge = |mut promises: Promises, dir: &Path, what: &str| match Wal::open(dir, options()) {
        Ok((wal, report)) => promises.hold_against(&wal, &report, what),
        Err(OpenError::Corrupt(damage)) => {
            let classes = [DamageClass::DamagedDurable, DamageClass::Foreign];
            let told = classes.contains(&damage.class) || matches!(damage.class, DamageClass::BadHeader(_));
            assert!(told, "{what}: {damage}");
            damaged += 1;
        }
        Err(error) => panic!("{what}: {error}"),
    };
    for calls in WRITES {
        strike(calls, "retval=8", (3, ""), &mut judge);
    }
    assert!(damaged > 2 || !is_here(), "{damaged} were damaged");
}

/// The process ends right before each of its calls that changes something, and so does every opening after it.
#[test]
fn a_kill_before_any_call_loses_nothing_nor_does_one_of_the_recovery() {
    strike(CHANGES, "signal=KILL", (7, ""), |mut promises, dir, what| {
        for again in sample(5, promises.count("acked")) {
            let output = inject("open", dir, CHANGES, "signal=KILL", &again.to_string());
            if output.status.success() {
                break;
            }
            assert_eq!(output.status.code(), None, "{what}, opening at {again}: {}", said(&output));
        }
        promises.check(dir, what);
    });
}

/// While a slow sync is under way the others gather, and share the next one.
#[test]
fn appends_that_wait_for_a_slow_sync_share_the_next() {
    if !is_here() {
        return;
    }
    let scratch = scratch_in_memory();
    let output = inject("crowd", scratch.path(), "fdatasync", "delay_enter=20000", "1+");
    assert!(output.status.success(), "{}", said(&output));
}
