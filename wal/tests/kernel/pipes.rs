//! What has the name of a file of the log and is none: told by its path, and not waited for.

use std::path::Path;
use std::process::Command;

use forebay_wal::{OpenError, RepairPolicy, View, Wal, verify};

use crate::writer::options;

/// A log of one segment, not closed.
fn log() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open_in(forebay_wal::fs::StdFs, scratch.path(), options()).unwrap();
    wal.append("a record").unwrap();
    scratch
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn directory(path: &Path) {
    std::fs::create_dir(path).unwrap();
}

fn refuses<T>(opened: Result<T, OpenError>, path: &Path) {
    match opened.map(drop) {
        Err(OpenError::Io { path: told, source, .. }) => {
            assert_eq!((told.as_path(), source.to_string().as_str()), (path, "this is no file"));
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

/// Opening one for reading waited until somebody opened it for writing, which nobody does.
#[test]
fn what_is_no_file_is_told_and_not_waited_for() {
    for (make, segment) in [(pipe as fn(&Path), 2), (pipe, 1), (directory, 2), (directory, 1)] {
        let scratch = log();
        let path = scratch.path().join(format!("wal-{segment:016x}.seg"));
        if segment == 1 {
            std::fs::remove_file(&path).unwrap();
        }
        make(&path);
        refuses(verify(scratch.path()), &path);
        refuses(View::open(scratch.path()), &path);
        for repair in [RepairPolicy::TruncateTail, RepairPolicy::Salvage] {
            refuses(Wal::open(scratch.path(), forebay_wal::Options { repair, ..options() }), &path);
        }
    }
    for make in [pipe as fn(&Path), directory] {
        let scratch = log();
        let path = scratch.path().join("spare-0.tmp");
        make(&path);
        assert_eq!(verify(scratch.path()).unwrap().records, 1, "who only looks has no use for it");
        assert_eq!(View::open(scratch.path()).unwrap().1.records, 1);
        let before = std::fs::read(scratch.path().join("wal-0000000000000001.seg")).unwrap();
        refuses(Wal::open(scratch.path(), options()), &path);
        assert_eq!(std::fs::read(scratch.path().join("wal-0000000000000001.seg")).unwrap(), before);
    }
}
