//! The plug is pulled at every operation, and what was not synced survives in every way the disk model knows.
//!
//! `WAL_EXHAUSTIVE=1` goes through all subsets of at most twelve effects, in place of at most six.

use std::io::ErrorKind;
use std::path::Path;

use crate::harness::{DIR, Session, Step, Witness, changes, die_at, life, options, path, read_all, record};
use forebay_wal::format::{Features, HEADER_LEN, Header};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::fs::{File, Fs};
use forebay_wal::{Lsn, OpenError, Wal};

/// Number of operations of a life without a crash.
fn lifetime() -> u64 {
    let mut session = Session::new(SimFs::new(0), options());
    for step in life() {
        assert!(session.step(&step), "{step:?}");
    }
    session.disk.op_count()
}

/// The life cut short after every operation that changes the disk.
fn deaths() -> impl Iterator<Item = (u64, Session)> {
    let mut before = None;
    (0..=lifetime()).map(|op| (op, die_at(op))).filter(move |(_, died)| {
        let changes = Some(changes(&died.disk));
        std::mem::replace(&mut before, changes) != changes
    })
}

/// Whether to go through everything: minutes in place of seconds.
fn is_exhaustive() -> bool {
    std::env::var_os("WAL_EXHAUSTIVE").is_some()
}

/// All subsets of few effects, the adversarial ones of many, and some by chance.
fn images(disk: &SimFs) -> Vec<Survive> {
    let (few, seeds) = if is_exhaustive() { (12, 64) } else { (6, 6) };
    let effects = disk.effects();
    if effects == 0 {
        return vec![Survive::Nothing];
    }
    let mut images = vec![Survive::Nothing, Survive::Everything, Survive::Last, Survive::Reversed];
    if effects <= few {
        images.extend((1..(1 << effects) - 1).map(Survive::Subset));
    } else {
        let step = if effects <= 12 || is_exhaustive() { 1 } else { effects / 4 };
        let some = (0..effects).step_by(step).chain([1, effects - 1]);
        images.extend(some.flat_map(|n| [Survive::Only(n), Survive::AllBut(n)]));
    }
    images.extend((0..seeds).map(Survive::Seeded));
    images
}

/// The log goes on after the crash, and a second power cut finds everything it said since.
fn lives_on(mut session: Session, what: &str) {
    let _witness = Witness(session.disk.clone());
    session.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    for step in [Step::Append(33), Step::Batch(vec![1, 600, 2]), Step::Append(1200)] {
        assert!(session.step(&step), "{what}: {step:?}");
    }
    session.wal = None;
    session.disk = session.disk.crash(Survive::Nothing);
    let _witness = Witness(session.disk.clone());
    session.open().unwrap_or_else(|error| panic!("{what}, again: {error}"));
}

#[test]
fn every_acknowledged_record_survives_a_crash_at_every_operation() {
    let mut images_seen = 0;
    for (op, died) in deaths() {
        let _witness = Witness(died.disk.clone());
        for survive in images(&died.disk) {
            let mut session = Session::new(died.disk.crash(survive), options());
            session.ledger = died.ledger.clone();
            lives_on(session, &format!("died at {op}, {survive:?}"));
            images_seen += 1;
        }
    }
    println!("{images_seen} images");
    assert!(images_seen > 1500, "{images_seen} images");
}

#[test]
fn a_crash_of_the_process_alone_loses_nothing_either() {
    for (op, died) in deaths() {
        let mut session = Session::new(died.disk.restart(), options());
        session.ledger = died.ledger.clone();
        lives_on(session, &format!("killed at {op}"));
    }
}

#[test]
fn recovery_that_crashes_at_every_operation_comes_to_the_same_answer() {
    let mut repairs = 0;
    for (op, died) in deaths() {
        // A torn tail, if one of a few crashes leaves one.
        let mut images = (0..4).map(|seed| died.disk.crash(Survive::Seeded(op ^ seed)));
        let is_torn = |image: &SimFs| {
            Wal::open_in(image.restart(), DIR, options()).is_ok_and(|(_, report)| report.torn.is_some())
        };
        let image = images.find(is_torn).unwrap_or_else(|| died.disk.crash(Survive::Seeded(op ^ 5)));
        let calm = image.crash(Survive::Nothing);
        let (wal, report) = Wal::open_in(calm.clone(), DIR, options()).unwrap();
        let expected = (read_all(&wal), report.next_lsn, report.first_lsn);
        died.ledger.check(&report, &expected.0);
        repairs += usize::from(report.torn.is_some());
        for again in 0..calm.op_count() {
            let disk = image.crash(Survive::Nothing);
            disk.crash_at(again);
            if Wal::open_in(disk.clone(), DIR, options()).is_ok() {
                // The rest of the operations were reads of the records.
                break;
            }
            let last = [Survive::Nothing, Survive::Everything, Survive::Seeded(again)];
            for survive in last {
                let disk = disk.crash(survive);
                let (wal, report) = Wal::open_in(disk, DIR, options()).unwrap_or_else(|error| {
                    panic!("died at {op}, recovery at {again}, {survive:?}: {error}")
                });
                let found = (read_all(&wal), report.next_lsn, report.first_lsn);
                assert!(found == expected, "died at {op}, recovery at {again}, {survive:?}");
            }
        }
    }
    assert!(repairs >= 3, "{repairs} torn tails were repaired");
}

#[test]
fn what_a_repair_cuts_off_is_kept() {
    let mut kept = 0;
    let images =
        |(op, died): (u64, Session)| (0..4).map(move |seed| (op, died.disk.crash(Survive::Seeded(seed))));
    for (op, image) in deaths().flat_map(images) {
        let before = image.restart();
        let (wal, report) = Wal::open_in(image.clone(), DIR, options()).unwrap();
        drop(wal);
        let Some(torn) = report.torn else { continue };
        let segment = before.peek(format!("{DIR}/wal-{:016x}.seg", torn.segment)).unwrap();
        let range = usize::try_from(torn.bytes.start).unwrap()..usize::try_from(torn.bytes.end).unwrap();
        let copy = image.crash(Survive::Nothing).peek(torn.quarantine.unwrap()).unwrap();
        assert_eq!(copy, segment[range], "died at {op}");
        kept += 1;
    }
    assert!(kept > 10, "{kept} tails were kept");
}

/// A process that opened a log after a clean close and died between naming the next segment and syncing that name has
/// written nothing that tells. Whoever opened the log then wrote into a file that the next power cut took away.
#[test]
fn a_name_that_only_the_cache_has_is_made_durable_before_it_is_used() {
    for ahead in 0..40 {
        let mut session = Session::new(SimFs::new(1), options());
        assert!(session.step(&Step::Append(10)) && session.step(&Step::Close));
        session.disk.crash_at(session.disk.op_count() + ahead);
        session.step(&Step::Reserve);
        session.wal = None;
        session.disk = session.disk.restart();
        for step in [Step::Rotate, Step::Append(20)] {
            assert!(session.step(&step), "{step:?} after dying {ahead} operations ahead");
        }
        session.wal = None;
        session.disk = session.disk.crash(Survive::Nothing);
        session.open().unwrap_or_else(|error| panic!("after dying {ahead} operations ahead: {error}"));
    }
}

/// The names of both its files were given anew before the directory was synced, and a power cut that took only the
/// first away made a log without records one with a segment missing.
#[test]
fn a_log_without_frames_opens_wherever_its_opening_lost_power() {
    let disk = SimFs::new(1);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    wal.reserve().unwrap();
    disk.fail_next(Op::Write, 0, Fault::Error(ErrorKind::Other));
    wal.append("rejected").unwrap_err();
    wal.reserve().unwrap();
    drop(wal);
    assert!(disk.peek(path(1)).is_ok() && disk.peek(path(2)).is_ok());
    for dies_at in 0.. {
        let disk = disk.restart();
        disk.crash_at(dies_at);
        let survived = Wal::open_in(disk.clone(), DIR, options()).is_ok();
        for survive in [Survive::Nothing, Survive::Everything].into_iter().chain((0..8).map(Survive::Seeded))
        {
            let (wal, _) = Wal::open_in(disk.crash(survive), DIR, options())
                .unwrap_or_else(|error| panic!("died at {dies_at}, {survive:?}: {error}"));
            assert_eq!(wal.append("first").unwrap(), Lsn(1));
        }
        if survived {
            break;
        }
    }
}

/// A process that died between making a directory and syncing its name has left no trace, and whoever opened the log
/// next took the directory for durable.
#[test]
fn the_directories_above_a_log_are_durable_whoever_made_them() {
    let deep = "/a/b/log";
    for dies_at in 0.. {
        let disk = SimFs::new(1);
        disk.crash_at(dies_at);
        let survived = Wal::open_in(disk.clone(), deep, options()).is_ok();
        let disk = disk.restart();
        let (wal, _) = Wal::open_in(disk.clone(), deep, options()).unwrap();
        wal.append("acknowledged").unwrap();
        let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), deep, options()).unwrap();
        assert_eq!(read_all(&wal).len(), 1, "the first process died at {dies_at}");
        if survived {
            break;
        }
    }
}

/// The name of `quarantine/` was taken for durable where a killed repair had made the directory, and the bytes that
/// were kept in it were cut off.
#[test]
fn what_a_repair_keeps_has_a_durable_name_before_it_is_cut_off() {
    let torn = |(_, died): (u64, Session)| {
        let image = died.disk.crash(Survive::Seeded(1));
        let (_, report) = Wal::open_in(image.restart(), DIR, options()).unwrap();
        report.torn.map(|torn| (image, torn))
    };
    let (image, torn) = deaths().find_map(torn).expect("one death of many leaves a torn tail");
    let range = usize::try_from(torn.bytes.start).unwrap()..usize::try_from(torn.bytes.end).unwrap();
    let segment = |disk: &SimFs| disk.peek(path(torn.segment)).unwrap()[range.clone()].to_vec();
    let bytes = segment(&image);
    let dies_at = |disk: SimFs, op| {
        disk.crash_at(op);
        let died = Wal::open_in(disk.clone(), DIR, options()).is_err();
        (disk, died)
    };
    for killed in 0.. {
        let (disk, was_killed) = dies_at(image.restart(), killed);
        for cut in 0.. {
            let (disk, was_cut) = dies_at(disk.restart(), cut);
            let left = disk.crash(Survive::Nothing);
            let kept = |name: &String| left.peek(format!("{DIR}/quarantine/{name}")).unwrap() == bytes;
            let names = left.names(format!("{DIR}/quarantine")).unwrap_or_default();
            assert!(
                names.iter().any(kept) || segment(&left) == bytes,
                "killed at {killed}, power cut at {cut}"
            );
            if !was_cut {
                break;
            }
        }
        if !was_killed {
            break;
        }
    }
}

/// Whether a segment file was used before, so that what lies behind its frames may be of an earlier life.
fn has_files_used_again(disk: &SimFs) -> bool {
    let names = disk.list(Path::new(DIR)).unwrap();
    names.iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "seg")).any(|name| {
        let mut block = vec![0; usize::try_from(HEADER_LEN).unwrap()];
        disk.open_read(&Path::new(DIR).join(name)).unwrap().read_at(&mut block, 0).unwrap();
        Header::decode(&block).is_ok_and(|header| header.features.has(Features::RECYCLED))
    })
}

/// Assumption A2 taken away: a write that was under way may ruin what was synced beside it. What is read is true all the
/// same, and what is lost is told, as damage or as a torn tail, unless the file was used before: ruined bytes look like
/// those of its earlier life.
#[test]
fn where_writes_ruin_their_blocks_what_is_lost_is_told() {
    let (mut damaged, mut torn) = (0, 0);
    for (op, died) in deaths() {
        died.disk.set_fragile(4096);
        for seed in 0..4 {
            let disk = died.disk.crash(Survive::Seeded(seed));
            let _witness = Witness(disk.clone());
            let used_again = disk.list(Path::new(DIR)).is_ok() && has_files_used_again(&disk);
            let (wal, report) = match Wal::open_in(disk, DIR, options()) {
                Ok(opened) => opened,
                Err(OpenError::Corrupt(_)) => {
                    damaged += 1;
                    continue;
                }
                Err(error) => panic!("died at {op}, {seed}: {error}"),
            };
            for (lsn, bytes) in read_all(&wal) {
                let promised = died.ledger.acked.get(&lsn);
                assert!(promised.is_none_or(|promised| *promised == bytes), "died at {op}, {seed}: {lsn}");
            }
            if died.ledger.acked.keys().any(|lsn| *lsn >= report.next_lsn.0) {
                assert!(report.torn.is_some() || used_again, "died at {op}, {seed}: {report:?}");
                torn += u64::from(report.torn.is_some());
            }
        }
    }
    assert!(damaged > 3 && torn > 3, "{damaged} damaged, {torn} with a torn tail that had been acknowledged");
}

/// G4: of the write of a batch in several frames only what lies before some byte has reached the disk, or only what lies
/// behind it.
#[test]
fn a_batch_whose_write_is_cut_at_any_byte_is_there_whole_or_not_at_all() {
    let disk = SimFs::new(1);
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    wal.append("before").unwrap();
    let before = disk.peek(path(1)).unwrap();
    wal.append_batch([record(1, 700), record(2, 3), record(3, 600)]).unwrap();
    let after = disk.peek(path(1)).unwrap();
    let changed = (0..after.len()).filter(|at| before[*at] != after[*at]);
    let (first, last) = (changed.clone().min().unwrap(), changed.max().unwrap());
    let frames = (last - first) / 512;
    assert!(frames >= 2, "{frames} frames");
    let records = |bytes: Vec<u8>| {
        let disk = disk.crash(Survive::Nothing);
        disk.plant(path(1), &bytes).unwrap();
        let (wal, _) = Wal::open_in(disk, DIR, options()).unwrap_or_else(|error| panic!("{error}"));
        read_all(&wal).len()
    };
    let step = if is_exhaustive() { 1 } else { 5 };
    for cut in (first..last).step_by(step).chain([last, last + 1]) {
        let head = [&after[..cut], &before[cut..]].concat();
        assert_eq!(records(head), if cut > last { 4 } else { 1 }, "the first {cut} bytes");
        if cut % 2 == 0 {
            let tail = [&before[..cut], &after[cut..]].concat();
            assert_eq!(records(tail), if cut <= first { 4 } else { 1 }, "all but the first {cut} bytes");
        }
    }
}
