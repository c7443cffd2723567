//! Commands that only look.

use std::collections::BTreeSet;

use forebay_wal::fs::StdFs;
use forebay_wal::{Durability, Lsn, Options, View, Wal};

use crate::bench::{Log, all_golden, golden, options, run};

#[test]
fn a_whole_log_is_told_from_a_torn_and_a_damaged_one() {
    let verify = |log: &Log| {
        let (shown, object) = (run(&["verify"], log.dir()), run(&["verify", "--json"], log.dir()).object());
        (shown.code, shown.out, object)
    };
    let (code, shown, object) = verify(&Log::golden("v1"));
    assert_eq!((code, &object["state"], &object["records"]), (0, &"whole".into(), &14.into()));
    assert_eq!((&object["first_lsn"], &object["next_lsn"]), (&3.into(), &17.into()));
    assert!(shown.contains("14, numbered 3..17") && shown.contains("closed"), "{shown}");

    let log = Log::golden("v1");
    // The mark that it was closed, and a piece of the last record.
    log.edit(3, |bytes| bytes[5500..].fill(0));
    let (code, shown, object) = verify(&log);
    assert_eq!((code, &object["state"], &object["damaged"]), (1, &"torn".into(), &serde_json::json!([])));
    assert_eq!(object["torn"]["segment"], 3);
    assert!(shown.contains("torn tail"), "{shown}");

    let log = Log::golden("v1");
    log.edit(1, |bytes| bytes[5000] ^= 1);
    let (code, shown, object) = verify(&log);
    assert_eq!((code, &object["state"]), (1, &"damaged".into()));
    let damage = &object["damaged"][0];
    assert_eq!((&damage["segment"], &damage["class"]), (&1.into(), &"damaged-durable".into()));
    assert_eq!(object["lost"][0], damage["lsns"]);
    assert!(shown.contains("synced bytes are damaged") && shown.contains("records lost"), "{shown}");

    let log = Log::golden("v1");
    std::fs::remove_file(log.segment(2)).unwrap();
    assert_eq!(verify(&log).2["damaged"][0]["class"], "missing-segment");
}

#[test]
fn what_is_no_log_is_no_whole_log() {
    let log = Log::empty();
    let names = [log.dir().to_path_buf(), log.dir().join("nowhere"), golden("writer.rs")];
    for (dir, command) in names.iter().flat_map(|dir| COMMANDS.map(|command| (dir, command))) {
        let answer = run(command, dir);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{command:?}");
        assert!(answer.err.contains(dir.to_str().unwrap()), "{}", answer.err);
    }
    std::fs::write(log.dir().join("LOCK"), "").unwrap();
    assert_eq!(run(&["verify"], log.dir()).code, 0, "a log in which nothing was written");
}

const COMMANDS: [&[&str]; 6] = [
    &["inspect"],
    &["verify"],
    &["dump"],
    &["stat"],
    &["repair", "--yes"],
    &["truncate", "--yes", "--before", "1"],
];

#[test]
fn bad_usage_is_told_from_bad_logs() {
    let log = Log::golden("v1");
    for arguments in [&["mend"][..], &["dump", "--from", "one"], &["truncate"], &["verify", "--yes"]] {
        assert_eq!(run(arguments, log.dir()).code, 2, "{arguments:?}");
    }
    let answer = run(&["inspect", "--segment", "9"], log.dir());
    assert!(answer.code == 2 && answer.err.contains("wal-0000000000000009.seg"), "{answer:?}");
}

#[test]
fn a_log_of_a_later_version_is_named_and_not_judged() {
    let log = Log::golden("v1");
    for number in 1..=3 {
        log.edit(number, |bytes| {
            bytes[8] = 2;
            let sum = crc32fast::hash(&bytes[..124]);
            bytes[124..128].copy_from_slice(&sum.to_le_bytes());
        });
    }
    let before = log.files();
    for command in [&["verify"][..], &["dump"], &["repair", "--yes"], &["truncate", "--yes", "--before", "9"]]
    {
        let answer = run(command, log.dir());
        assert_eq!(answer.code, 2, "{answer:?}");
        assert!(answer.err.contains("format version 2"), "{}", answer.err);
    }
    assert!(run(&["inspect"], log.dir()).out.contains("format version 2"));
    assert_eq!(log.files(), before);
}

#[test]
fn stat_says_what_verify_says_where_both_speak() {
    for name in all_golden() {
        let (stat, verify) =
            (run(&["stat", "--json"], &golden(&name)), run(&["verify", "--json"], &golden(&name)));
        let (stat, verify) = (stat.object(), verify.object());
        if verify["torn"].is_null() {
            assert_eq!(stat["next_lsn"], verify["next_lsn"], "{name}");
            assert_eq!(stat["clean"], verify["clean"], "{name}");
        }
        for (ours, theirs) in [("low_lsn", "first_lsn"), ("checkpoint", "checkpoint"), ("streams", "streams")]
        {
            assert_eq!(stat[ours], verify[theirs], "{name}: {ours}");
        }
    }
    let shown = run(&["stat"], &golden("v1-burned")).out;
    assert!(shown.contains("ingester-1") && shown.contains("2023-11-14 22:13:20 UTC"), "{shown}");
    let shown = run(&["stat"], &golden("v1-streams")).out;
    assert!(shown.contains("7 is orders, from record 5"), "{shown}");
}

#[test]
fn dump_prints_the_records_that_a_reader_reads() {
    for name in all_golden() {
        let (view, _) = View::open(golden(&name)).unwrap();
        let records: Vec<_> = view.reader(Lsn(0)).map(Result::unwrap).collect();
        let objects = run(&["dump", "--json"], &golden(&name)).objects();
        assert_eq!(objects.len(), records.len());
        for (object, record) in objects.iter().zip(&records) {
            assert_eq!(object["lsn"], record.lsn.0);
            let hex: String = record.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            match std::str::from_utf8(&record.bytes) {
                Ok(text) => assert_eq!(object["text"], text),
                Err(_) => assert_eq!(object["hex"], hex),
            }
            assert_eq!(object["stream_id"].as_u64().unwrap_or(0), u64::from(record.stream), "{name}");
        }
    }
    let shown = run(&["dump"], &golden("v1-streams")).out;
    assert!(shown.contains("1  plain\n2  [orders]  x\n") && shown.contains("6  [audit]  abc\n"), "{shown}");
}

#[test]
fn dump_prints_what_was_asked_for_and_each_record_on_one_line() {
    let log = Log::of(|wal| {
        wal.append_batch([&b"plain"[..], b"two\nlines\t\\", b"\xff\x00mixed \xe2\x82\xac", b"", b"last"])
            .unwrap();
    });
    let dump = |arguments: &[&str]| run(&[&["dump"], arguments].concat(), log.dir()).out;
    assert_eq!(dump(&[]), "1  plain\n2  two\\nlines\\t\\\\\n3  \\xff\\u{0}mixed €\n4  \n5  last\n");
    let hex = "2  11  74776f0a6c696e6573095c\n3  11  ff006d6978656420e282ac\n";
    assert_eq!(dump(&["--from", "2", "--to", "4", "--format", "hex"]), hex);
    assert_eq!(dump(&["--from", "4", "--limit", "1", "--format", "json"]), "{\"lsn\":4,\"text\":\"\"}\n");
    assert_eq!(dump(&["--from", "6"]), "");
    assert_eq!(dump(&["--limit", "0"]), "");
}

#[test]
fn dump_of_a_damaged_log_says_how_to_read_what_is_left() {
    let log = Log::golden("v1");
    log.edit(1, |bytes| bytes[5000] ^= 1);
    let before = log.files();
    let refused = run(&["dump"], log.dir());
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(
        refused.err.contains("is corrupt at bytes") && refused.err.contains("--salvage"),
        "{}",
        refused.err
    );

    let salvaged = run(&["dump", "--salvage", "--json"], log.dir());
    let lsns: BTreeSet<u64> =
        salvaged.objects().iter().map(|object| object["lsn"].as_u64().unwrap()).collect();
    let verified = run(&["verify", "--json"], log.dir()).object();
    let lost = verified["lost"][0]["start"].as_u64().unwrap()..verified["lost"][0]["end"].as_u64().unwrap();
    assert!(!lost.is_empty());
    assert_eq!(lsns, (3..17).filter(|lsn| !lost.contains(lsn)).collect(), "all that the damage has not cost");
    assert_eq!(salvaged.code, 1);
    assert_eq!(log.files(), before, "nothing was repaired to be read");
}

#[test]
fn inspect_shows_every_frame_where_it_lies() {
    let log = Log::golden("v1");
    let objects = run(&["inspect", "--frames", "--json"], log.dir()).objects();
    let (frames, segments): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object.get("at").is_some());
    assert_eq!(
        segments.iter().map(|segment| segment["frames"].as_u64().unwrap()).sum::<u64>(),
        frames.len() as u64
    );
    assert_eq!(segments.iter().map(|segment| segment["records"].as_u64().unwrap()).sum::<u64>(), 16);
    let kinds: Vec<_> = frames
        .iter()
        .filter(|frame| frame["segment"] == 2)
        .map(|frame| frame["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["start", "data", "data", "data", "low-watermark", "clean-close", "seal"]);
    assert_eq!((&segments[0]["sealed"], &segments[2]["sealed"]), (&true.into(), &false.into()));
    assert_eq!(
        (&segments[1]["header"]["checksum"], &segments[2]["header"]["checksum"]),
        (&"crc32".into(), &"crc32c".into())
    );

    let shown = run(&["inspect", "--segment", "2"], log.dir()).out;
    assert!(shown.contains("records before 3 are gone") && shown.contains("next is segment 3"), "{shown}");
    assert!(!shown.contains("wal-0000000000000001.seg"), "{shown}");
}

#[test]
fn inspect_goes_on_behind_a_hole_and_behind_a_damaged_body() {
    let log = Log::golden("v1");
    let frames = |log: &Log| {
        let answer = run(&["inspect", "--segment", "1", "--json"], log.dir());
        (answer.code, answer.objects())
    };
    let (code, whole) = frames(&log);
    assert_eq!(code, 0);
    let at = |index: usize| usize::try_from(whole[index]["at"].as_u64().unwrap()).unwrap();
    log.edit(1, |bytes| {
        bytes[at(2)] ^= 1;
        bytes[at(4) + 40] ^= 1;
    });
    let (code, damaged) = frames(&log);
    assert_eq!((code, damaged.len()), (1, whole.len()));
    assert_eq!((&damaged[2]["kind"], &damaged[2]["end"]), (&"hole".into(), &whole[3]["at"]));
    assert_eq!((&damaged[4]["frame"]["whole"], &damaged[4]["at"]), (&false.into(), &whole[4]["at"]));
    for same in [0, 1, 3, 5, 6] {
        assert_eq!(damaged[same], whole[same]);
    }
    let shown = run(&["inspect", "--segment", "1"], log.dir()).out;
    assert!(
        shown.contains("are no frame") && shown.contains("DAMAGED") && shown.contains("in 1 hole"),
        "{shown}"
    );
}

/// Headers on both sides of every border of what is read at once.
#[test]
fn inspect_tiles_a_long_segment_with_frames() {
    let log = Log::empty();
    let long = Options { segment_bytes: 1 << 20, ..options() };
    let (wal, _) = Wal::open_in(StdFs, log.dir(), long).unwrap();
    for record in 0..4000_u64 {
        wal.append_with(vec![7; usize::try_from(record * 37 % 200).unwrap()], Durability::Written).unwrap();
    }
    drop(wal);
    let objects = run(&["inspect", "--segment", "1", "--json"], log.dir()).objects();
    let (frames, summary) = (&objects[..objects.len() - 1], objects.last().unwrap());
    let mut end = 4096;
    for frame in frames {
        assert_eq!(frame["at"], end, "right behind the one before");
        end += (32 + frame["frame"]["body_len"].as_u64().unwrap()).next_multiple_of(8);
    }
    assert_eq!(
        (&summary["records"], &summary["holes"], &summary["end"]),
        (&4000.into(), &0.into(), &end.into())
    );
    assert_eq!(summary["next_lsn"], 4001);
    assert!(end > 7 * (64 << 10));

    // Every frame's first byte, and with it every place at which a hole may end.
    let starts: Vec<usize> =
        frames.iter().map(|frame| usize::try_from(frame["at"].as_u64().unwrap()).unwrap()).collect();
    log.edit(1, |bytes| starts.iter().skip(1).step_by(2).for_each(|at| bytes[*at] ^= 1));
    let holed = run(&["inspect", "--segment", "1", "--json"], log.dir()).objects();
    for (index, (was, is)) in frames.iter().zip(&holed).enumerate() {
        assert_eq!(was["at"], is["at"]);
        assert_eq!(is["kind"] == "hole", index % 2 == 1, "{is}");
    }
}

#[test]
fn the_others_look_at_a_log_that_somebody_writes_to_and_a_repair_does_not() {
    let log = Log::empty();
    let (wal, _) = Wal::open(log.dir(), options()).unwrap();
    wal.append("one").unwrap();
    for command in [&["verify"][..], &["inspect"], &["stat"]] {
        assert_eq!(run(command, log.dir()).code, 0, "{command:?}");
    }
    assert_eq!(run(&["dump"], log.dir()).out, "1  one\n");
    for command in [&["truncate", "--before", "1"][..], &["truncate", "--before", "1", "--yes"]] {
        let answer = run(command, log.dir());
        assert!(answer.code == 2 && answer.err.contains("is open elsewhere"), "{answer:?}");
    }
    wal.append("two").unwrap();
    wal.close().unwrap();
    assert_eq!(run(&["dump"], log.dir()).out, "1  one\n2  two\n");
}
