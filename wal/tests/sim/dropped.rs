//! Streams that end: what is left of them, and what their names begin anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{DIR, options, read_all, record};
use forebay_wal::Durability::{Buffered, Synced};
use forebay_wal::fs::sim::{Op, SimFs, Survive};
use forebay_wal::{AppendError, Lsn, RecoveryReport, Reject, Stream, Wal};

const LEN: usize = 900;

fn open(disk: &SimFs) -> (Wal<SimFs>, RecoveryReport) {
    Wal::open_in(disk.clone(), DIR, options()).unwrap()
}

fn lsns(stream: &Stream<SimFs>) -> Vec<u64> {
    stream.reader(Lsn(0)).map(|record| record.unwrap().lsn.0).collect()
}

fn is_dropped<T>(answer: &Result<T, AppendError>) -> bool {
    matches!(answer, Err(AppendError::Rejected(Reject::StreamDropped { id: 1 })))
}

#[test]
fn a_dropped_stream_holds_nothing_ends_its_readers_and_refuses_its_handles() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk);
    let [gone, stays] = ["gone", "stays"].map(|name| wal.stream(name).unwrap());
    for id in 0..12 {
        gone.append(record(id, LEN)).unwrap();
    }
    let kept = stays.append("kept").unwrap();
    wal.rotate().unwrap();
    let mut reading = gone.reader(Lsn(0));
    assert_eq!(reading.next().unwrap().unwrap().lsn, Lsn(1));
    assert_eq!(wal.drop_stream("gone").unwrap().low, Lsn(1), "its reader is there");
    assert!(reading.next().is_none());
    assert_eq!(&*wal.usage().pinned_by.unwrap().name, "stays", "the reader holds nothing any more");
    assert!(is_dropped(&gone.append("late")) && is_dropped(&gone.append_batch_with(["late"], Buffered)));
    assert!(is_dropped(&gone.clone().truncate_before(Lsn(1))) && lsns(&gone).is_empty());
    assert!(gone.low() > wal.next_lsn());
    assert!(stays.truncate_before(kept).unwrap().segments > 2);
    assert_eq!(lsns(&stays), [kept.0]);
    let before = disk.count(Op::Sync);
    assert_eq!(wal.drop_stream("gone").unwrap().segments, 0, "there is none of the name");
    assert_eq!(disk.count(Op::Sync), before);
    let (_, report) = open(&disk.crash(Survive::Nothing));
    let names: Vec<_> = report.streams.iter().map(|def| &def.name[..]).collect();
    assert_eq!(names, ["stays"]);
}

#[test]
fn a_name_that_is_used_again_begins_with_nothing_and_another_id() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk);
    wal.append("of no stream").unwrap();
    let first = wal.stream("name").unwrap();
    first.append_batch_with(["old", "older"], Synced).unwrap();
    wal.drop_stream("name").unwrap();
    let disk = disk.crash(Survive::Nothing);
    let (wal, _) = open(&disk);
    assert_eq!(read_all(&wal).len(), 3, "their segment is there");
    let second = wal.stream("name").unwrap();
    assert_eq!((second.id(), second.low(), lsns(&second)), (2, Lsn(4), vec![]));
    assert_eq!(second.append("new").unwrap(), Lsn(4));
    assert_eq!(lsns(&second), [4]);
    wal.drop_stream("name").unwrap();
    // With the last record that has it, an id is forgotten.
    let disk = disk.crash(Survive::Nothing);
    let (wal, _) = open(&disk);
    wal.rotate().unwrap();
    wal.append("also of none").unwrap();
    assert_eq!(wal.truncate_before(Lsn(u64::MAX)).unwrap().low, Lsn(6));
    let (wal, _) = open(&disk.crash(Survive::Nothing));
    assert_eq!(wal.stream("name").unwrap().id(), 1);
}

#[test]
fn as_many_streams_as_are_dropped_can_be_made_again() {
    let disk = SimFs::new(0);
    let (wal, _) = open(&disk);
    let name = |id: u32| format!("{id:016}");
    (0..16).for_each(|id| drop(wal.stream(&name(id)).unwrap()));
    for id in 16..60 {
        assert!(wal.stream(&name(id)).is_err());
        wal.drop_stream(&name(id - 16)).unwrap();
        assert_eq!(wal.stream(&name(id)).unwrap().id(), id + 1);
    }
    let (wal, report) = open(&disk.crash(Survive::Nothing));
    assert_eq!(report.streams.len(), 16);
    wal.append("x").unwrap();
}

/// What a life with a stream that comes and goes has been told.
#[derive(Debug, Default)]
struct Told {
    /// Stream and bytes by number.
    records: BTreeMap<u64, (u32, Vec<u8>)>,
    /// The stream that is there, unless it is just being made or dropped.
    there: Option<u32>,
    changing: bool,
    dropped: BTreeSet<u32>,
}

fn live(disk: &SimFs, told: &mut Told) -> Result<(), AppendError> {
    let Ok((wal, _)) = Wal::open_in(disk.clone(), DIR, options()) else { return Ok(()) };
    let kept = wal.stream("kept")?;
    for round in 0..3 {
        told.changing = true;
        let comes = wal.stream("comes and goes")?;
        assert!(!told.dropped.contains(&comes.id()));
        (told.there, told.changing) = (Some(comes.id()), false);
        for id in 0..4 {
            for stream in [&kept, &comes] {
                let bytes = record(round * 10 + id, LEN);
                let lsn = stream.append(bytes.clone())?;
                told.records.insert(lsn.0, (stream.id(), bytes));
            }
        }
        told.changing = true;
        wal.drop_stream("comes and goes")?;
        told.dropped.insert(comes.id());
        (told.there, told.changing) = (None, false);
    }
    Ok(())
}

#[test]
fn wherever_the_power_goes_a_stream_is_there_whole_or_gone() {
    let mut deaths = 0;
    for op in 0.. {
        let disk = SimFs::new(op);
        disk.crash_at(op);
        let mut told = Told::default();
        let done = live(&disk, &mut told);
        if !disk.has_crashed() {
            done.unwrap();
            break;
        }
        deaths += 1;
        for survive in [Survive::Nothing, Survive::Everything].into_iter().chain((0..3).map(Survive::Seeded))
        {
            let (wal, report) = open(&disk.crash(survive));
            let what = format!("died at {op}, {survive:?}: {told:?}");
            let found = report.streams.iter().find(|def| def.name == "comes and goes").map(|def| def.id);
            assert!(told.changing || found == told.there, "{found:?} {what}");
            assert!(found.is_none_or(|id| !told.dropped.contains(&id)), "{found:?} {what}");
            // The same where it is there, a new one where it is not.
            let comes = wal.stream("comes and goes").unwrap();
            let is_new = found.is_none();
            assert!(!told.dropped.contains(&comes.id()) && (is_new || found == Some(comes.id())), "{what}");
            let read = |stream: &Stream<SimFs>| -> BTreeMap<u64, Vec<u8>> {
                let records = stream.reader(Lsn(0)).map(Result::unwrap);
                records.map(|record| (record.lsn.0, record.bytes.to_vec())).collect()
            };
            let of = |id| told.records.iter().filter(move |(_, (stream, _))| *stream == id);
            let (records, kept) = (read(&comes), read(&wal.stream("kept").unwrap()));
            assert!(!is_new || records.is_empty(), "{what}");
            assert!(told.changing || of(comes.id()).all(|(lsn, (_, bytes))| records.get(lsn) == Some(bytes)));
            assert!(of(1).all(|(lsn, (_, bytes))| kept.get(lsn) == Some(bytes)), "{what}");
            let mut all = told.records.iter();
            assert!(all.all(|(lsn, (id, _))| *id == comes.id() || !records.contains_key(lsn)), "{what}");
        }
    }
    assert!(deaths > 100, "{deaths}");
}
