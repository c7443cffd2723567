//! What every [`Fs`] must do, as functions that panic where it does not. They see a running process only; what
//! survives a crash is the implementation's promise and cannot be seen from inside.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use super::{File, Fs, read_full};

type Check<F> = fn(&F, &Path);

/// Runs every check below in fresh subdirectories of the existing, empty directory `dir`.
///
/// # Panics
/// With the check's words, where the implementation does otherwise.
pub fn suite<F: Fs>(fs: &F, dir: &Path) {
    let checks: [(&str, Check<F>); 9] = [
        ("names", names_are_listed_moved_and_removed),
        ("taken", a_taken_name_is_refused),
        ("missing", a_missing_file_is_not_found),
        ("no file", what_is_no_file_is_not_opened),
        ("bytes", bytes_are_read_back_where_they_were_written),
        ("length", a_longer_file_reads_as_zeros),
        ("unlinked", an_open_file_outlives_its_name),
        ("space", free_space_is_told_if_known),
        ("lock", a_lock_admits_one),
    ];
    for (name, check) in checks {
        let dir = dir.join(name);
        fs.create_dir(&dir).expect("a directory in an existing one can be made");
        check(fs, &dir);
    }
}

/// `create_new`, `list`, `rename` over an existing name, `remove`.
pub fn names_are_listed_moved_and_removed<F: Fs>(fs: &F, dir: &Path) {
    let list = || {
        let mut names = fs.list(dir).expect("an existing directory is listed");
        names.sort();
        names
    };
    assert!(list().is_empty(), "a new directory is empty");
    write(fs, &dir.join("a"), b"a");
    write(fs, &dir.join("b"), b"b");
    fs.create_dir(&dir.join("c")).expect("a subdirectory can be made");
    assert_eq!(list(), ["a", "b", "c"]);
    fs.rename(&dir.join("a"), &dir.join("b")).expect("a rename may replace a file");
    assert_eq!(list(), ["b", "c"]);
    assert_eq!(read(fs, &dir.join("b")), b"a", "the name shows the moved file");
    fs.remove(&dir.join("b")).expect("a file can be removed");
    assert_eq!(list(), ["c"]);
    fs.sync_dir(dir).expect("a directory can be synced");
}

/// `free_bytes`: of a directory that takes a file, more than nothing.
pub fn free_space_is_told_if_known<F: Fs>(fs: &F, dir: &Path) {
    write(fs, &dir.join("a"), b"fits");
    assert_ne!(fs.free_bytes(dir).expect("an existing directory can be asked"), 0);
}

/// `AlreadyExists` from `create_new` and `create_dir`.
pub fn a_taken_name_is_refused<F: Fs>(fs: &F, dir: &Path) {
    write(fs, &dir.join("a"), b"kept");
    let error = fs.create_new(&dir.join("a")).err().expect("the name is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(read(fs, &dir.join("a")), b"kept");
    fs.create_dir(&dir.join("d")).expect("the name is free");
    let error = fs.create_dir(&dir.join("d")).expect_err("the name is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

/// `NotFound` from everything that takes a name.
pub fn a_missing_file_is_not_found<F: Fs>(fs: &F, dir: &Path) {
    let missing = dir.join("missing");
    let kinds = [
        fs.open(&missing).err().map(|e| e.kind()),
        fs.open_read(&missing).err().map(|e| e.kind()),
        fs.remove(&missing).err().map(|e| e.kind()),
        fs.rename(&missing, &dir.join("to")).err().map(|e| e.kind()),
        fs.list(&missing).err().map(|e| e.kind()),
        fs.create_new(&missing.join("x")).err().map(|e| e.kind()),
        fs.create_dir(&missing.join("x")).err().map(|e| e.kind()),
    ];
    assert_eq!(kinds, [Some(ErrorKind::NotFound); 7]);
}

/// An error from `open` and `open_read` of a directory.
pub fn what_is_no_file_is_not_opened<F: Fs>(fs: &F, dir: &Path) {
    assert!(fs.open(dir).is_err() && fs.open_read(dir).is_err());
}

/// Vectored positional writes, overwriting, reads across and beyond the end.
pub fn bytes_are_read_back_where_they_were_written<F: Fs>(fs: &F, dir: &Path) {
    let path = dir.join("a");
    let file = fs.create_new(&path).expect("the name is free");
    write_at(&file, &[b"hello ", b"", b"world"], 0);
    write_at(&file, &[b"W"], 6);
    write_at(&file, &[&[7; 9000]], 4090);
    assert_eq!(file.size().expect("a size"), 13_090);
    let mut buf = vec![1; 20_000];
    assert_eq!(read_full(&file, &mut buf, 0).expect("a read"), 13_090);
    assert_eq!(&buf[..11], b"hello World");
    assert!(buf[11..4090].iter().all(|&b| b == 0), "a gap reads as zeros");
    assert!(buf[4090..13_090].iter().all(|&b| b == 7));
    assert_eq!(file.read_at(&mut buf, 13_090).expect("a read"), 0, "the end reads as nothing");
    file.sync_data().expect("a sync");
    file.sync_all().expect("a sync");
    assert_eq!(read(fs, &path).len(), 13_090, "another handle sees the same");
}

/// `set_len` both ways, `allocate`.
pub fn a_longer_file_reads_as_zeros<F: Fs>(fs: &F, dir: &Path) {
    let path = dir.join("a");
    let file = fs.create_new(&path).expect("the name is free");
    write_at(&file, &[&[9; 6000]], 0);
    file.set_len(100).expect("a cut");
    file.set_len(10_000).expect("an extension");
    let bytes = read(fs, &path);
    assert_eq!(bytes.len(), 10_000);
    assert!(bytes[..100].iter().all(|&b| b == 9));
    assert!(bytes[100..].iter().all(|&b| b == 0), "what was cut does not come back");
    file.allocate(12_000).expect("space");
    assert!(read(fs, &path)[100..].iter().all(|&b| b == 0), "allocated space reads as zeros");
}

/// Removing a name leaves open handles working.
pub fn an_open_file_outlives_its_name<F: Fs>(fs: &F, dir: &Path) {
    let path = dir.join("a");
    let file = fs.create_new(&path).expect("the name is free");
    write_at(&file, &[b"still here"], 0);
    fs.remove(&path).expect("a file can be removed");
    let mut buf = [0; 10];
    assert_eq!(read_full(&file, &mut buf, 0).expect("a read"), 10);
    assert_eq!(&buf, b"still here");
}

/// `try_lock` twice, and again after the first is dropped.
pub fn a_lock_admits_one<F: Fs>(fs: &F, dir: &Path) {
    let path = dir.join("LOCK");
    let first = fs.try_lock(&path).expect("a lock file can be made");
    assert!(first.is_some());
    assert!(fs.try_lock(&path).expect("a look at the lock").is_none(), "a second holder is turned away");
    drop(first);
    assert!(fs.try_lock(&path).expect("a look at the lock").is_some(), "dropping unlocks");
}

fn write<F: Fs>(fs: &F, path: &Path, bytes: &[u8]) {
    let file = fs.create_new(path).expect("the name is free");
    write_at(&file, &[bytes], 0);
}

fn write_at<F: File>(file: &F, parts: &[&[u8]], offset: u64) {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    super::write_all(file, &mut slices, offset).expect("a write");
}

fn read<F: Fs>(fs: &F, path: &Path) -> Vec<u8> {
    let file = fs.open_read(path).expect("the file exists");
    let mut bytes = vec![0; usize::try_from(file.size().expect("a size")).expect("a small file")];
    assert_eq!(read_full(&file, &mut bytes, 0).expect("a read"), bytes.len());
    bytes
}
