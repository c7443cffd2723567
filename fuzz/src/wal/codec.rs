//! A segment with a frame that a codec has made, or that says so.

use forebay_wal::format::{Features, Frag, FrameHeader, HEADER_LEN, Header, Kind, Unsupported};
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Lsn, OpenError, Wal};

use super::{CAPACITY, DIR, FIRST, MEMORY, Records, first_start, frame, options, push, take, within};

/// Five bytes say which codec, what of it is a lie, and a length to lie with; the rest becomes records of fifty bytes,
/// or is what the codec is said to have made.
pub fn wal_codec(data: &[u8]) {
    let mut input = data;
    let Some([codec, lies, length @ ..]) = take::<6>(&mut input) else { return };
    let codec = codec % 4;
    let records: Vec<&[u8]> = input.chunks(50).take(200).collect();
    let raw: Vec<u8> = records
        .iter()
        .flat_map(|record| [&[u8::try_from(record.len()).expect("short")][..], record].concat())
        .collect();
    let made = match codec {
        _ if lies & 1 != 0 => input.to_vec(),
        0 => raw.clone(),
        1 => snap::raw::Encoder::new().compress_vec(&raw).expect("a short body"),
        _ => zstd::bulk::compress(&raw, 1).expect("a short body"),
    };
    let raw_len =
        if lies & 2 != 0 { u32::from_le_bytes(length) } else { u32::try_from(raw.len()).expect("short") };
    let body = if codec == 0 { made } else { [&raw_len.to_le_bytes()[..], &made].concat() };
    let features = if lies & 4 != 0 { Features::NONE } else { Features::COMPRESSION };
    let header = Header { features, ..Header::new(*b"a log to be read", 1, 7, CAPACITY as u64) };

    let digest = header.digest();
    let mut segment = header.encode().to_vec();
    segment.resize(usize::try_from(HEADER_LEN).expect("a page"), 0);
    push(
        &mut segment,
        &digest,
        &first_start(1).encode(),
        FrameHeader { kind: Kind::SEGMENT_START, ..frame(1) },
    );
    let count = u32::try_from(records.len()).expect("few");
    match lies & 8 {
        0 => push(&mut segment, &digest, &body, FrameHeader { codec, records: count, ..frame(1) }),
        _ => {
            // Each for itself, so neither half of what a codec made is what one has made.
            let (first, last) = body.split_at(body.len() / 2);
            push(&mut segment, &digest, first, FrameHeader { codec, frag: Frag::First, ..frame(1) });
            push(
                &mut segment,
                &digest,
                last,
                FrameHeader { codec, frag: Frag::Last, records: count, ..frame(1) },
            );
        }
    }
    push(&mut segment, &digest, b"\x05plain", FrameHeader { records: 1, ..frame(1 + u64::from(count)) });
    segment.resize(segment.len().max(CAPACITY), 0);

    let disk = SimFs::new(1);
    disk.plant(FIRST, &segment).expect("an empty disk takes a file");
    // Of a byte snappy makes 22 at most, zstd 32 KiB.
    let more = [8, 8 + 22, 8 + (32 << 10)].get(usize::from(codec)).copied().unwrap_or(8);
    let most = MEMORY + more * segment.len() as u64;
    let (wal, _) = match within(most, || Wal::open_in(disk, DIR, options())) {
        Ok(opened) => opened,
        Err(OpenError::Unsupported { what: Unsupported::Codec(named), .. }) => {
            return assert_eq!(named, codec);
        }
        Err(error) => panic!("{error}"),
    };
    let read = wal.reader(Lsn(0)).map(|record| record.map(|record| (record.lsn.0, record.bytes.to_vec())));
    let read = within(most, || read.collect::<Result<Records, _>>());
    // An empty frame says nothing, and one that lies may say anything, as long as that ends.
    if lies & 0b1111 == 0 {
        let written = records.iter().map(|record| record.to_vec()).chain([b"plain".to_vec()]);
        assert_eq!(read.expect("an honest frame can be read"), (1..).zip(written).collect::<Records>());
    } else if let Ok(read) = read {
        let bytes: usize = read.iter().map(|(_, record)| record.len()).sum();
        let most = usize::try_from(raw_len).unwrap_or(usize::MAX).saturating_add(segment.len());
        assert!(bytes <= most, "{bytes} bytes from {raw_len} and {}", segment.len());
    }
}
