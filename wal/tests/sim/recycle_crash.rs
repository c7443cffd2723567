//! The plug is pulled, the process killed, an operation fails, at every one of a life in which files are used again.

use std::io::ErrorKind;

use crate::harness::{DIR, Session, Step, changes, options};
use forebay_wal::Wal;
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive, SyncModel};

/// Every segment from the fourth on is made of a file that was given back, on the thread's way or ahead of it, and the
/// log is reopened with spares, after a clean and after an unclean end.
fn life() -> Vec<Step> {
    use Step::{Append, Batch, Close, Reopen, Reserve, Rotate, Truncate};
    vec![
        Append(1400),
        Append(1400),
        Append(1400),
        Append(1400),
        Append(1400),
        Truncate(100),
        Append(1400),
        Reserve,
        Append(1400),
        Batch(vec![900, 1200]),
        Truncate(80),
        Rotate,
        Append(20),
        Reopen,
        Append(1400),
        Append(1400),
        Append(1400),
        Truncate(90),
        Append(1400),
        Append(1400),
        Close,
        Append(1400),
        Reserve,
        Append(1400),
        Truncate(60),
        Append(1400),
        Append(1400),
    ]
}

/// A life on this disk, up to its end or the log's.
fn live(disk: SimFs) -> Session {
    let mut session = Session::new(disk, options());
    for step in life() {
        session.step(&step);
        if session.disk.has_crashed() {
            break;
        }
    }
    session
}

/// Operations of a life in which all goes well.
fn lifetime() -> u64 {
    let mut session = Session::new(SimFs::new(0), options());
    let mut recycled = 0;
    for step in life() {
        assert!(session.step(&step), "{step:?}");
        if matches!(step, Step::Truncate(_)) {
            recycled += session.wal.as_ref().unwrap().stats().recycled_segments;
        }
    }
    assert!(recycled >= 3, "{recycled} segments were made of files that were given back");
    session.disk.op_count()
}

/// The life cut short after every operation that changes the disk.
fn deaths() -> impl Iterator<Item = (u64, Session)> {
    let mut before = None;
    (0..=lifetime()).filter_map(move |op| {
        let disk = SimFs::new(op);
        disk.crash_at(op);
        let mut died = live(disk);
        died.wal = None;
        let changes = Some(changes(&died.disk));
        (std::mem::replace(&mut before, changes) != changes).then_some((op, died))
    })
}

/// All subsets of few effects; of many, none, all, each alone, all but each, and some by chance.
fn images(disk: &SimFs) -> Vec<Survive> {
    match disk.effects() {
        effects @ 0..=6 => {
            (0..1 << effects).map(Survive::Subset).chain((0..2).map(Survive::Seeded)).collect()
        }
        effects => [Survive::Nothing, Survive::Everything]
            .into_iter()
            .chain((0..effects).flat_map(|n| [Survive::Only(n), Survive::AllBut(n)]))
            .chain((0..4).map(Survive::Seeded))
            .collect(),
    }
}

/// The log goes on after an opening, through every file it has, and a power cut finds everything it said since.
fn lives_on(disk: SimFs, before: &Session, what: &str) {
    let mut session = Session::new(disk, options());
    session.ledger = before.ledger.clone();
    session.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    for step in [Step::Append(1400), Step::Truncate(100), Step::Append(1400), Step::Append(1400)] {
        assert!(session.step(&step), "{what}: {step:?}");
    }
    session.wal = None;
    session.disk = session.disk.crash(Survive::Nothing);
    session.open().unwrap_or_else(|error| panic!("{what}, again: {error}"));
}

#[test]
fn old_frames_never_come_back_wherever_the_power_goes() {
    let mut seen = 0;
    for (op, died) in deaths() {
        for survive in images(&died.disk) {
            lives_on(died.disk.crash(survive), &died, &format!("died at {op}, {survive:?}"));
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen} images");
}

#[test]
fn nor_where_the_process_is_killed_and_the_power_goes_at_the_next_opening() {
    for (op, died) in deaths() {
        lives_on(died.disk.restart(), &died, &format!("killed at {op}"));
        let mut before = None;
        for again in 0.. {
            let disk = died.disk.restart();
            disk.crash_at(again);
            let opened = Wal::open_in(disk.clone(), DIR, options()).is_ok();
            let changes = Some(changes(&disk));
            if std::mem::replace(&mut before, changes) != changes {
                let survive = if again % 3 == 0 { Survive::Nothing } else { Survive::Seeded(op ^ again) };
                lives_on(
                    disk.crash(survive),
                    &died,
                    &format!("killed at {op}, died at {again}, {survive:?}"),
                );
            }
            if opened {
                break;
            }
        }
    }
}

#[test]
fn nor_where_any_one_operation_fails() {
    let kind = ErrorKind::Other;
    let cases = [
        (Fault::Error(kind), SyncModel::KeepCache),
        (Fault::Partial(kind), SyncModel::RevertCache),
        (Fault::Late(kind), SyncModel::KeepCache),
    ];
    for (fault, model) in cases {
        for op in 0..=lifetime() {
            let disk = SimFs::new(op);
            disk.set_sync_model(model);
            disk.fail_at(op, fault);
            let mut session = live(disk);
            session.wal = None;
            let survive = if op % 2 == 0 { Survive::Nothing } else { Survive::Seeded(op) };
            let what = format!("{fault:?} at {op}, {model:?}");
            lives_on(session.disk.crash(survive), &session, &format!("{what}, {survive:?}"));
        }
    }
}

/// A sync of the directory fails, so that the media may keep names that nobody sees: the files behind them are used
/// again all the same, several times, before the power goes.
#[test]
fn names_that_only_the_media_knows_do_no_harm() {
    let syncs = live(SimFs::new(0)).disk.count(Op::SyncDir);
    for (nth, seed) in (0..syncs).flat_map(|nth| (0..6).map(move |seed| (nth, seed))) {
        for model in [SyncModel::KeepCache, SyncModel::RevertCache] {
            let disk = SimFs::new(seed);
            disk.set_sync_model(model);
            disk.fail_next(Op::SyncDir, nth, Fault::Error(ErrorKind::Other));
            let mut session = live(disk);
            for step in life() {
                session.step(&step);
            }
            session.wal = None;
            let what = format!("sync {nth} of {DIR} failed, seed {seed}, {model:?}");
            lives_on(session.disk.crash(Survive::Nothing), &session, &what);
        }
    }
}
