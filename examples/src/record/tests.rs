use super::*;
use proptest::prelude::*;

type Line = (i64, Vec<u8>, Vec<(String, String)>);

fn streams() -> impl Strategy<Value = Vec<(String, Vec<Line>)>> {
    let metadata = prop::collection::vec((".{0,8}", ".{0,8}"), 0..3);
    let line = (any::<i64>(), prop::collection::vec(any::<u8>(), 0..24), metadata);
    prop::collection::vec((".{0,8}", prop::collection::vec(line, 0..5)), 0..5)
}

fn write(streams: &[(String, Vec<Line>)]) -> Push {
    let mut writer = Writer::new("tenant-a", 64);
    for (app, lines) in streams {
        writer.begin(&[("app", app)]);
        for (timestamp_ns, line, metadata) in lines {
            let metadata: Vec<(&str, &str)> =
                metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let (head, tail) = line.split_at(line.len() / 2);
            writer.entry(*timestamp_ns, [head, tail], &metadata);
        }
        writer.end();
    }
    writer.finish()
}

fn read(bytes: Bytes) -> Vec<(String, Vec<Line>)> {
    let record = Record::parse(bytes).unwrap();
    assert_eq!(record.tenant(), "tenant-a");
    let line = |e: Entry<'_>| {
        let metadata = e.metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        (e.timestamp_ns, e.line.to_vec(), metadata)
    };
    record
        .sections()
        .map(|s| (labels::parse(s.labels).unwrap()[0].1.to_owned(), s.entries().map(line).collect()))
        .collect()
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(streams in streams()) {
        let kept: Vec<_> = streams.iter().filter(|(_, lines)| !lines.is_empty()).cloned().collect();
        let push = write(&streams);
        let all: Vec<usize> = (0..kept.len()).collect();
        prop_assert_eq!(read(push.select(&all).bytes().clone()), kept);
    }

    #[test]
    fn any_part_of_the_sections_is_a_record(streams in streams(), mask: Vec<bool>) {
        let kept: Vec<_> = streams.iter().filter(|(_, lines)| !lines.is_empty()).cloned().collect();
        let keep: Vec<bool> = (0..kept.len()).map(|i| mask.get(i).copied().unwrap_or(true)).collect();
        let indexes: Vec<usize> = (0..kept.len()).filter(|&i| keep[i]).collect();
        let expected: Vec<_> = indexes.iter().map(|&i| kept[i].clone()).collect();
        let push = write(&streams);
        let selected = push.select(&indexes);
        prop_assert_eq!(&Record::parse(selected.bytes().clone()).unwrap(), &selected, "it need not be checked again");
        prop_assert_eq!(&Record::parse(push.all()).unwrap(), &push.record());
        prop_assert_eq!(read(selected.bytes().clone()), expected.clone());
        prop_assert_eq!(read(push.record().retain(&keep)), expected);
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(bytes: Vec<u8>) {
        drop(Record::parse(bytes.into()));
    }

    #[test]
    fn a_damaged_record_is_refused_or_read(streams in streams(), at: prop::sample::Index, byte: u8) {
        let push = write(&streams);
        let mut bytes = push.bytes.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(record) = Record::parse(bytes.into()) {
            for section in record.sections() {
                prop_assert_eq!(section.entries().count(), section.count as usize);
            }
        }
    }
}

fn split(lines: &[Line], section_bytes: usize) -> Push {
    let mut writer = Writer::new("tenant-a", 64).split_sections(section_bytes);
    writer.begin(&[("app", "a")]);
    for (timestamp_ns, line, metadata) in lines {
        let metadata: Vec<(&str, &str)> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        writer.entry(*timestamp_ns, [line, b""], &metadata);
    }
    writer.end();
    writer.finish()
}

proptest! {
    #[test]
    fn a_long_stream_is_split_between_entries_and_nothing_is_lost(
        streams in streams(), section_bytes in 0..400_usize, record_bytes in 0..800_usize,
    ) {
        let lines: Vec<Line> = streams.into_iter().flat_map(|(_, lines)| lines).collect();
        let push = split(&lines, section_bytes);
        let mut found = Vec::new();
        let parts = push.parts(record_bytes);
        prop_assert_eq!(parts.iter().cloned().flatten().collect::<Vec<_>>(), (0..push.sections().len()).collect::<Vec<_>>());
        for range in parts {
            let part = push.part(range);
            for (index, section) in part.sections().iter().enumerate() {
                prop_assert!(section.range.len() <= section_bytes || section.entries == 1);
                prop_assert_eq!(part.labels(index), push.labels(0));
            }
            let bytes: usize = part.sections().iter().map(|s| s.range.len()).sum();
            prop_assert!(bytes <= record_bytes || part.sections().len() <= 1);
            found.extend(read(part.all()).into_iter().flat_map(|(_, lines)| lines));
        }
        prop_assert_eq!(found, lines);
        let continues: Vec<bool> = push.sections().iter().map(|s| s.continues).collect();
        prop_assert!(continues.iter().enumerate().all(|(index, continues)| *continues == (index > 0)));
    }
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    let streams = [("a".to_owned(), vec![(1, b"line".to_vec(), vec![("k".to_owned(), "v".to_owned())])])];
    let whole = write(&streams).bytes;
    for len in 0..whole.len() {
        assert!(Record::parse(whole.slice(..len)).is_err(), "{len} bytes of {}", whole.len());
    }
    assert!(Record::parse(whole).is_ok());
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = write(&[]).bytes.to_vec();
    bytes[0] = 2;
    assert_eq!(Record::parse(bytes.into()).unwrap_err(), RecordError::Version { found: 2 });
}

#[test]
fn a_huge_count_costs_no_memory() {
    let mut bytes = write(&[]).bytes.to_vec();
    let len = bytes.len();
    bytes[len - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Record::parse(bytes.into()), Err(RecordError::Damaged { .. })));
}
