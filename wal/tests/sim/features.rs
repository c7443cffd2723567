//! What a log may have beyond plain records: golden directories, made by a writer that shares no code with the crate.

use std::path::PathBuf;

use crate::checker::{Verdict, judge};
use crate::harness::{DIR, options, path, read_all};
use crate::writer::{ALIGNED, CASTAGNOLI, IEEE, RECYCLED, STREAMS, Segment, Tie};
use forebay_wal::format::{Features, StreamDef, Unsupported};
use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{DamageClass, Lsn, OpenError, RecoveryReport, Torn, View, Wal, verify_in};

type Log = Vec<Vec<u8>>;

fn burned() -> Log {
    let mut only = Segment::new(IEEE, 1, 11, 0, "ingester-1");
    only.start(1, Tie::default(), 1).data(&["a", "b"]).burned(1, b"").burned(5, b"rejected");
    only.sync().data(&["c"]).burned(1000, b"").sync().clean_close();
    vec![only.file()]
}

fn checkpoint() -> Log {
    let mut first = Segment::new(IEEE, 1, 21, 0, "");
    first.start(1, Tie::default(), 1).data(&["a", "b"]).checkpoint(2, "old").data(&["c"]);
    first.checkpoint(3, "new").sync();
    let tie = first.seal(2, 22, 0);
    let mut last = Segment::new(CASTAGNOLI, 2, 22, 0, "");
    last.start(4, tie, 1).checkpoint(3, "new").data(&["d"]).sync().clean_close();
    vec![first.file(), last.file()]
}

fn streams() -> Log {
    let mut first = Segment::new(IEEE, 1, 31, 0, "");
    first.start(1, Tie::default(), 1).data(&["plain"]).sync();
    let tie = first.seal(2, 32, 0);
    let mut last = Segment::new(IEEE, 2, 32, STREAMS, "");
    last.start(2, tie, 1).stream(7, 0, 2, "orders").stream(300, 0, 2, "audit").stream(8, 0, 2, "gone");
    // Of stream 7, of none, of stream 300; then one of 300 and one of 8, cut into three fragments.
    last.frame((2, 0), 3, b"\x07\x01x\x00\x01y\xAC\x02\x02zz").data(&["w"]);
    last.frame((2, 1), 0, b"\xAC\x02\x03a").frame((2, 2), 0, b"b").frame((2, 3), 2, b"c\x08\x00");
    last.stream(7, 0, 5, "orders").stream(8, 1, 2, "gone").sync().clean_close();
    vec![first.file(), last.file()]
}

fn aligned() -> Log {
    let mut only = Segment::new(IEEE, 1, 41, ALIGNED, "");
    only.start(1, Tie::default(), 1).data(&["a"]).sync();
    assert_eq!(only.len(), 4608);
    // 24 bytes are left of the sector: too few for a pad, which goes on to the next one.
    only.data(&[&"b".repeat(127), &"c".repeat(127), &"d".repeat(127), &"e".repeat(71)]);
    assert_eq!(only.len(), 5120 - 24);
    only.sync();
    assert_eq!(only.len(), 5632);
    only.data(&["f"]).sync();
    vec![only.file()]
}

/// The second segment had an earlier life under another salt; in this one it has two records, and the second frame of
/// a group whose first is lost.
fn recycled() -> Log {
    let mut first = Segment::new(IEEE, 1, 51, 0, "");
    first.start(1, Tie::default(), 1).data(&["a"]).sync();
    let tie = first.seal(2, 52, 0);
    let mut before = Segment::new(IEEE, 2, 50, 0, "");
    before
        .start(2, tie, 1)
        .data(&["old"])
        .sync()
        .data(&["old"])
        .data(&[&"old".repeat(40)])
        .sync()
        .data(&["old"]);
    let before = before.file();
    let mut last = Segment::new(IEEE, 2, 52, RECYCLED, "");
    last.start(2, tie, 1).data(&["b", "c"]).sync();
    let end = last.len();
    last.raw(&before[end..end + 40]);
    last.lsn += 1;
    last.data(&["torn"]);
    let torn = last.len();
    last.raw(&before[torn..]);
    vec![first.file(), last.file()]
}

/// The first segment was made anew around a hole; the second remembers the seal that it had before.
fn salvaged() -> Log {
    let mut lost = Segment::new(IEEE, 1, 61, 0, "");
    lost.start(1, Tie::default(), 1).data(&["a"]).data(&["b", "c", "d"]).data(&["e"]).sync();
    let tie = lost.seal(2, 62, 0);
    let mut first = Segment::new(IEEE, 1, 61, 0, "");
    first.start(1, Tie::default(), 1).data(&["a"]).burned(3, &[0; 6]).data(&["e"]).sync().seal(2, 62, 2);
    let mut last = Segment::new(IEEE, 2, 62, 0, "");
    last.start(6, tie, 1).data(&["f"]).sync().clean_close();
    vec![first.file(), last.file()]
}

fn logs() -> [(&'static str, Log); 6] {
    [
        ("v1-burned", burned()),
        ("v1-checkpoint", checkpoint()),
        ("v1-streams", streams()),
        ("v1-aligned", aligned()),
        ("v1-recycled", recycled()),
        ("v1-salvaged", salvaged()),
    ]
}

fn golden(name: &str, segment: usize) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    dir.join(format!("wal-{:016x}.seg", segment + 1))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn the_same_directories_made_today_are_the_same_to_the_byte() {
    for (name, log) in logs() {
        for (index, bytes) in log.iter().enumerate() {
            let path = golden(name, index);
            assert!(std::fs::read(&path).unwrap() == *bytes, "{} differs", path.display());
        }
    }
}

#[test]
#[ignore = "makes the golden directories"]
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn make_the_golden_directories() {
    for (name, log) in logs() {
        for (index, bytes) in log.iter().enumerate() {
            let path = golden(name, index);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

fn plant(log: &Log) -> SimFs {
    let disk = SimFs::new(0);
    for (bytes, segment) in log.iter().zip(1..) {
        disk.plant(path(segment), bytes).unwrap();
    }
    disk
}

/// LSN, stream and bytes of every record, and what the report says.
fn look(log: &Log) -> (Vec<(u64, u32, String)>, RecoveryReport) {
    let (view, report) = View::open_in(plant(log), DIR).unwrap();
    let records = view.reader(Lsn(0)).map(Result::unwrap);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (records.map(|r| (r.lsn.0, r.stream, text(&r.bytes))).collect(), report)
}

fn plain(records: &[(u64, &str)]) -> Vec<(u64, u32, String)> {
    records.iter().map(|(lsn, text)| (*lsn, 0, (*text).to_owned())).collect()
}

#[test]
fn burned_numbers_have_no_records() {
    let (records, report) = look(&burned());
    assert_eq!(records, plain(&[(1, "a"), (2, "b"), (9, "c")]));
    assert_eq!((report.next_lsn, report.records, report.clean), (Lsn(1010), 3, true));
}

#[test]
fn the_newest_checkpoint_of_the_last_segment_counts() {
    let (records, report) = look(&checkpoint());
    assert_eq!(records, plain(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]));
    let checkpoint = report.checkpoint.unwrap();
    assert_eq!((checkpoint.lsn, &checkpoint.meta[..]), (3, &b"new"[..]));
}

#[test]
fn records_of_streams_are_told_apart() {
    let (records, report) = look(&streams());
    let expected =
        [(1, 0, "plain"), (2, 7, "x"), (3, 0, "y"), (4, 300, "zz"), (5, 0, "w"), (6, 300, "abc"), (7, 8, "")];
    assert_eq!(records, expected.map(|(lsn, stream, text)| (lsn, stream, text.to_owned())));
    let def = |id, low, name: &str| StreamDef { id, flags: 0, low, name: name.to_owned() };
    assert_eq!(
        report.streams,
        [def(7, 5, "orders"), def(300, 2, "audit")],
        "the last word of each that is there"
    );
}

/// The header of the next segment says that there are streams, and its first group which.
#[test]
fn a_log_with_streams_goes_on() {
    let disk = plant(&streams());
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    let audit = wal.stream("audit").unwrap();
    assert_eq!((audit.id(), audit.low(), wal.stream("gone").unwrap().id()), (300, Lsn(2), 301));
    wal.rotate().unwrap();
    assert_eq!(audit.append("more").unwrap(), Lsn(8));
    let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    let names: Vec<_> = report.streams.iter().map(|def| (def.id, &def.name[..], def.low)).collect();
    assert_eq!(names, [(7, "orders", 5), (300, "audit", 2), (301, "gone", 8)]);
    let audit: Vec<_> = wal.stream("audit").unwrap().reader(Lsn(0)).map(|r| r.unwrap().lsn.0).collect();
    assert_eq!(audit, [4, 6, 8]);
}

#[test]
fn aligned_groups_are_read_like_others() {
    let (records, report) = look(&aligned());
    assert_eq!(records.iter().map(|(lsn, ..)| *lsn).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!((report.proven_lsn, report.torn), (Lsn(6), None), "no frame says that the last sync was");
}

/// What it finds whole behind the last proof of a sync it fills up, and seals.
#[test]
fn an_aligned_log_goes_on() {
    let disk = plant(&aligned());
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    assert_eq!(wal.append("g").unwrap(), Lsn(7));
    let (wal, report) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    assert_eq!((read_all(&wal).len(), report.segments), (7, 2));
}

/// Bytes of an earlier life are neither torn nor damage; frames of this one are what they are anywhere.
#[test]
fn of_an_earlier_life_nothing_is_left() {
    let log = recycled();
    let (records, report) = look(&log);
    assert_eq!(records, plain(&[(1, "a"), (2, "b"), (3, "c")]));
    let Torn { bytes, lsns, .. } = report.torn.unwrap();
    assert_eq!((bytes, lsns), (4232..4312, Lsn(4)..Lsn(6)));
    let disk = plant(&log);
    let (wal, report) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    assert!(report.torn.unwrap().quarantine.is_some());
    assert_eq!(wal.append("d").unwrap(), Lsn(4));
    drop(wal);
    let (wal, report) = Wal::open_in(disk.restart(), DIR, options()).unwrap();
    assert_eq!((read_all(&wal).len(), report.torn), (4, None));
    // Nor where the header has rotted that says so, here with a torn tail of which only a frame's header is whole.
    let mut rotten = recycled();
    rotten[1][50] ^= 1;
    rotten[1][4272 + 33] ^= 1;
    let report = verify_in(plant(&rotten), DIR).unwrap();
    let torn = report.torn.map(|torn| torn.bytes);
    assert_eq!((report.damaged.len(), torn), (1, Some(4232..4312)), "{:?}", report.damaged);
    // Without a frame of this life there is no torn tail at all.
    let mut whole = log;
    let torn = 4232..4312;
    whole[1].copy_within(4312..4392, torn.start);
    assert_eq!(look(&whole).1.torn, None);
}

#[test]
fn a_segment_that_was_made_anew_need_not_have_the_seal_that_is_remembered() {
    let log = salvaged();
    let (records, report) = look(&log);
    assert_eq!(records, plain(&[(1, "a"), (5, "e"), (6, "f")]));
    assert_eq!((report.segments, report.records, report.clean), (2, 3, true));
    let (wal, _) = Wal::open_in(plant(&log), DIR, options()).unwrap();
    assert_eq!(wal.append("g").unwrap(), Lsn(7));
}

/// Everything in the directory by its path.
fn contents(disk: &SimFs) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(DIR.as_ref()).unwrap();
    names.into_iter().map(|name| (name.clone(), disk.peek(format!("{DIR}/{name}")).unwrap())).collect()
}

/// What this version cannot go on with it refuses to write to, and leaves as it is to the byte.
#[test]
fn what_is_read_and_not_written_is_refused_untouched() {
    let refused = |log: &Log| {
        let disk = plant(log);
        let before = contents(&disk);
        let error = Wal::open_in(disk.clone(), DIR, options()).unwrap_err();
        assert!(contents(&disk) == before, "nothing was touched");
        match error {
            OpenError::Unsupported { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    // Bit 3 of the features, another major version, kind 100 in place of 128.
    let mut later = burned();
    let flip = |log: &mut Log, at: usize, value: u8, sum: usize| {
        log[0][at] ^= value;
        let crc = crate::writer::crc(IEEE, &[&log[0][..sum]]);
        log[0][sum..sum + 4].copy_from_slice(&crc.to_le_bytes());
    };
    flip(&mut later, 12, 0b1000, 124);
    assert_eq!(refused(&later), Unsupported::Features(Features::ENCRYPTION));
    flip(&mut later, 12, 0b1000, 124);
    flip(&mut later, 8, 3, 124);
    assert_eq!(refused(&later), Unsupported::Major(2));
    let mut kind = Segment::new(IEEE, 1, 11, 0, "");
    kind.start(1, Tie::default(), 1).frame((100, 0), 0, b"").sync().clean_close();
    assert_eq!(refused(&vec![kind.file()]), Unsupported::Kind(100));
    let mut named = Segment::new(IEEE, 1, 11, 0, "");
    named.start(1, Tie::default(), 1).stream(1, 0, 1, "s");
    assert_eq!(refused(&vec![named.file()]), Unsupported::Kind(7), "no bit of the header announces it");
}

#[test]
fn a_flipped_bit_in_any_of_them_is_told_for_what_it_is() {
    for (name, log) in logs() {
        for (segment, bytes) in log.iter().enumerate() {
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 16;
            for at in (0..128).chain(4096..end) {
                let mut log = log.clone();
                log[segment][at] ^= 1 << (at % 8);
                let found = match View::open_in(plant(&log), DIR) {
                    Ok((view, report)) => {
                        assert!(view.reader(Lsn(0)).all(|record| record.is_ok()), "{name} {segment} {at}");
                        Verdict::Reads { next_lsn: report.next_lsn.0, torn: report.torn.is_some() }
                    }
                    Err(OpenError::Corrupt(damage)) => match damage.class {
                        DamageClass::BadHeader(_) => Verdict::BadHeader(damage.segment),
                        DamageClass::DamagedDurable => Verdict::Damaged(damage.segment),
                        class => panic!("{name} {segment} {at}: {class}"),
                    },
                    Err(error) => panic!("{name} {segment} {at}: {error}"),
                };
                assert_eq!(found, judge(&(1..).zip(log).collect()), "{name}, segment {segment}, byte {at}");
            }
        }
    }
}
