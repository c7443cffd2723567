use proptest::prelude::*;

use super::*;
use crate::columnar::fault::Fault;
use crate::columnar::skeleton::Table;
use crate::columnar::stream::{Kind, Streams};

const MAX: usize = 1 << 26;

/// Writes columns of numbers, and gives their encodings and values.
fn numbers(columns: &[(Class, Vec<u64>)]) -> Vec<(Class, Encoding, Vec<u64>)> {
    let mut streams = Streams::default();
    let mut encoder = Encoder::new(&mut streams);
    for (class, values) in columns {
        encoder.numbers(*class, values);
    }
    encoder.finish();
    let table = table(&streams).unwrap();
    let radix = |class| if matches!(class, Class::Hex(_)) { 16 } else { 10 };
    let number = |class, text: String| u64::from_str_radix(&text, radix(class)).unwrap();
    let read = |column: &Column| {
        texts(column, &streams).into_iter().map(|text| number(column.class, text)).collect()
    };
    table.iter().map(|column| (column.class, column.encoding, read(column))).collect()
}

/// The values of a column as text.
fn texts(column: &Column, streams: &Streams) -> Vec<String> {
    let (values, _) = decode(column, streams, MAX).unwrap();
    let (mut text, mut peeked) = (Vec::new(), Vec::new());
    (0..column.rows)
        .map(|number| {
            assert_eq!(values.text(column, streams, number, &mut text), Ok(true));
            match column.peek(streams, number, &mut peeked).unwrap() {
                Some(_) => assert_eq!(peeked, text),
                None => {
                    assert!(matches!(column.encoding, Encoding::Delta { .. } | Encoding::DeltaFor { .. }))
                }
            }
            String::from_utf8(text.clone()).unwrap()
        })
        .collect()
}

fn strings(class: Class, values: &[&str]) -> (Encoding, Vec<String>) {
    let mut streams = Streams::default();
    let mut table_of = Table::default();
    let ids: Vec<u64> = values.iter().map(|value| u64::from(table_of.add(value.as_bytes()))).collect();
    let mut encoder = Encoder::new(&mut streams);
    encoder.strings(class, &ids, &table_of);
    encoder.finish();
    let table = table(&streams).unwrap();
    (table[0].encoding, texts(&table[0], &streams))
}

fn noise(n: u64) -> u64 {
    let mixed = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB) >> 1
}

#[test]
fn every_encoding_of_numbers_reads_back() {
    let columns = [
        (Class::Number, (0..500).map(|n| noise(n) >> 40).collect()),
        (Class::Number, (0..500).map(|n| 7_000_000_000 + n * n).collect()),
        (Class::Number, (0..500).map(|n| n * 12).collect()),
        (Class::Hex(16), (0..500).map(noise).collect()),
        (Class::Number, (0..500).map(|n| noise(n % 3)).collect()),
        (Class::Number, vec![u64::MAX, 0, u64::MAX]),
        (Class::Number, (0..40_000).map(noise).collect()),
    ];
    let read = numbers(&columns);
    let found: Vec<u8> = read.iter().map(|(_, encoding, _)| encoding.number()).collect();
    assert_eq!(found[2..5], [5, 3, 1]);
    for ((class, values), (found, _, read)) in columns.iter().zip(&read) {
        assert_eq!((class, values), (found, read));
    }
}

#[test]
fn digits_are_plain_numbers_where_none_is_padded() {
    use crate::columnar::class::digits_code;
    let codes =
        |values: &[(u64, usize)]| values.iter().map(|&(value, width)| digits_code(value, width)).collect();
    let read = numbers(&[
        (Class::Digits, codes(&[(5, 1), (10, 2), (70_000, 5)])),
        (Class::Digits, codes(&[(5, 2), (10, 2), (70, 2)])),
        (Class::Digits, codes(&[(5, 1), (5, 2), (70_000, 5)])),
    ]);
    assert_eq!(
        read.iter().map(|column| column.0).collect::<Vec<_>>(),
        [Class::Number, Class::Padded(2), Class::Digits]
    );
    assert_eq!(read[0].2, [5, 10, 70_000]);
}

#[test]
fn every_encoding_of_bytes_reads_back() {
    let many: Vec<String> =
        (0..300u64).map(|n| format!("{:032x}", u128::from(noise(n)) << 60 | u128::from(n))).collect();
    let texts: Vec<String> = (0..300u64).map(|n| format!("a text {:x}", noise(n))).collect();
    let uuid = "0123abcd-4567-89ef-0123-456789abcdef";
    for (class, values, expected) in [
        (Class::Text, texts.iter().map(String::as_str).collect::<Vec<_>>(), 2),
        (Class::Text, ["yes", "no", "no", "yes", "no", "no"].repeat(9), 1),
        (Class::Text, vec!["x"; 5], 0),
        (Class::HexBytes(32), many.iter().map(String::as_str).collect(), 7),
        (Class::HexBytes(32), many.iter().take(9).map(String::as_str).cycle().take(90).collect(), 8),
        (Class::Uuid, vec![uuid; 4], 0),
    ] {
        let (encoding, read) = strings(class, &values);
        assert_eq!(encoding.number(), expected, "{class:?}");
        assert_eq!(read, values);
    }
}

#[test]
fn a_large_column_has_a_stream_of_its_own() {
    let mut streams = Streams::default();
    let mut encoder = Encoder::new(&mut streams);
    encoder.numbers(Class::Number, &(0..40_000).map(noise).collect::<Vec<_>>());
    encoder.numbers(Class::Number, &[1, 2, 4]);
    encoder.finish();
    assert_eq!(streams.lens(Kind::Column).len(), 1);
    assert_eq!(table(&streams).unwrap().len(), 2);
}

#[test]
fn a_table_that_lies_is_refused() {
    let mut streams = Streams::default();
    let mut encoder = Encoder::new(&mut streams);
    encoder.numbers(Class::Number, &(0..50).map(|n| noise(n) >> 50).collect::<Vec<_>>());
    encoder.numbers(Class::Number, &(0..50).map(|n| noise(n % 5)).collect::<Vec<_>>());
    let mut words = Table::default();
    let ids: Vec<u64> =
        (0..50u64).map(|n| u64::from(words.add(format!("{:x}", noise(n)).as_bytes()))).collect();
    encoder.strings(Class::Text, &ids, &words);
    encoder.finish();
    let read = |streams: &Streams| -> Result<(), Fault> {
        for column in table(streams)? {
            decode(&column, streams, MAX)?;
        }
        Ok(())
    };
    assert_eq!(read(&streams), Ok(()));
    for kind in [Kind::Columns, Kind::Bits, Kind::Values, Kind::Ids, Kind::Text] {
        let whole = streams.out(kind).clone();
        assert!(!whole.is_empty(), "{kind:?}");
        for length in 0..whole.len() {
            if kind == Kind::Columns && length == 0 {
                continue;
            }
            *streams.out(kind) = whole[..length].to_vec();
            assert!(read(&streams).is_err(), "{kind:?} of {length}");
        }
        *streams.out(kind) = [&whole[..], &[0]].concat();
        assert!(read(&streams).is_err(), "{kind:?} and a byte");
        *streams.out(kind) = whole;
    }
    let ids = streams.out(Kind::Ids);
    ids[7] = 5;
    assert!(read(&streams).is_err());
    streams.out(Kind::Ids)[7] = 4;
    assert_eq!(read(&streams), Ok(()));
}

#[test]
fn a_column_takes_no_more_memory_than_is_allowed() {
    let mut streams = Streams::default();
    // A billion distances of no bits, which take no byte.
    streams.out(Kind::Columns).extend([1, 1, 0, 5, 0x80, 0x94, 0xEB, 0xDC, 0x03, 5, 0, 0]);
    let table = table(&streams).unwrap();
    assert_eq!(table[0].rows, 1_000_000_000);
    assert!(matches!(decode(&table[0], &streams, MAX), Err(Fault::Limit { .. })));
}

proptest! {
    #[test]
    fn any_numbers_read_back(values in prop::collection::vec(prop_oneof![any::<u64>(), 0..300u64, 4_000_000_000..4_000_001_000u64], 1..200)) {
        let distinct = values.iter().any(|value| *value != values[0]);
        prop_assume!(distinct);
        let read = numbers(&[(Class::Number, values.clone())]);
        prop_assert_eq!(&read[0].2, &values);
    }

    #[test]
    fn any_table_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), others in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut streams = Streams::default();
        streams.out(Kind::Columns).extend(&bytes);
        for kind in [Kind::Bits, Kind::Numbers, Kind::Values, Kind::Ids, Kind::Text] {
            streams.out(kind).extend(&others);
        }
        if let Ok(table) = table(&streams) {
            for column in table {
                let _ = decode(&column, &streams, MAX);
            }
        }
    }
}
