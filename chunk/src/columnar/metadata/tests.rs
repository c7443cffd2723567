#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;
use crate::columnar::column;
use crate::loki::format::put_uvarint;
use crate::symbols::Interner;

fn pairs(interner: &mut Interner, text: &[(&str, &str)]) -> Vec<SymbolPair> {
    let mut pair = |name: &str, value: &str| SymbolPair {
        name: interner.intern(name.as_bytes()),
        value: interner.intern(value.as_bytes()),
    };
    text.iter().map(|(name, value)| pair(name, value)).collect()
}

fn written(rows: &[&[(&str, &str)]]) -> (Streams, Interner) {
    let mut interner = Interner::default();
    interner.intern(b"a symbol of another block");
    let rows: Vec<_> = rows.iter().map(|text| pairs(&mut interner, text)).collect();
    let mut streams = Streams::default();
    MetadataWriter::new(rows.iter().map(Vec::as_slice).collect(), interner.table()).write(&mut streams);
    (streams, interner)
}

fn read(streams: &Streams, rows: usize) -> Result<Vec<Vec<(String, String)>>, Fault> {
    let metadata = RowMetadata::open(streams, 0, rows, &Limits::default(), &mut 0)?;
    let text = |number| String::from_utf8(metadata.symbols().lookup(number).unwrap().to_vec()).unwrap();
    let row = |row| metadata.pairs(row).iter().map(|pair| (text(pair.name), text(pair.value))).collect();
    Ok((0..rows).map(row).collect())
}

#[test]
fn columns_of_metadata_share_what_a_block_may_take() {
    let text: Vec<_> = (1000..1200).map(|number| (number.to_string(), (9000 - number).to_string())).collect();
    let rows: Vec<_> = text.iter().map(|(a, b)| [("a", a.as_str()), ("b", b.as_str())]).collect();
    let (streams, _) = written(&rows.iter().map(<[_; 2]>::as_slice).collect::<Vec<_>>());
    assert!(streams.len(Kind::Columns) > 2);
    let open = |numbers: &[u32], max| {
        let limits = Limits { max_block_bytes: max, ..Limits::default() };
        ColumnValues::new(&streams, numbers.iter().map(|&number| (number, 200)), &limits).map(drop)
    };
    assert!(open(&[0], 2000).is_ok() && open(&[1], 2000).is_ok(), "200 values of some bytes");
    assert!(open(&[0, 1], 2000).is_err(), "each fits, both do not");
    assert!(open(&[0, 1], 3300).is_ok());
}

/// The map of them was not counted.
#[test]
fn pairs_that_have_their_value_in_a_column_count_for_what_they_take() {
    let open = |marks: &[u8], max_block_bytes| {
        let mut stream = vec![1];
        put_uvarint(&mut stream, 1000);
        (0..1000).for_each(|_| stream.extend_from_slice(marks));
        let mut symbols = SymbolTable::default();
        symbols.push(b"name");
        let limits = Limits { max_block_bytes, ..Limits::default() };
        let section = Section::Values { group: 0, kind: Kind::Metadata.byte() };
        sets(&mut Reader::new(&stream, 0, section), &symbols, 1, &limits).map(drop)
    };
    let (in_column, in_set) = ([0, 0, 0], [0, 1]);
    assert!(open(&in_set, 8_000).is_ok());
    assert!(open(&in_column, 20_000).is_err());
    assert!(open(&in_column, 32_000).is_ok());
}

/// There was no bound to them, and a reader has one.
#[test]
fn names_beyond_the_first_thousand_have_no_column() {
    let text: Vec<_> = (0..1100u32).map(|n| format!("{n:x}")).collect();
    let row = |n: usize| -> Vec<_> {
        text.iter().enumerate().map(|(k, name)| (&name[..], &text[(k * 17 + n) % 1100][..])).collect()
    };
    let rows: Vec<_> = (0..17).map(row).collect();
    let (streams, _) = written(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert!(column::table(&streams).unwrap().len() <= 1024);
    let expected: Vec<Vec<(String, String)>> =
        rows.iter().map(|row| row.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()).collect();
    assert!(read(&streams, 17) == Ok(expected));
}

#[test]
fn every_row_gets_its_pairs_back_in_their_order() {
    let rows: [&[(&str, &str)]; 5] = [
        &[],
        &[("a", "1"), ("a", "1")],
        &[("b", ""), ("a", "1")],
        &[("a", "1"), ("a", "1")],
        &[("a", "1"), ("b", "")],
    ];
    let (streams, _) = written(&rows);
    let expected: Vec<Vec<(String, String)>> =
        rows.map(|row| row.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()).into();
    assert_eq!(read(&streams, 5), Ok(expected));
    assert_eq!(streams.get(Kind::MetadataIds).unwrap(), [1, 0, 1, 2, 1, 3], "equal sets are stored once");
    assert!(read(&streams, 4).is_err());
}

#[test]
fn rows_without_metadata_take_nothing() {
    let (streams, _) = written(&[&[], &[]]);
    assert_eq!(streams.written().count(), 0);
    assert_eq!(read(&streams, 2), Ok(vec![vec![], vec![]]));
}

#[test]
fn metadata_that_lies_is_refused() {
    let (good, _) = written(&[&[("a", "1")], &[]]);
    let stream = good.get(Kind::Metadata).unwrap();
    assert_eq!(stream, [2, 1, b'a', 1, b'1', 1, 1, 0, 2]);
    let with = |metadata: &[u8], ids: &[u8]| {
        let mut streams = Streams::default();
        *streams.out(Kind::Metadata) = metadata.to_vec();
        *streams.out(Kind::MetadataIds) = ids.to_vec();
        read(&streams, 2)
    };
    assert!(with(stream, &[1, 1, 0]).is_ok());
    for ids in [&[][..], &[1, 1], &[1, 2, 0], &[1, 1, 0, 0], &[0, 1, 0]] {
        assert!(with(stream, ids).is_err(), "{ids:?}");
    }
    for end in 0..stream.len() {
        assert!(with(&stream[..end], &[1, 1, 0]).is_err());
    }
    for (at, byte) in [(0, 3), (0, 1), (1, 9), (5, 2), (5, 0), (6, 200), (7, 2), (8, 3), (8, 0), (5, 3)] {
        let mut broken = stream.to_vec();
        broken[at] = byte;
        assert!(with(&broken, &[1, 1, 0]).is_err(), "{broken:?}");
    }
}

/// Half a second of work for a group of some kilobytes, of which the last value was one too many.
#[test]
fn values_that_are_not_all_taken_are_found_out_before_one_is_made() {
    let text: Vec<_> = (1000..1200).map(|number| number.to_string()).collect();
    let rows: Vec<_> = text.iter().map(|text| [("a", text.as_str())]).collect();
    let (mut streams, _) = written(&rows.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>());
    let open = |streams: &Streams, vain: &mut usize| {
        RowMetadata::open(streams, 0, 200, &Limits::default(), vain).map(|metadata| metadata.memory_bytes())
    };
    let mut vain = 0;
    let whole = open(&streams, &mut vain).unwrap();
    assert!(whole > 200 * size_of::<SymbolPair>() && vain == 0);
    // The last row has no metadata any more, so a value is left.
    *streams.out(Kind::MetadataIds).last_mut().unwrap() = 0;
    assert!(matches!(open(&streams, &mut vain), Err(Fault::Corrupt { .. })));
    assert!(vain < whole / 2, "{vain} of {whole} bytes were made");
}

/// A trace and a span a row, as text and as numbers; a pod of a few; some rows without.
#[test]
fn names_of_many_values_have_columns() {
    let hex = |n: u64, width: usize| format!("{:0width$x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1);
    let text: Vec<Vec<(&str, String)>> = (0..400u64)
        .map(|n| match n % 5 {
            0 => vec![],
            _ => vec![
                ("trace", format!("{}{}", hex(n, 16), hex(n + 1, 16))),
                ("pod", format!("web-{}", n % 3)),
                ("span", hex(n * 3, 16)),
                ("text", format!("a {n} b")),
                ("span", hex(n * 7, 16)),
            ],
        })
        .collect();
    let rows: Vec<Vec<(&str, &str)>> =
        text.iter().map(|row| row.iter().map(|(name, value)| (*name, &value[..])).collect()).collect();
    let rows: Vec<&[(&str, &str)]> = rows.iter().map(Vec::as_slice).collect();
    let (streams, _) = written(&rows);
    let expected: Vec<Vec<(String, String)>> =
        rows.iter().map(|row| row.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()).collect();
    assert_eq!(read(&streams, 400), Ok(expected));
    assert!(streams.len(Kind::Metadata) < 100);
    assert_eq!(column::table(&streams).unwrap().len(), 3);
    // A column that ends early, or that is not there.
    assert!(read(&streams, 399).is_err());
    let mut broken = written(&rows).0;
    broken.out(Kind::Columns).clear();
    assert!(read(&broken, 400).is_err());
}
