//! Looking at a log changes nothing and tells what opening it would.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::forge::{data, first_start, forge, frame_header};
use crate::harness::{DIR, Session, Step, die_at, options, path, read_all, record};
use forebay_wal::format::Frag;
use forebay_wal::fs::sim::{Fault, Op, SimFile, SimFs, SimLock, Survive};
use forebay_wal::fs::{File, Fs};
use forebay_wal::{Lsn, OpenError, Options, ReadError, Reader, RecoveryReport, View, Wal, verify};

/// Every file of the log, by name.
fn files(disk: &SimFs) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in [DIR.to_owned(), format!("{DIR}/quarantine")] {
        for name in disk.names(&dir).unwrap_or_default() {
            let path = format!("{dir}/{name}");
            files.insert(path.clone(), disk.peek(path).unwrap_or_default());
        }
    }
    files
}

fn changes(disk: &SimFs) -> u64 {
    use Op::{Allocate, CreateDir, CreateNew, Lock, Remove, Rename, SetLen, Sync, SyncDir, Write};
    let ops = [Allocate, CreateDir, CreateNew, Lock, Remove, Rename, SetLen, Sync, SyncDir, Write];
    ops.iter().map(|op| disk.count(*op)).sum()
}

fn all(reader: Reader<SimFs>) -> Vec<(u64, Vec<u8>)> {
    reader.map(|record| record.map(|r| (r.lsn.0, r.bytes.to_vec()))).collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_view_of_any_crashed_log_shows_what_opening_finds_and_writes_nothing() {
    let (mut torn, mut looks) = (0, 0);
    for op in (40..).step_by(2) {
        let died = die_at(op);
        for seed in 0..4 {
            let image = died.disk.crash(Survive::Seeded(seed));
            let report = look_and_open(&image, &format!("died at {op}, seed {seed}"));
            torn += usize::from(report.torn.is_some());
            looks += 1;
        }
        if !died.disk.has_crashed() {
            break;
        }
    }
    assert!(looks > 100 && torn > 3, "{torn} of {looks} had a torn tail");
}

fn look_and_open(image: &SimFs, what: &str) -> RecoveryReport {
    let before = files(image);
    let (view, found) = View::open_in(image.clone(), DIR).unwrap_or_else(|error| panic!("{what}: {error}"));
    let records = all(view.reader(Lsn(0)));
    assert_eq!(changes(image), 0, "{what}");
    assert!(files(image) == before, "{what}");
    let (wal, report) = Wal::open_in(image.clone(), DIR, options()).unwrap();
    assert!(read_all(&wal) == records, "{what}");
    let seen = |report: &RecoveryReport| {
        let torn = report.torn.as_ref().map(|torn| torn.bytes.clone());
        (report.clean, report.first_lsn, report.next_lsn, report.proven_lsn, report.segments, torn)
    };
    assert_eq!(seen(&found), seen(&report), "{what}");
    report
}

#[test]
fn a_view_of_a_damaged_log_refuses_as_opening_does() {
    let mut session = Session::new(SimFs::new(0), options());
    for step in [Step::Append(300), Step::Rotate, Step::Append(300), Step::Close] {
        assert!(session.step(&step));
    }
    let mut segment = session.disk.peek(path(1)).unwrap();
    segment[4200] ^= 1;
    session.disk.plant(path(1), &segment).unwrap();
    let before = files(&session.disk);
    let Err(OpenError::Corrupt(seen)) = View::open_in(session.disk.clone(), DIR) else { panic!("it opened") };
    let Err(OpenError::Corrupt(found)) = Wal::open_in(session.disk.clone(), DIR, options()) else {
        panic!("it opened")
    };
    assert_eq!(seen, found);
    assert!(files(&session.disk) == before);
    let nowhere = View::open_in(session.disk.clone(), "/nowhere").unwrap_err();
    assert_eq!(nowhere.to_string(), "cannot list /nowhere");
}

#[test]
fn a_log_that_is_open_can_be_looked_at() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    for id in 1..=20 {
        wal.append(record(id, 700)).unwrap();
    }
    let (view, report) = View::open_in(disk.clone(), DIR).unwrap();
    assert_eq!((report.next_lsn, report.torn), (Lsn(21), None));
    wal.append("later").unwrap();
    let mut reader = view.reader(Lsn(3));
    assert_eq!(reader.next().unwrap().unwrap().lsn, Lsn(3));
    assert_eq!(reader.count(), 17, "the moment has passed when the last was appended");
    assert!(wal.truncate_before(Lsn(15)).unwrap().segments > 0, "a view holds nothing");
    assert!(matches!(view.reader(Lsn(1)).next(), Some(Err(ReadError::Io { .. }))));
}

/// A view counts records that are written and not yet synced; where their write is taken back and the log rotates, it
/// panicked.
#[test]
fn records_that_were_taken_back_after_a_look_are_an_error() {
    let record = |lsn| data(lsn, 1, 512, b"\x01a");
    let seal = (frame_header(4, Frag::Whole, 3, 0, 512), vec![0; 48]);
    let disk = SimFs::new(0);
    disk.plant(path(1), &forge(&first_start(), 8192, [record(1), record(2), record(3)])).unwrap();
    let (view, _) = View::open_in(disk.clone(), DIR).unwrap();
    disk.plant(path(1), &forge(&first_start(), 8192, [record(1), record(2), seal])).unwrap();
    let mut reader = view.reader(Lsn(0));
    assert_eq!(reader.by_ref().take(2).filter(Result::is_ok).count(), 2);
    let Some(Err(ReadError::Corrupt(damage))) = reader.next() else { panic!("it was read") };
    assert_eq!((damage.segment, damage.lsns), (1, Lsn(3)..Lsn(4)));
    assert!(reader.next().is_none());
}

#[test]
fn a_name_that_is_away_for_a_moment_is_looked_for_again() {
    let disk = die_at(u64::MAX).disk;
    let opens = {
        let disk = disk.restart();
        View::open_in(disk.clone(), DIR).unwrap();
        disk.count(Op::Open)
    };
    for nth in 0..opens {
        let disk = disk.restart();
        disk.fail_next(Op::Open, nth, Fault::Error(ErrorKind::NotFound));
        View::open_in(disk.clone(), DIR).unwrap_or_else(|error| panic!("open {nth} of {opens}: {error}"));
    }
    for nth in 0..100 {
        disk.fail_next(Op::Open, nth, Fault::Error(ErrorKind::NotFound));
    }
    assert!(matches!(View::open_in(disk, DIR), Err(OpenError::Io { operation: "open", .. })));
}

/// Its records were given out as those of the log that was looked at.
#[test]
fn another_log_in_the_place_of_the_one_looked_at_is_an_error() {
    let [ours, theirs] = [1, 2].map(|seed| {
        let disk = SimFs::new(0);
        let (wal, _) =
            Wal::open_in(disk.clone(), DIR, Options { salt_seed: Some(seed), ..options() }).unwrap();
        wal.append(format!("of log {seed}")).unwrap();
        disk
    });
    let (view, _) = View::open_in(ours.clone(), DIR).unwrap();
    ours.plant(path(1), &theirs.peek(path(1)).unwrap()).unwrap();
    assert!(matches!(view.reader(Lsn(0)).next(), Some(Err(ReadError::Corrupt(_)))));
}

#[test]
fn a_log_that_goes_on_is_not_called_damaged() {
    let disk = SimFs::new(0);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    wal.append("first").unwrap();
    let looked = AtomicBool::new(false);
    let damaged = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut ids = 0..;
            while !looked.load(Ordering::Relaxed) {
                let id = ids.next().unwrap();
                wal.append(record(id, 500)).unwrap();
                wal.reserve().unwrap();
                if id % 50 == 49 {
                    wal.truncate_before(Lsn(id - 20)).unwrap();
                }
            }
        });
        let under_way = |looks| (looks < 20 || wal.next_lsn() < Lsn(400)) && !writing.is_finished();
        let looks = (0..).take_while(|looks| under_way(*looks)).map(|_| View::open_in(disk.clone(), DIR));
        let damaged = looks.filter_map(Result::err).find(|error| matches!(error, OpenError::Corrupt(_)));
        looked.store(true, Ordering::Relaxed);
        damaged
    });
    assert!(damaged.is_none(), "{damaged:?}");
}

/// A disk on which two groups are appended right after every read.
#[derive(Clone, Debug)]
struct Restless(SimFs, Wal<SimFs>);

struct RestlessFile(SimFile, Wal<SimFs>);

fn never<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Fs for Restless {
    type File = RestlessFile;
    type Lock = SimLock;

    fn create_new(&self, _: &Path) -> io::Result<RestlessFile> {
        never()
    }
    fn open(&self, _: &Path) -> io::Result<RestlessFile> {
        never()
    }
    fn open_read(&self, path: &Path) -> io::Result<RestlessFile> {
        Ok(RestlessFile(self.0.open_read(path)?, self.1.clone()))
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        never()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        never()
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        never()
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        never()
    }
    fn try_lock(&self, _: &Path) -> io::Result<Option<SimLock>> {
        never()
    }
}

impl File for RestlessFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let n = self.0.read_at(buf, offset)?;
        self.1.append("a").unwrap();
        self.1.append("b").unwrap();
        Ok(n)
    }
    fn write_vectored_at(&self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        never()
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        never()
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        never()
    }
    fn sync_data(&self) -> io::Result<()> {
        never()
    }
    fn sync_all(&self) -> io::Result<()> {
        never()
    }
}

/// What had been written behind the end since that was found looked like proof that the bytes there were damaged.
#[test]
fn a_log_that_is_written_to_at_every_read_is_busy_and_not_damaged() {
    for segment_bytes in [8192, 1 << 20] {
        let disk = SimFs::new(0);
        let (wal, _) = Wal::open_in(disk.clone(), DIR, Options { segment_bytes, ..options() }).unwrap();
        wal.append("first").unwrap();
        let refused = View::open_in(Restless(disk, wal), DIR).unwrap_err();
        let OpenError::Io { source, .. } = &refused else { panic!("{segment_bytes}: {refused}") };
        assert_eq!(source.kind(), ErrorKind::ResourceBusy, "{refused}");
    }
}

#[test]
fn a_directory_is_the_same_to_the_byte_after_it_was_verified() {
    let scratch = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(scratch.path(), options()).unwrap();
    for id in 0..30 {
        wal.append(record(id, 500)).unwrap();
    }
    drop(wal);
    let before = on_disk(scratch.path());
    let report = verify(scratch.path()).unwrap();
    assert!(!report.clean && report.records == 30);
    let (view, _) = View::open(scratch.path()).unwrap();
    assert_eq!(view.reader(Lsn(0)).count(), 30);
    assert!(on_disk(scratch.path()) == before);
}

/// Every file with its time of change.
#[expect(clippy::disallowed_methods, reason = "the files are on disk")]
fn on_disk(dir: &Path) -> BTreeMap<std::path::PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let file = |entry: std::fs::DirEntry| {
        let changed = entry.metadata().unwrap().modified().unwrap();
        (entry.path(), (std::fs::read(entry.path()).unwrap(), changed))
    };
    entries.map(file).collect()
}
