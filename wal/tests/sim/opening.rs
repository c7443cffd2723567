//! What opening believes, removes and keeps, of files that no crash leaves behind.

use std::io::ErrorKind;

use crate::harness::forge::{data, first_start, forge, frame_header};
use crate::harness::{DIR, options, path, read_all, record};
use forebay_wal::format::{Frag, FrameHeader, Header, MAX_NUMBER, SegmentStart, Unsupported};
use forebay_wal::fs::sim::{Fault, Op, SimFs, Survive};
use forebay_wal::fs::{File, Fs};
use forebay_wal::{
    AppendError, Damage, DamageClass, Lsn, OpenError, Options, RecoveryReport, Reject, RepairPolicy, Wal,
};

fn open(disk: &SimFs) -> Result<(Wal<SimFs>, RecoveryReport), OpenError> {
    Wal::open_in(disk.clone(), DIR, options())
}

fn damage(disk: &SimFs) -> Damage {
    match open(disk) {
        Err(OpenError::Corrupt(damage)) => damage,
        other => panic!("{other:?}"),
    }
}

/// Makes a log of one record a segment, the last of them being written.
fn log(segments: u64, options: Options) -> (SimFs, Wal<SimFs>) {
    log_on(SimFs::new(0), segments, options)
}

fn log_on(disk: SimFs, segments: u64, options: Options) -> (SimFs, Wal<SimFs>) {
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options).unwrap();
    for id in 1..=segments {
        wal.append(record(id, 10)).unwrap();
        if id < segments {
            wal.rotate().unwrap();
        }
    }
    (disk, wal)
}

/// A log whose only segment is forged.
fn forged(start: SegmentStart, frames: impl IntoIterator<Item = (FrameHeader, Vec<u8>)>) -> SimFs {
    let disk = SimFs::new(0);
    disk.plant(path(start.segment), &forge(&start, 8192, frames)).unwrap();
    disk
}

fn quarantined(disk: &SimFs) -> Vec<String> {
    disk.names(format!("{DIR}/quarantine")).unwrap_or_default()
}

/// They were taken for a torn tail: the log did not count as closed, and each opening kept another copy of them.
#[test]
fn bytes_behind_the_capacity_do_not_exist() {
    let (disk, wal) = log(1, options());
    wal.close().unwrap();
    let whole = disk.peek(path(1)).unwrap();
    for behind in [b"garbage".as_slice(), &whole[4096..4096 + 96 + 48], &[0xFF; 9000]] {
        disk.plant(path(1), &[&whole, behind].concat()).unwrap();
        for _ in 0..2 {
            let careful = Options { repair: RepairPolicy::Fail, ..options() };
            let (wal, report) = Wal::open_in(disk.clone(), DIR, careful).unwrap();
            assert!(report.clean && report.torn.is_none(), "{report:?}");
            assert_eq!(read_all(&wal).len(), 1);
        }
        assert!(quarantined(&disk).is_empty());
    }
}

/// Truncated to its fourth segment, and a file put below that.
fn with_file_below(bytes: &[u8]) -> SimFs {
    let (disk, wal) = log(5, options());
    assert_eq!(wal.truncate_before(Lsn(4)).unwrap().segments, 3);
    drop(wal);
    disk.plant(path(1), bytes).unwrap();
    disk
}

/// They were removed by their numbers alone, whoever wrote them.
#[test]
fn a_segment_of_another_log_below_the_watermark_is_not_removed() {
    let (other, _) = log(2, Options { salt_seed: Some(7), ..options() });
    let theirs = other.peek(path(1)).unwrap();
    let disk = with_file_below(&theirs);
    let damage = damage(&disk);
    assert_eq!((damage.class, damage.segment), (DamageClass::Foreign, 1));
    assert_eq!(disk.peek(path(1)).unwrap(), theirs);
}

#[test]
fn a_file_below_the_watermark_that_cannot_be_read_is_kept_aside() {
    let disk = with_file_below(b"what is this?");
    let (wal, report) = open(&disk).unwrap();
    assert_eq!((report.leftovers, report.quarantined.len()), (0, 1));
    assert_eq!(read_all(&wal).len(), 2);
    let disk = disk.crash(Survive::Nothing);
    assert!(disk.peek(path(1)).is_err());
    assert_eq!(disk.peek(&report.quarantined[0]).unwrap(), b"what is this?");
}

/// It was moved because of a watermark that only the cache had, and missing after the next power cut.
#[test]
fn a_file_is_kept_aside_only_once_the_watermark_is_durable() {
    for seed in 0..8 {
        let (disk, wal) = log_on(SimFs::new(seed), 5, options());
        disk.fail_next(Op::Sync, 0, Fault::Error(ErrorKind::Other));
        wal.truncate_before(Lsn(4)).unwrap_err();
        drop(wal);
        disk.plant(path(1), b"what is this?").unwrap();
        for dies_at in 0.. {
            let disk = disk.restart();
            disk.crash_at(dies_at);
            let survived = open(&disk).is_ok();
            let left = disk.crash(Survive::Nothing);
            let is_there = left.peek(path(1)).is_ok();
            assert!(is_there || open(&left).is_ok(), "seed {seed}, died at {dies_at}");
            if survived {
                break;
            }
        }
    }
}

/// Two records and a segment made ahead, of which `change` makes something else.
fn with_reserve(change: impl FnOnce(&mut Vec<u8>)) -> SimFs {
    let (disk, wal) = log(2, options());
    wal.reserve().unwrap();
    drop(wal);
    let mut reserve = disk.peek(path(3)).unwrap();
    change(&mut reserve);
    disk.plant(path(3), &reserve).unwrap();
    disk
}

/// It refused to open, although nothing can be lost with a file that has no frames.
#[test]
fn a_segment_made_ahead_whose_header_rots_is_kept_aside() {
    let rots: [fn(&mut Vec<u8>); 3] = [|file| file[50] ^= 1, |file| file.clear(), |file| file.fill(0)];
    for rot in rots {
        let disk = with_reserve(rot);
        let rotten = disk.peek(path(3)).unwrap();
        let (wal, report) = open(&disk).unwrap();
        assert_eq!(disk.peek(&report.quarantined[0]).unwrap(), rotten);
        assert_eq!(read_all(&wal).len(), 2);
        wal.append("c").unwrap();
        let (wal, report) = open(&disk.crash(Survive::Nothing)).unwrap();
        assert_eq!((read_all(&wal).len(), report.quarantined.len()), (3, 0));
    }
}

/// A directory takes space as well.
#[test]
fn a_segment_made_ahead_whose_header_rots_is_removed_where_nothing_can_be_kept() {
    let disk = with_reserve(|file| file[50] ^= 1);
    disk.fail_next(Op::CreateDir, 1, Fault::Error(ErrorKind::StorageFull));
    let (wal, report) = open(&disk).unwrap();
    assert_eq!((read_all(&wal).len(), report.quarantined.len()), (2, 0));
    assert!(disk.peek(path(3)).is_err());
    wal.append("c").unwrap();
}

#[test]
fn a_rotten_header_is_damage_where_records_may_be_behind_it() {
    let bad = |disk: &SimFs, segment| {
        let damage = damage(disk);
        assert!(matches!(damage.class, DamageClass::BadHeader(_)) && damage.segment == segment, "{damage}");
        assert!(quarantined(disk).is_empty());
    };
    bad(&with_reserve(|file| (file[50], file[5000]) = (1, 1)), 3);
    // Longer than any segment, and read to its end before.
    let disk = with_reserve(|file| file.fill(0));
    disk.open(path(3).as_ref()).unwrap().set_len((16 << 30) + 1).unwrap();
    bad(&disk, 3);
    // The one that a seal names.
    let (disk, wal) = log(2, options());
    wal.rotate().unwrap();
    drop(wal);
    disk.plant(path(3), &[0; 8192]).unwrap();
    bad(&disk, 3);
    // The only one.
    let disk = SimFs::new(0);
    disk.plant(path(1), &[0; 8192]).unwrap();
    bad(&disk, 1);
    // Two of them.
    let disk = with_reserve(|file| file.fill(0));
    disk.plant(path(4), &[0; 8192]).unwrap();
    bad(&disk, 3);
}

/// A segment that a rotten reserve hides below is still looked for.
#[test]
fn a_segment_missing_below_a_rotten_one_is_noticed() {
    let disk = with_reserve(|file| file.fill(0));
    disk.remove(path(2).as_ref()).unwrap();
    assert_eq!((damage(&disk).class, damage(&disk).segment), (DamageClass::MissingSegment, 2));
}

#[test]
fn what_a_later_frame_proves_synced_is_known_to_the_record() {
    // As a log writes that syncs now and then: many groups, and then one that tells of a sync up to the third.
    let at = |n: u32| (4096 + 96 + n * 40) / 8;
    let frames = [
        data(1, 1, 512, b"\x01a"),
        data(2, 1, 512, b"\x01b"),
        data(3, 1, 512, b"\x01c"),
        data(4, 1, 512, b"\x01d"),
        data(5, 1, at(2), b"\x01e"),
        data(6, 1, at(2), b"\x01f"),
    ];
    let (_, report) = open(&forged(first_start(), frames)).unwrap();
    assert_eq!((report.next_lsn, report.proven_lsn), (Lsn(7), Lsn(3)));
}

/// The codec was judged before the kind.
#[test]
fn a_frame_that_may_be_ignored_may_have_any_codec() {
    let frames = |kind| {
        let header = frame_header(kind, Frag::Whole, 2, u32::from(kind == 200), 512);
        [data(1, 1, 512, b"\x01a"), (FrameHeader { codec: 7, ..header }, b"?".to_vec())]
    };
    let (wal, report) = open(&forged(first_start(), frames(200))).unwrap();
    assert_eq!((report.next_lsn, report.torn), (Lsn(3), None));
    assert_eq!(wal.append("b").unwrap(), Lsn(3));
    let refused = open(&forged(first_start(), frames(1)));
    let what = Unsupported::Codec(7);
    assert!(matches!(refused, Err(OpenError::Unsupported { offset: 4232, what: w, .. }) if w == what));
}

/// Frames behind damage did not count as proof where their numbers were further ahead than the bytes between, as
/// behind a frame that only counts records.
#[test]
fn a_frame_far_ahead_in_numbers_proves_a_sync_too() {
    let frames = [
        data(1, 1, 512, b"\x01a"),
        (frame_header(200, Frag::Whole, 2, 1_000_000, 529), Vec::new()),
        data(1_000_002, 1, 533, b"\x01b"),
    ];
    let disk = forged(first_start(), frames);
    let mut segment = disk.peek(path(1)).unwrap();
    assert_eq!(open(&disk.restart()).unwrap().1.next_lsn, Lsn(1_000_003));
    segment[4232] ^= 1;
    disk.plant(path(1), &segment).unwrap();
    let damage = damage(&disk);
    assert_eq!((damage.class, damage.lsns), (DamageClass::DamagedDurable, Lsn(2)..Lsn(1_000_002)));
}

/// Its seal was written behind its capacity, where the next opening did not look.
#[test]
fn a_segment_without_room_for_its_seal_is_not_one_of_ours() {
    let pad = |end: usize| (frame_header(8, Frag::Whole, 1, 0, 512), vec![7; end - 4224]);
    let disk = forged(first_start(), [pad(8192 - 80)]);
    let (wal, _) = open(&disk).unwrap();
    wal.rotate().unwrap();
    drop(wal);
    open(&disk).unwrap();

    let damage = damage(&forged(first_start(), [pad(8192 - 72)]));
    assert_eq!((damage.class, damage.bytes), (DamageClass::DamagedDurable, 8192 - 72..8192));
}

/// The writer went on to numbers that the next opening did not believe.
#[test]
fn numbers_that_no_opening_would_believe_are_not_given() {
    let used_up = |outcome: Result<(), AppendError>| {
        matches!(outcome, Err(AppendError::Rejected(Reject::NumbersUsedUp)))
    };
    let start = |segment, lsn| SegmentStart { segment, base_lsn: lsn, low_watermark: lsn, ..first_start() };

    let disk = forged(start(1, MAX_NUMBER - 1), []);
    let (wal, _) = open(&disk).unwrap();
    assert!(used_up(wal.append_batch(["a", "b"]).map(drop)));
    assert_eq!(wal.append("last").unwrap(), Lsn(MAX_NUMBER - 1));
    assert!(used_up(wal.append("beyond").map(drop)));
    assert_eq!(wal.stats().rejected.numbers_used_up, 2);
    wal.rotate().unwrap();
    wal.close().unwrap();
    assert_eq!(read_all(&open(&disk).unwrap().0).len(), 1);

    let beyond = (frame_header(200, Frag::Whole, MAX_NUMBER, 9, 512), Vec::new());
    let disk = forged(start(1, MAX_NUMBER), [beyond]);
    let (wal, _) = open(&disk).unwrap();
    assert!(used_up(wal.rotate()) && used_up(wal.append("beyond").map(drop)));
    drop(wal);
    open(&disk).unwrap();

    let disk = forged(start(MAX_NUMBER, 1), []);
    let (wal, _) = open(&disk).unwrap();
    assert!(used_up(wal.rotate()) && used_up(wal.reserve().map(drop)));
    drop(wal);
    open(&disk).unwrap();
}

fn salt(disk: &SimFs, segment: u64) -> u64 {
    Header::decode(&disk.peek(path(segment)).unwrap()).unwrap().salt
}

/// Two openings that wrote nothing drew the same salts from the same seed.
#[test]
fn a_segment_made_anew_has_another_salt() {
    let (disk, wal) = log(1, options());
    drop(wal);
    let (wal, _) = open(&disk).unwrap();
    wal.reserve().unwrap();
    drop(wal);
    let before = salt(&disk, 2);
    let (wal, _) = open(&disk).unwrap();
    wal.append(record(9, 10_000)).unwrap();
    assert_ne!(salt(&disk, 2), before);
}

/// An opening that only rotated, and the next one, drew the same salts from the same seed.
#[test]
fn a_segment_behind_one_without_frames_has_another_salt() {
    let (disk, wal) = log(1, options());
    drop(wal);
    let (wal, _) = open(&disk).unwrap();
    wal.rotate().unwrap();
    drop(wal);
    let (wal, _) = open(&disk).unwrap();
    wal.reserve().unwrap();
    assert_ne!(salt(&disk, 3), salt(&disk, 2));
}

#[test]
fn every_refusal_names_its_file() {
    let message = |disk: &SimFs, options: Options| match Wal::open_in(disk.clone(), DIR, options) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it opened"),
    };
    let first = path(1);
    let foreign = data(1, 1, 512, b"\x01a");
    let codec = (FrameHeader { codec: 7, ..foreign.0 }, foreign.1);
    let unsupported = message(&forged(first_start(), [codec]), options());
    assert_eq!(unsupported, format!("{first} at byte 4192 has codec 7, which this version does not know"));

    let (disk, wal) = log(1, options());
    let clean = disk.crash(Survive::Nothing);
    let locked = message(&disk, options());
    assert_eq!(locked, format!("log {DIR} is open elsewhere"));
    disk.fail_next(Op::Sync, 0, Fault::PowerCut);
    assert!(wal.append(record(2, 900)).is_err());
    let torn = (0..64).map(|seed| disk.crash(Survive::Seeded(seed)));
    let careful = Options { repair: RepairPolicy::Fail, ..options() };
    let mut torn = torn.filter(|disk| Wal::open_in(disk.restart(), DIR, careful.clone()).is_err());
    let torn = torn.next().expect("one of 64 crashes tears the record");
    let told = message(&torn, careful);
    assert!(
        told.starts_with("torn tail: ") && told.contains(&format!("bytes of {first} at byte ")),
        "{told}"
    );
    torn.set_budget(Some(0));
    let full = message(&torn, options());
    assert!(full.starts_with("no space to quarantine ") && full.ends_with(&format!(" of {first}")), "{full}");

    clean.fail_next(Op::Lock, 0, Fault::Error(ErrorKind::ReadOnlyFilesystem));
    assert_eq!(message(&clean, options()), format!("log {DIR} cannot be written to"));
    clean.plant(&first, b"?").unwrap();
    let damaged = message(&clean, options());
    assert!(damaged.starts_with(&format!("{first} is corrupt at bytes 0..4096: ")), "{damaged}");
}

/// A file of holes took as much space as it claimed to have.
#[test]
fn a_first_segment_that_is_much_too_large_is_not_filled() {
    let disk = SimFs::new(0);
    let mut file = Header::new([1; 16], 1, 9, 1 << 20).encode().to_vec();
    file.resize(1 << 20, 0);
    disk.plant(path(1), &file).unwrap();
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    assert_eq!(disk.peek(path(1)).unwrap().len(), 8192);
    assert_eq!(wal.append("a").unwrap(), Lsn(1));
    drop(wal);
    let (wal, _) = Wal::open_in(disk.crash(Survive::Nothing), DIR, options()).unwrap();
    assert_eq!(read_all(&wal), [(1, b"a".to_vec())]);
}
