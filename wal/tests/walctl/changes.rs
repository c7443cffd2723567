//! Commands that write, once they are told to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use forebay_wal::format::{Checksum, Features, Header};
use forebay_wal::fs::StdFs;
use forebay_wal::{Compression, Lsn, Options, View, Wal};
use serde_json::Value;

use crate::bench::{Log, options, run};

fn torn() -> Log {
    let log = Log::golden("v1");
    log.edit(3, |bytes| bytes[5500..].fill(0));
    log
}

fn damaged() -> Log {
    let log = Log::golden("v1");
    log.edit(1, |bytes| bytes[5000] ^= 1);
    log
}

fn lsns(log: &Log) -> Vec<u64> {
    let (view, _) = View::open(log.dir()).unwrap();
    view.reader(Lsn(0)).map(|record| record.unwrap().lsn.0).collect()
}

fn sizes(log: &Log) -> BTreeMap<PathBuf, u64> {
    let files = log.files().into_iter().filter(|(path, _)| path.is_file());
    files.map(|(path, (bytes, _))| (path, bytes.len() as u64)).collect()
}

/// Asserts that the plan named every file that came, went, or has other bytes now, and no other.
fn assert_came_true(
    plan: &Value,
    before: &Log,
    now: &Log,
    was: &BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)>,
) {
    let mut expected: BTreeMap<PathBuf, (Option<u64>, Option<u64>)> = BTreeMap::new();
    let is = now.files();
    let paths = was.keys().chain(is.keys()).filter(|path| !path.is_dir() && !path.ends_with("LOCK"));
    for path in paths {
        let (was, is) = (was.get(path), is.get(path));
        if was.map(|file| &file.0) != is.map(|file| &file.0) {
            let len = |file: Option<&(Vec<u8>, _)>| file.map(|file| file.0.len() as u64);
            expected.insert(path.clone(), (len(was), len(is)));
        }
    }
    let told: BTreeMap<PathBuf, (Option<u64>, Option<u64>)> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            (change["file"].as_str().unwrap().into(), (change["was"].as_u64(), change["is"].as_u64()))
        })
        .collect();
    assert_eq!(told, expected, "in {}", before.dir().display());
}

#[test]
fn a_repair_is_shown_before_it_is_done_and_then_done_as_shown() {
    type Make = fn() -> Log;
    let cases: [(Make, &[&str], u64); 4] = [
        (torn, &["repair"], 13),
        (torn, &["repair", "--policy", "salvage", "--no-quarantine"], 13),
        (damaged, &["repair", "--policy", "salvage"], 0),
        (damaged, &["repair", "--policy", "truncate-at"], 0),
    ];
    for (make, command, records) in cases {
        let log = make();
        let was = log.files();
        let plan = run(&[command, &["--json"]].concat(), log.dir());
        assert_eq!(plan.code, 1, "still as it was: {plan:?}");
        let shown = run(command, log.dir());
        assert!(shown.out.contains("Nothing was changed") && shown.code == 1, "{shown:?}");
        assert_eq!(log.files(), was, "{command:?} wrote");

        let plan = plan.object();
        let done = run(&[command, &["--yes", "--json"]].concat(), log.dir());
        assert_eq!(done.code, 0, "{done:?}");
        let done = done.object();
        assert_eq!((&plan["done"], &done["done"]), (&false.into(), &true.into()));
        assert_eq!((&plan["found"], &plan["repaired"]), (&done["found"], &done["repaired"]));
        assert_came_true(&plan, &log, &log, &was);

        assert_eq!(run(&["verify"], log.dir()).code, 0);
        let left = done["repaired"]["records"].as_u64().unwrap();
        assert_eq!(left, lsns(&log).len() as u64);
        assert!(records == 0 || left == records, "{left}");
        let quarantined = log.dir().join("quarantine").exists();
        assert_eq!(quarantined, !command.contains(&"--no-quarantine"));
    }
}

#[test]
fn a_repair_says_what_it_has_done_and_kept() {
    let log = torn();
    let shown = run(&["repair", "--yes"], log.dir());
    let kept = std::fs::read_dir(log.dir().join("quarantine")).unwrap().next().unwrap().unwrap().path();
    assert!(shown.out.contains(&format!("kept: {}", kept.display())), "{shown:?}");
    let log = damaged();
    let shown = run(&["repair", "--yes", "--policy", "salvage"], log.dir()).out;
    assert!(shown.contains("The repair has left:") && shown.contains("without records"), "{shown}");
}

#[test]
fn a_whole_log_is_left_alone_by_repairs() {
    let log = Log::golden("v1");
    let before = log.files();
    for policy in ["fail", "truncate-tail", "truncate-at", "salvage"] {
        let answer = run(&["repair", "--yes", "--json", "--policy", policy], log.dir());
        assert_eq!((answer.code, &answer.object()["done"]), (0, &false.into()));
    }
    assert_eq!(log.files(), before);
}

#[test]
fn a_repair_of_less_than_is_wrong_is_refused_with_what_would_help() {
    let log = damaged();
    for arguments in [&["repair"][..], &["repair", "--yes"]] {
        let before = log.files();
        let refused = run(arguments, log.dir());
        assert_eq!(refused.code, 1);
        assert!(
            refused.err.contains("is corrupt") && refused.err.contains("--policy salvage"),
            "{refused:?}"
        );
        assert!(refused.out.contains("synced bytes are damaged"), "{refused:?}");
        let same =
            |files: &BTreeMap<PathBuf, _>| files.keys().filter(|path| path.extension().is_some()).count();
        assert_eq!(same(&log.files()), same(&before));
    }
    let log = torn();
    let before = log.files();
    assert_eq!(run(&["repair", "--policy", "fail", "--yes"], log.dir()).code, 1);
    assert_eq!(log.files(), before);
}

#[test]
fn a_repair_keeps_the_size_of_segments_and_the_spares_that_there_are() {
    let log = Log::of(|wal| {
        for _ in 0..60 {
            wal.append(vec![7; 500]).unwrap();
        }
        wal.truncate_before(Lsn(50)).unwrap();
        wal.append(vec![7; 500]).unwrap();
    });
    let spares =
        |log: &Log| sizes(log).keys().filter(|path| path.extension().is_some_and(|e| e == "tmp")).count();
    assert!(spares(&log) > 2, "{}", spares(&log));
    let before = (spares(&log), sizes(&log).values().max().copied());
    let last =
        run(&["inspect", "--json"], log.dir()).objects().iter().rfind(|s| s["frames"] != 0).unwrap().clone();
    let end = usize::try_from(last["end"].as_u64().unwrap()).unwrap();
    log.edit(last["segment"].as_u64().unwrap(), |bytes| bytes[end - 600] ^= 1);
    assert_eq!(run(&["verify"], log.dir()).code, 1);
    let repaired = run(&["repair", "--yes"], log.dir());
    assert_eq!(repaired.code, 0, "{repaired:?}");
    assert_eq!((spares(&log), sizes(&log).values().max().copied()), before);
}

#[test]
fn a_truncation_is_shown_before_it_is_done_and_leaves_a_closed_log() {
    let log = Log::golden("v1");
    // A log has its lock file from its first opening on.
    drop(Wal::open_in(StdFs, log.dir(), options()).unwrap());
    let was = log.files();
    let plan = run(&["truncate", "--before", "12", "--json"], log.dir());
    assert_eq!(plan.code, 0);
    let shown = run(&["truncate", "--before", "12"], log.dir()).out;
    assert!(shown.contains("would be given back") && shown.contains("Nothing was changed"), "{shown}");
    assert_eq!(log.files(), was);

    let done = run(&["truncate", "--before", "12", "--yes", "--json"], log.dir()).object();
    let plan = plan.object();
    for field in ["segments", "bytes", "low_lsn", "remaining"] {
        assert_eq!(done[field], plan[field], "{field}");
    }
    assert_eq!((&done["segments"], &done["low_lsn"]), (&2.into(), &12.into()));
    assert_came_true(&plan, &log, &log, &was);
    assert_eq!(lsns(&log), (12..17).collect::<Vec<_>>());
    assert_eq!(run(&["verify", "--json"], log.dir()).object()["clean"], true);
}

/// It made a plain one, unaligned, behind a segment that was not closed.
#[test]
fn a_segment_that_a_truncation_makes_is_like_the_others() {
    let log = Log::empty();
    let like = Options {
        segment_bytes: 16 << 10,
        commit_align: 1024,
        compression: Compression::Zstd { level: 1 },
        checksum: Checksum::Crc32c,
        ..options()
    };
    let (wal, _) = Wal::open_in(StdFs, log.dir(), like).unwrap();
    for _ in 0..3 {
        wal.append(vec![7; 900]).unwrap();
        wal.rotate().unwrap();
    }
    wal.append("the last").unwrap();
    drop(wal);
    let header = |number| Header::decode(&std::fs::read(log.segment(number)).unwrap()).unwrap();
    let made = |number| {
        let Header { checksum, capacity, features, commit_align, .. } = header(number);
        (checksum, capacity, features, commit_align)
    };
    assert!(made(4).2.has(Features::COMPRESSION) && !log.segment(5).exists());
    assert_eq!(run(&["truncate", "--before", "3", "--yes"], log.dir()).code, 0);
    assert_eq!(made(5), made(4));
    assert_eq!(lsns(&log), [3, 4]);
}

#[test]
fn a_log_that_is_not_whole_is_not_truncated() {
    for log in [torn(), damaged()] {
        let refused = run(&["truncate", "--before", "12", "--yes"], log.dir());
        assert!(refused.code == 1 && refused.err.contains("walctl repair"), "{refused:?}");
        assert!(log.segment(1).exists() && log.segment(2).exists());
    }
}

/// A plan kept open every file that it had looked at.
#[test]
fn a_plan_for_a_log_of_any_length_takes_few_open_files() {
    let long = || {
        Log::of(|wal| {
            for id in 0..60 {
                wal.append(format!("record {id}")).unwrap();
                wal.rotate().unwrap();
            }
        })
    };
    let (whole, broken) = (long(), long());
    broken.edit(30, |bytes| bytes[4240] ^= 1);
    for (log, arguments, code) in [
        (&whole, &["truncate", "--before", "50", "--json"][..], 0),
        (&broken, &["repair", "--policy", "salvage", "--json"], 1),
        (&broken, &["dump", "--salvage", "--json"], 1),
    ] {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 32 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_walctl")]);
        let output = limited.args(arguments).arg(log.dir()).output().unwrap();
        let (expected, told) = (run(arguments, log.dir()), String::from_utf8(output.stderr).unwrap());
        assert_eq!((output.status.code(), expected.code), (Some(code), code), "{arguments:?}: {told}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected.out, "{arguments:?}");
    }
}
