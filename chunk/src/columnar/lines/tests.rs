use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::Limits;
use crate::columnar::fault::Fault;
use crate::columnar::filter::Words;
use crate::columnar::profile::{ColumnarOptions, Profile};
use crate::columnar::stream::{Kind, Streams};
use crate::range::Direction;

pub(super) fn options() -> ColumnarOptions {
    Profile::Balanced.options()
}

/// The lines of some rows, a piece of at most so many at a time.
fn read(
    decoder: &mut Decoder,
    streams: &Streams,
    times: &[i64],
    rows: Range<usize>,
    piece: usize,
    direction: Direction,
) -> Result<Vec<Vec<u8>>, Fault> {
    let mut all = vec![Vec::new(); rows.len()];
    let mut work = Work::default();
    let mut left = rows.clone();
    while !left.is_empty() {
        let some = match direction {
            Direction::Forward => left.start..left.end.min(left.start + piece),
            Direction::Backward => left.start.max(left.end.saturating_sub(piece))..left.end,
        };
        let found = decoder.make(streams, times, some, direction, &mut work)?;
        assert!(!found.is_empty());
        for row in found.clone() {
            all[row - rows.start] = work.made.line(row - found.start).unwrap().to_vec();
        }
        match direction {
            Direction::Forward => left.start = found.end,
            Direction::Backward => left.end = found.start,
        }
    }
    Ok(all)
}

/// The same, forward and as many at a time as can be.
fn read_all(decoder: &mut Decoder, streams: &Streams, rows: usize) -> Result<Vec<Vec<u8>>, Fault> {
    read(decoder, streams, &vec![0; rows], 0..rows, usize::MAX >> 1, Direction::Forward)
}

/// Encodes lines a second apart, reads them back whole and in pieces, and gives the streams.
fn round_trip(lines: &[&[u8]]) -> Option<Streams> {
    let times: Vec<i64> =
        (0..).map(|n| 1_772_884_800_000_000_000 + n * 1_000_000_000).take(lines.len()).collect();
    let mut streams = Streams::default();
    if !encode(lines, &times, &options(), &mut streams, &mut Words::default()) {
        assert_eq!(streams.written().count(), 0);
        return None;
    }
    let mut decoder = Decoder::new(&streams, lines.len(), &Limits::default()).unwrap();
    for (direction, piece) in
        [(Direction::Forward, 1 << 20), (Direction::Backward, 100), (Direction::Forward, 37)]
    {
        let found = read(&mut decoder, &streams, &times, 0..lines.len(), piece, direction).unwrap();
        for (line, found) in lines.iter().zip(&found) {
            assert_eq!(found.escape_ascii().to_string(), line.escape_ascii().to_string());
        }
    }
    for first in (0..lines.len()).step_by(lines.len() / 7 + 1).chain([0]) {
        let some = first..lines.len().min(first + 5);
        let found = read(&mut decoder, &streams, &times, some.clone(), 5, Direction::Forward);
        assert_eq!(found.unwrap(), &lines[some]);
    }
    Some(streams)
}

fn round_trip_text(lines: &[String]) -> Option<Streams> {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    round_trip(&lines)
}

#[test]
fn lines_of_one_kind_come_back() {
    let lines: Vec<String> = (0..3000)
        .map(|n| {
            format!(
                "Mar {:>2} 12:03:{:02} host sshd[{}]: user u{} took {}ms",
                n % 30 + 1,
                n % 60,
                n * 7,
                n % 5,
                n * n
            )
        })
        .collect();
    assert!(round_trip_text(&lines).is_some());
}

#[test]
fn lines_that_begin_alike_share_columns() {
    let lines: Vec<String> = (0..400usize)
        .map(|n| {
            let ends = ["accepted", "refused", "closed after 5 s", "lost"][n % 4];
            format!("Mar  1 12:03:{:02} host sshd[{}]: {ends}", n % 60, n * n * 7 % 9973)
        })
        .collect();
    let streams = round_trip_text(&lines).unwrap();
    let decoder = Decoder::new(&streams, lines.len(), &Limits::default()).unwrap();
    assert_eq!(decoder.columns().len(), 2);
    assert!(decoder.columns().iter().all(|column| column.rows == 400));
}

#[test]
fn a_value_that_is_there_twice_is_stored_once() {
    let lines: Vec<String> =
        (0..300u64).map(|n| format!("from {} to {} and 7", n * n * n % 7919, n * n * n % 7919)).collect();
    let streams = round_trip_text(&lines).unwrap();
    let decoder = Decoder::new(&streams, lines.len(), &Limits::default()).unwrap();
    let same = decoder
        .columns()
        .iter()
        .filter(|column| matches!(column.encoding, crate::columnar::column::Encoding::Same { slot: 0 }));
    assert_eq!((decoder.columns().len(), same.count()), (2, 1));
}

#[test]
fn times_that_follow_the_rows_take_no_bytes() {
    let lines: Vec<String> = (0..600)
        .map(|n| {
            format!(
                "2026-03-07T{:02}:{:02}:{:02}Z and {}",
                13 + n / 3600,
                n / 60 % 60,
                n % 60,
                1_772_884_801 + n
            )
        })
        .collect();
    let streams = round_trip_text(&lines).unwrap();
    assert_eq!(streams.len(Kind::Bits) + streams.len(Kind::Numbers), 0);
}

#[test]
fn lines_without_anything_in_common_are_left_to_the_caller() {
    let lines: Vec<String> = (0..70_000u64)
        .map(|n| format!("{:x}", u128::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)))
        .map(|text| text.bytes().map(|byte| char::from(b'g' + byte % 16)).collect())
        .collect();
    // Each is one field, and nothing but.
    assert!(round_trip_text(&lines).is_none());
    assert!(round_trip(&[]).is_none());
    assert!(round_trip(&[&b"a\0b"[..]; 20]).is_none());
}

#[test]
fn a_few_odd_lines_are_kept_as_they_are() {
    let odd: [&[u8]; 6] = [b"", b"\0", b"\x11\xFF\xFE", b"nobody says this twice", &[b'7'; 70_000], b"\n\n"];
    let mut lines: Vec<Vec<u8>> = (0..500).map(|n| format!("the {n} usual").into_bytes()).collect();
    for (index, line) in odd.iter().enumerate() {
        lines.insert(index * 77, line.to_vec());
    }
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    assert!(round_trip(&lines).is_some());
}

#[test]
fn long_values_are_put_together_piece_by_piece() {
    let lines: Vec<String> = (0..40usize)
        .map(|n| format!("note {n} {n} \"{} {}\"", "long ".repeat(20_000), ["a", "b", "c"][n % 3]))
        .collect();
    round_trip_text(&lines);
    let lines: Vec<String> = (0..40u64).map(|n| format!("x {} {}", "9".repeat(70_000), n)).collect();
    assert!(round_trip_text(&lines).is_some());
}

#[test]
fn the_same_lines_make_the_same_bytes() {
    let lines: Vec<String> = (0..2000u64)
        .map(|n| {
            format!(
                "w{} {} of {:x} by user{} at 10.0.{}.{}",
                n % 13,
                n * n,
                n * 77_777_777,
                n % 7,
                n % 3,
                n % 250
            )
        })
        .collect();
    let first = round_trip_text(&lines).unwrap();
    let second = round_trip_text(&lines).unwrap();
    assert!(first.written().eq(second.written()));
}

#[test]
fn streams_that_contradict_each_other_are_refused() {
    let lines: Vec<String> =
        (0..200u64).map(|n| format!("user {} of {} did {}", n % 9, n * n, n % 2)).collect();
    let read = |streams: &Streams| {
        let mut decoder = Decoder::new(streams, lines.len(), &Limits::default())?;
        read_all(&mut decoder, streams, 200).map(drop)
    };
    let mut streams = round_trip_text(&lines).unwrap();
    assert_eq!(read(&streams), Ok(()));
    for kind in [Kind::Skeletons, Kind::SkeletonIds, Kind::Columns] {
        let whole = streams.out(kind).clone();
        for length in 0..whole.len() {
            *streams.out(kind) = whole[..length].to_vec();
            assert!(read(&streams).is_err(), "{kind:?} of {length}");
        }
        *streams.out(kind) = [&whole[..], &[0]].concat();
        assert!(read(&streams).is_err(), "{kind:?} and a byte");
        *streams.out(kind) = whole;
    }
    streams.out(Kind::SkeletonIds)[5] = 2;
    assert!(read(&streams).is_err());
    streams.out(Kind::SkeletonIds)[5] = 0;
    assert!(read(&streams).is_err());
}

#[test]
fn lines_are_no_longer_than_the_reader_allows() {
    // One value of a thousand bytes, a hundred times in each line.
    let mut streams = Streams::default();
    streams.out(Kind::Skeletons).extend([1, 100]);
    streams.out(Kind::Skeletons).extend([1; 100]);
    streams.out(Kind::SkeletonIds).extend([1, 1, 1]);
    streams.out(Kind::Columns).extend([1, 0, 0, 0, 0xC8, 1, 0xE8, 7]);
    streams.out(Kind::Values).extend([b'x'; 1000]);
    let read = |limits: Limits| {
        let mut decoder = Decoder::new(&streams, 2, &limits)?;
        read_all(&mut decoder, &streams, 2).map(|lines| lines.concat().len())
    };
    assert_eq!(read(Limits::default()), Ok(200_000));
    let line = Limits { max_line_bytes: 99_999, ..Limits::default() };
    assert!(matches!(read(line), Err(Fault::Limit { limit: "max_line_bytes", .. })));
    let block = Limits { max_block_bytes: 150_000, ..Limits::default() };
    assert!(matches!(read(block), Err(Fault::Limit { .. })));
}

/// Nothing that was counted was taken by slots without text: 34 thousand million steps for a file of some kilobytes.
#[test]
fn parts_without_text_are_work_too() {
    let with = |parts: usize, rows: usize, part: &[u8]| {
        let mut streams = Streams::default();
        // A column of one empty value, any number of times.
        streams.out(Kind::Columns).extend([1, 0, 0, 0]);
        crate::loki::format::put_uvarint(streams.out(Kind::Columns), (parts * rows) as u64);
        streams.out(Kind::Columns).push(0);
        streams.out(Kind::Skeletons).push(1);
        crate::loki::format::put_uvarint(streams.out(Kind::Skeletons), parts as u64);
        streams.out(Kind::Skeletons).extend(part.repeat(parts));
        streams.out(Kind::SkeletonIds).push(1);
        streams.out(Kind::SkeletonIds).extend(vec![1; rows]);
        let mut decoder = Decoder::new(&streams, rows, &Limits::default())?;
        read_all(&mut decoder, &streams, rows).map(|lines| lines.concat().len())
    };
    assert_eq!(with(100, 1000, &[1]), Ok(0));
    assert!(matches!(
        with(4096, 4096, &[1]),
        Err(Fault::Limit { limit: "parts of all lines of a group", .. })
    ));
    assert!(matches!(with(2, 2, &[0, 0]), Err(Fault::Corrupt { .. })), "literal text of no bytes");
}

/// A byte of a file became 24 of memory that no limit knew of.
#[test]
fn what_skeletons_and_columns_take_is_known_before_it_is_taken() {
    let limits = Limits { max_block_bytes: 1 << 20, ..Limits::default() };
    let mut streams = Streams::default();
    streams.out(Kind::Columns).extend([1, 0, 0, 0, 0, 0]);
    crate::loki::format::put_uvarint(streams.out(Kind::Skeletons), 200);
    for _ in 0..200 {
        crate::loki::format::put_uvarint(streams.out(Kind::Skeletons), 4000);
        streams.out(Kind::Skeletons).extend([1; 4000]);
    }
    streams.out(Kind::SkeletonIds).push(1);
    assert!(matches!(Decoder::new(&streams, 0, &limits), Err(Fault::Limit { limit: "max_block_bytes", .. })));
    assert!(Decoder::new(&streams, 0, &Limits::default()).is_ok());
    // Columns of which each fits.
    let mut streams = Streams::default();
    streams.out(Kind::Columns).push(20);
    let column = [1, 0, 5, 0x90, 0x4E, 1, 2, 0];
    (0..20).for_each(|_| streams.out(Kind::Columns).extend(column));
    streams.out(Kind::Skeletons).extend([1, 20]);
    streams.out(Kind::Skeletons).extend(1..=20);
    streams.out(Kind::SkeletonIds).push(1);
    streams.out(Kind::SkeletonIds).extend([1; 10_000]);
    assert!(matches!(
        Decoder::new(&streams, 10_000, &limits),
        Err(Fault::Limit { limit: "max_block_bytes", .. })
    ));
    let mut decoder = Decoder::new(&streams, 10_000, &Limits::default()).unwrap();
    read_all(&mut decoder, &streams, 10_000).unwrap();
    assert!((1_600_000..2_000_000).contains(&decoder.memory_bytes()), "{}", decoder.memory_bytes());
    assert_eq!(decoder.memory_bytes(), decoder.max_memory_bytes());
}

/// Each slot looked for what it repeats through all before it: eight million steps for each of a thousand skeletons.
#[test]
fn what_a_slot_repeats_repeats_nothing() {
    let read = |slots: &[u8]| {
        let mut streams = Streams::default();
        // A number, and columns that repeat slots 0 and 1.
        streams.out(Kind::Columns).extend([3, 1, 0, 3, 2, 5, 2]);
        streams.out(Kind::Columns).extend([1, 0, 10, 2, 0, 1, 0, 10, 2, 1]);
        streams.out(Kind::Bits).push(0b0110);
        streams.out(Kind::Skeletons).extend([1, 2 + u8::try_from(slots.len()).unwrap(), 0, 1, b'<']);
        streams.out(Kind::Skeletons).extend(slots);
        streams.out(Kind::Skeletons).extend([0, 1, b'>']);
        streams.out(Kind::SkeletonIds).extend([1, 1, 1]);
        let mut decoder = Decoder::new(&streams, 2, &Limits::default())?;
        read_all(&mut decoder, &streams, 2)
    };
    assert_eq!(read(&[1, 2]), Ok(vec![b"<77>".to_vec(), b"<66>".to_vec()]));
    let error = read(&[1, 2, 3]).unwrap_err();
    assert!(matches!(&error, Fault::Corrupt { what, .. } if what.contains("repeats another")), "{error:?}");
}

/// Such a column was read for both, and which value each of them got depended on the reader.
#[test]
fn a_column_is_of_slots_or_of_something_else() {
    let lines: Vec<String> = (0..50u64).map(|n| format!("user {} of {}", n % 9, n * n)).collect();
    let streams = round_trip_text(&lines).unwrap();
    let decoder = Decoder::new(&streams, 50, &Limits::default()).unwrap();
    assert_eq!(decoder.check_others(&[]), Ok(()));
    assert_eq!(decoder.check_others(&[2, 700]), Ok(()), "they are of nothing");
    assert!(matches!(decoder.check_others(&[5, 1]), Err(Fault::Corrupt { .. })));
}

/// They were counted when all of them were there.
#[test]
fn skeletons_are_refused_at_the_first_part_that_is_too_much() {
    let mut streams = Streams::default();
    streams.out(Kind::Columns).extend([1, 0, 0, 0, 0, 0]);
    crate::loki::format::put_uvarint(streams.out(Kind::Skeletons), 200);
    for _ in 0..200 {
        crate::loki::format::put_uvarint(streams.out(Kind::Skeletons), 4000);
        streams.out(Kind::Skeletons).extend([1; 4000]);
    }
    streams.out(Kind::SkeletonIds).push(1);
    let limits = Limits { max_block_bytes: 1 << 20, ..Limits::default() };
    let Err(Fault::Limit { limit: "max_block_bytes", value, .. }) = Decoder::new(&streams, 0, &limits) else {
        panic!("it takes 13 MB")
    };
    assert!(value < (1 << 20) + 100, "{value} bytes");
}

/// Rows are made skeleton by skeleton, but each has the values of its own turn.
#[test]
fn skeletons_that_share_columns_in_turns_read_back() {
    let lines: Vec<String> = (0..5000u64)
        .map(|n| match n * n % 7 {
            0 => format!("at {n} user {} and user {} left", n * 31, n % 9),
            1 => format!("at {n} user {}", n * 31),
            2 => format!("at {n} user {} and user {}", n * 31, n * 77 % 1000),
            3 => format!("at {n} user {} and user {} came, and {}", n * 31, n % 9, n * 31),
            4 => format!("odd {:x}{}", n * 0x9E37_79B9_7F4A, "y".repeat((n % 40) as usize)),
            _ => format!("at {n} user {} 0{}", n * 31, n % 3),
        })
        .collect();
    round_trip_text(&lines).unwrap();
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("word".to_owned()),
        Just(" [".to_owned()),
        "[a-z]{1,5}",
        "[0-9]{1,21}",
        "0[0-9]{0,19}",
        "[0-9a-f]{7,40}",
        "[0-9A-F]{7,17}",
        "0x[0-9a-fA-F]{1,18}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
        "(Jan|Feb|Sun|Mon Dec) [ 0-3][0-9] [0-2][0-9]:[0-6][0-9]:[0-6][0-9]( 20[0-9]{2})?",
        "(19|20|99)[0-9]{2}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9]:[0-6][0-9]([.,][0-9]{1,10})?Z?",
        "[0-3][0-9]/(May|Feb)/20[0-9]{2}:[0-2][0-9]:00:[0-6][0-9]",
        "[01][0-9]{5} [0-2][0-9]{5}",
        "[A-Za-z0-9+/]{1,30}=",
        "\"[a-z ]{0,9}\"",
        "[\\x00\\x11\u{e4}\u{fe}]",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_lines_come_back(
        templates in prop::collection::vec(prop::collection::vec(piece(), 0..6), 1..6),
        fill in prop::collection::vec((0usize..6, 0usize..6, piece()), 8..120),
    ) {
        let lines: Vec<String> = fill
            .into_iter()
            .map(|(template, place, value)| {
                let mut pieces = templates[template % templates.len()].clone();
                if place < pieces.len() {
                    pieces[place] = value;
                }
                pieces.join(if place % 2 == 0 { " " } else { "" })
            })
            .collect();
        round_trip_text(&lines);
    }

    #[test]
    fn any_bytes_come_back(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..60)) {
        let repeated: Vec<&[u8]> = lines.iter().chain(&lines).chain(&lines).chain(&lines).map(Vec::as_slice).collect();
        round_trip(&repeated);
    }

    #[test]
    fn any_streams_are_read_or_refused(
        skeletons in prop::collection::vec(0u8..6, 0..30),
        ids in prop::collection::vec(0u8..4, 0..12),
        columns in prop::collection::vec(0u8..12, 0..40),
        others in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut streams = Streams::default();
        streams.out(Kind::Skeletons).extend(&skeletons);
        streams.out(Kind::SkeletonIds).extend(&ids);
        streams.out(Kind::Columns).extend(&columns);
        streams.out(Kind::Values).extend(&others);
        streams.out(Kind::Bits).extend(&others);
        let rows = ids.len().saturating_sub(1);
        if let Ok(mut decoder) = Decoder::new(&streams, rows, &Limits::default()) {
            let _ = read_all(&mut decoder, &streams, rows);
        }
    }
}
