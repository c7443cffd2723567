//! What every [`Disk`] must do while the power stays on. That synced bytes survive a power cut cannot be asked
//! of a real disk; [`MemoryDisk`](super::MemoryDisk) loses what was not.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{Disk, Hold, replace};

/// Checks a disk in the existing empty directory `dir`; makes files and directories there.
///
/// # Panics
///
/// Where the disk breaks a promise, naming it.
pub fn check<D: Disk>(disk: &D, dir: &Path) {
    files_are_read_back_whole_or_refused(disk, dir).expect("files: every call succeeds");
    names_move_and_go(disk, dir).expect("names: every call succeeds");
    directories_are_made_with_those_above_them(disk, dir).expect("directories: every call succeeds");
    an_exclusive_lock_keeps_others_out(disk, dir).expect("locks: every call succeeds");
}

fn files_are_read_back_whole_or_refused(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let file = dir.join("file");
    assert_eq!(disk.read(&file, 100)?, None, "a file that is not there is none");
    disk.write_synced(&file, b"longer")?;
    disk.write_synced(&file, b"short")?;
    assert_eq!(
        disk.read(&file, 5)?.as_deref(),
        Some(&b"short"[..]),
        "the last content, nothing of the first"
    );
    let refused = disk.read(&file, 4).expect_err("a file above the bound is refused");
    assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(disk.read(&file, usize::MAX)?.as_deref(), Some(&b"short"[..]), "no bound at all");
    disk.write_synced(&file, b"")?;
    assert_eq!(disk.read(&file, 0)?, Some(Vec::new()), "an empty file is not a missing one");
    disk.remove(&file)
}

fn names_move_and_go(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let (one, two) = (dir.join("one"), dir.join("two"));
    disk.write_synced(&one, b"1")?;
    disk.write_synced(&two, b"2")?;
    disk.rename(&one, &two)?;
    assert_eq!(disk.list(dir)?, ["two"], "the moved file replaced the other");
    assert_eq!(disk.read(&two, 9)?.as_deref(), Some(&b"1"[..]));
    replace(disk, &two, b"3")?;
    assert_eq!(disk.list(dir)?, ["two"], "no draft is left");
    disk.remove(&two)?;
    assert_eq!(disk.list(dir)?, Vec::<String>::new());
    let gone = disk.remove(&two).expect_err("what is not there cannot be removed");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    let gone = disk.rename(&one, &two).expect_err("what is not there cannot be moved");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    disk.sync_dir(dir)
}

fn directories_are_made_with_those_above_them(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let deep = dir.join("a").join("b");
    let missing = disk.write_synced(&deep.join("file"), b"x").expect_err("no directory, no file");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.list(&deep).expect_err("no directory, no list").kind(), io::ErrorKind::NotFound);
    disk.create_dir(&deep)?;
    disk.create_dir(&deep)?;
    disk.write_synced(&deep.join("file"), b"x")?;
    assert_eq!(disk.list(&deep)?, ["file"]);
    assert_eq!(disk.list(&dir.join("a"))?, Vec::<String>::new(), "a directory is not a file");
    Ok(())
}

fn an_exclusive_lock_keeps_others_out<D: Disk>(disk: &D, dir: &Path) -> io::Result<()> {
    let path = dir.join("lock");
    let (first, second) = (disk.lock(&path, Hold::Shared)?, disk.lock(&path, Hold::Shared)?);
    drop((first, second));
    // Each thread raises the number in the file by what it read: one that is not kept out loses a step.
    let file = dir.join("number");
    disk.write_synced(&file, b"\0")?;
    let inside = Arc::new(AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let guard = disk.lock(&path, Hold::Exclusive).expect("the lock comes free");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    let number = disk.read(&file, 1).expect("readable").expect("there")[0];
                    disk.write_synced(&file, &[number + 1]).expect("writable");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(disk.read(&file, 1)?, Some(vec![80]));
    Ok(())
}
