use bytes::Bytes;

use super::*;
use crate::format::{Checksum, Digest};
use crate::frame::FrameHeader;
use crate::record::{Records, count_records};

const DIGEST: fn() -> Digest = || Digest::new(Checksum::Crc32, 5);

const TOLD: Class = Class { told: true, stream: 0 };
const UNTOLD: Class = Class { told: false, stream: 0 };

/// The frames that are not done with, each checked, with its body.
fn parse(frames: &mut Frames) -> Vec<(FrameHeader, Vec<u8>)> {
    frames.close();
    let count = frames.spans().len();
    let tally = frames.seal(count, &DIGEST(), 4096);
    let mut slices = Vec::new();
    frames.slices(count, &mut slices);
    let flat: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
    assert!(frames.flat(count).is_none_or(|bytes| bytes == flat));
    assert_eq!((tally.len, tally.frames), (flat.len() as u64, count as u64));
    let mut parsed = Vec::new();
    let mut bytes = flat.as_slice();
    while !bytes.is_empty() {
        let header = FrameHeader::decode(bytes.first_chunk().unwrap(), &DIGEST()).unwrap();
        let body = &bytes[FRAME_HEADER_LEN..][..header.body_len as usize];
        assert_eq!(DIGEST().sum(body), header.body_crc);
        parsed.push((header, body.to_vec()));
        bytes = &bytes[usize::try_from(header.frame_len()).unwrap()..];
    }
    parsed
}

fn batch(lens: &[usize]) -> Vec<Payload<'static>> {
    let mut batch: Vec<Payload<'_>> =
        lens.iter().map(|&len| Bytes::from(vec![len.to_le_bytes()[0]; len]).into()).collect();
    batch.iter_mut().for_each(Payload::settle);
    batch
}

fn shape(parsed: &[(FrameHeader, Vec<u8>)]) -> Vec<(Frag, u64, u32)> {
    parsed.iter().map(|(header, _)| (header.frag, header.first_lsn, header.records)).collect()
}

#[test]
fn many_batches_share_one_frame_and_long_records_are_not_copied() {
    let mut frames = Frames::default();
    for (lsn, lens) in [(7, &[1, 2][..]), (9, &[0]), (10, &[20_000, 3])] {
        frames.add(lsn, UNTOLD, &mut batch(lens));
    }
    let parsed = parse(&mut frames);
    assert_eq!(shape(&parsed), [(Frag::Whole, 7, 5)]);
    assert_eq!(parsed[0].0.synced8, 512);
    assert_eq!(count_records(Kind::DATA, &parsed[0].1, |_, _| {}), Some(5));
    let mut slices = Vec::new();
    frames.slices(1, &mut slices);
    assert_eq!(slices.len(), 3);
}

#[test]
fn a_long_batch_becomes_fragments_of_full_frames() {
    let mut frames = Frames::default();
    frames.add(1, TOLD, &mut batch(&[10]));
    let mut long = batch(&[700, 600]);
    let body = body_len(&long, 0);
    frames.add_fragments((2, TOLD), &mut long, 512);
    frames.add(4, TOLD, &mut batch(&[11]));
    let parsed = parse(&mut frames);
    let expected = [
        (Frag::Whole, 1, 1),
        (Frag::First, 2, 0),
        (Frag::Middle, 2, 0),
        (Frag::Last, 2, 2),
        (Frag::Whole, 4, 1),
    ];
    assert_eq!(shape(&parsed), expected);
    let joined: Vec<u8> = parsed[1..4].iter().flat_map(|(_, body)| body.clone()).collect();
    let mut records = Records::of(Kind::DATA, 0..joined.len());
    assert_eq!(records.next(&joined).flatten().unwrap().len(), 700);
    assert_eq!(records.next(&joined).flatten().unwrap().len(), 600);
    let fragments: u64 = parsed[1..4].iter().map(|(header, _)| header.frame_len()).sum();
    assert_eq!(fragments, alone(body, 512));
    assert_eq!((frames.fitting(u64::MAX, u64::MAX), frames.fitting(0, u64::MAX)), (5, 1));
    frames.advance(1);
    assert_eq!((frames.first_len(9), frames.fitting(0, u64::MAX)), (Some(fragments), 3), "all or none");
    assert_eq!(frames.first_len(2), None);
    assert_eq!(frames.fitting(u64::MAX, 4), 3, "what comes from a number on waits");
}

#[test]
fn fragments_of_long_records_are_not_copied_either() {
    let mut frames = Frames::default();
    frames.add_fragments((1, UNTOLD), &mut batch(&[100, 100_000]), 40_000);
    let parsed = parse(&mut frames);
    assert_eq!(parsed.len(), 3);
    assert!(frames.bytes.len() < 20_000, "only the last piece is short");
}

#[test]
fn a_copy_of_frames_is_the_same_and_a_burned_one_has_numbers_only() {
    let mut frames = Frames::default();
    frames.add(1, TOLD, &mut batch(&[30_000, 5]));
    frames.close();
    frames.add(3, TOLD, &mut batch(&[7]));
    let original = parse(&mut frames);
    let mut copy = Frames::default();
    copy.copy(&frames, 0);
    copy.copy(&frames, 1);
    assert_eq!(parse(&mut copy), original);
    copy.burn(4..9);
    copy.add(9, TOLD, &mut batch(&[1]));
    let parsed = parse(&mut copy);
    assert_eq!(shape(&parsed[2..]), [(Frag::Whole, 4, 5), (Frag::Whole, 9, 1)]);
    assert_eq!((parsed[2].0.kind, parsed[2].0.body_len), (Kind::BURNED, 0));
}

#[test]
fn records_of_streams_share_frames_with_one_another_and_not_with_others() {
    let mut frames = Frames::default();
    let mut lsn = 1;
    for stream in [7, 300, 0, 7] {
        let class = Class { told: false, stream };
        if frames.open_body(class).is_none() {
            frames.close();
        }
        frames.add(lsn, class, &mut batch(&[1, 2]));
        lsn += 2;
    }
    frames.add_fragments((lsn, Class { told: false, stream: 300 }), &mut batch(&[600]), 512);
    let parsed = parse(&mut frames);
    let kinds: Vec<_> = parsed.iter().map(|(header, body)| (header.kind, body.len())).collect();
    let (plain, stream) = (Kind::DATA, Kind::STREAM_DATA);
    assert_eq!(kinds, [(stream, 7 + 9), (plain, 5), (stream, 7), (stream, 512), (stream, 604 - 512)]);
    let joined = [&parsed[3].1[..], &parsed[4].1].concat();
    let mut records = Records::of(stream, 0..joined.len());
    assert_eq!((records.next(&joined).unwrap().unwrap().len(), records.stream()), (600, 300));
}
