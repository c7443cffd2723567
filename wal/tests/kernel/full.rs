//! A disk that is full, and a process that may not write longer files.

use std::path::Path;

use forebay_wal::fs::StdFs;
use forebay_wal::{AppendError, Lsn, Options, Reject, Wal};

use crate::machine::{run, scratch_in_memory, skip, skipped, tries};
use crate::writer::options;

/// Appends until the disk is full; how many there was room for.
fn fill_up(wal: &Wal<StdFs>) -> u64 {
    for taken in 0.. {
        match wal.append(vec![7; 3000]) {
            Ok(_) => {}
            Err(AppendError::Rejected(Reject::NoSpace { .. })) => return taken,
            Err(error) => panic!("{error:?}"),
        }
    }
    unreachable!("the disk has an end")
}

/// G12, in the directory of a disk that has little room: refused, served, given back, resumed.
pub(crate) fn fills_up_and_resumes(disk: &Path) {
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 300 << 10]).unwrap();
    let options = || Options { segment_bytes: 64 << 10, ..options() };
    let open = || Wal::open_in(StdFs, disk.join("log"), options());
    let (wal, _) = open().unwrap();
    let mut records = fill_up(&wal);
    assert!(records > 50, "{records}");
    let read = |wal: &Wal<StdFs>| wal.reader(Lsn(0)).map(|record| record.unwrap().lsn.0).collect::<Vec<_>>();
    assert_eq!(read(&wal), (1..=records).collect::<Vec<_>>(), "a full disk is read");
    assert_eq!(fill_up(&wal), 0, "it stays refused");

    drop(wal);
    let (wal, report) = open().unwrap();
    assert_eq!(report.next_lsn, Lsn(records + 1), "a log on a full disk opens");
    records += fill_up(&wal);
    let low = wal.truncate_before(Lsn(records / 2)).unwrap().low;
    assert_eq!(low, Lsn(records / 2), "it can be truncated");
    let resumed = fill_up(&wal);
    assert!(resumed > 10, "{resumed} went where others had been");
    records += resumed;

    std::fs::remove_file(&ballast).unwrap();
    let resumed = fill_up(&wal);
    assert!(resumed > 30, "{resumed} after somebody else made room, without a new opening");
    records += resumed;
    wal.truncate_before(Lsn(records - 5)).unwrap();
    wal.append("after").unwrap();
    wal.close().unwrap();
    let (wal, report) = open().unwrap();
    assert!(report.clean);
    assert_eq!(read(&wal), (records - 5..=records + 1).collect::<Vec<_>>());
}

/// In a mount namespace of its own, which takes the mount with it.
pub(crate) fn fill(dir: &Path) {
    let disk = dir.to_str().unwrap();
    let image = format!("{disk}.ext4");
    let mounted = if Path::new(&image).exists() {
        tries("mount", &["-o", "loop", &image, disk])
    } else {
        tries("mount", &["-t", "tmpfs", "-o", "size=1m", "none", disk])
    };
    mounted.unwrap_or_else(|reason| skip(&reason));
    fills_up_and_resumes(dir);
}

#[test]
fn a_full_tmpfs_refuses_appends_and_serves_all_else() {
    if let Err(reason) = tries("unshare", &["-rm", "true"]) {
        return skipped(&reason);
    }
    run(&["unshare", "-rm"], "fill", scratch_in_memory().path());
}

#[test]
fn a_full_ext4_refuses_appends_and_serves_all_else() {
    if let Err(reason) = tries("unshare", &["-m", "true"]) {
        return skipped(&reason);
    }
    let scratch = scratch_in_memory();
    let disk = scratch.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    if let Err(reason) = ext4(&scratch.path().join("disk.ext4"), 8 << 20) {
        return skipped(&reason);
    }
    run(&["unshare", "-m"], "fill", &disk);
}

/// A new image of an ext4 file system.
pub(crate) fn ext4(image: &Path, bytes: u64) -> Result<(), String> {
    std::fs::File::create(image).and_then(|file| file.set_len(bytes)).unwrap();
    tries("mkfs.ext4", &["-q", "-F", "-m", "0", image.to_str().unwrap()])
}

/// A record that would need a longer file than the process may write is refused, and no other.
pub(crate) fn limited(dir: &Path) {
    let (wal, _) = Wal::open_in(StdFs, dir, options()).unwrap();
    wal.append("before").unwrap();
    for _ in 0..3 {
        let refused = wal.append(vec![1; 400 << 10]);
        assert!(matches!(refused, Err(AppendError::Rejected(Reject::NoSpace { .. }))), "{refused:?}");
        wal.append(vec![2; 6000]).unwrap();
    }
    drop(wal);
    let large = Options { segment_bytes: 1 << 20, ..options() };
    let (wal, report) = Wal::open_in(StdFs, dir, large).unwrap();
    assert_eq!(report.records, 4);
    assert!(
        matches!(wal.rotate(), Err(AppendError::Rejected(Reject::NoSpace { .. }))),
        "no segment can be that long"
    );
    wal.append("goes on where there is room").unwrap();
    assert_eq!(wal.reader(Lsn(0)).count(), 5);
}

#[test]
fn a_limit_on_the_length_of_files_is_a_full_disk_for_the_records_that_exceed_it() {
    if let Err(reason) = tries("sh", &["-c", "ulimit -f 200"]) {
        return skipped(&reason);
    }
    let shell = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    run(&["sh", "-c", shell], "limited", scratch_in_memory().path());
}
