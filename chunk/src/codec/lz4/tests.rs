use super::*;

fn unlz4(stored: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut plain = Vec::new();
    decompress(stored, 0, 1 << 22, &mut plain).map(|()| plain)
}

fn frame(plain: &[u8], size: BlockSize) -> Vec<u8> {
    let mut stored = Vec::new();
    compress(plain, size, &mut stored);
    stored
}

fn text(length: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|n| format!("line {} of {}\n", n, n.wrapping_mul(0x9E37_79B1) >> 24).into_bytes())
        .take(length)
        .collect()
}

/// A frame of these flags around blocks as they are stored, each with its checksum if the flags say so.
fn handmade(flags: u8, content: &[u8], blocks: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut descriptor = vec![flag::VERSION_1 | flags, 4 << 4];
    if flags & flag::CONTENT_SIZE != 0 {
        descriptor.extend((content.len() as u64).to_le_bytes());
    }
    out.extend(&descriptor);
    out.push(header_checksum(&descriptor));
    for (stored, block) in blocks {
        out.extend((u32::try_from(block.len()).unwrap() | stored).to_le_bytes());
        out.extend(block);
        if flags & flag::BLOCK_CHECKSUMS != 0 {
            out.extend(xxh32(block, 0).to_le_bytes());
        }
    }
    out.extend([0; 4]);
    if flags & flag::CONTENT_CHECKSUM != 0 {
        out.extend(xxh32(content, 0).to_le_bytes());
    }
    out
}

#[test]
fn nothing_is_a_frame_without_blocks() {
    let empty = frame(b"", BlockSize::Kib64);
    assert_eq!(empty, [4, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0]);
    assert_eq!(unlz4(&empty).unwrap(), b"");
    assert!(unlz4(b"").is_err());
}

#[test]
fn blocks_are_of_the_size_that_the_codec_names() {
    let plain = text(1_100_000);
    for (size, blocks) in
        [(BlockSize::Kib64, 17), (BlockSize::Kib256, 5), (BlockSize::Mib1, 2), (BlockSize::Mib4, 1)]
    {
        let stored = frame(&plain, size);
        assert_eq!(stored[5] >> 4, size.number());
        let (mut at, mut count) = (7, 0);
        loop {
            let length = u32::from_le_bytes(*stored[at..].first_chunk().unwrap());
            at += 4 + (length & !STORED) as usize;
            if length == 0 {
                break;
            }
            count += 1;
        }
        assert_eq!((count, at), (blocks, stored.len()));
        assert!(unlz4(&stored).unwrap() == plain);
        let mut known = Vec::new();
        decompress(&stored, plain.len(), plain.len(), &mut known).unwrap();
        assert!(known == plain);
    }
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    let noise: Vec<u8> = (0..70_000u64).map(|n| xxh32(&n.to_le_bytes(), 0).to_le_bytes()[0]).collect();
    let stored = frame(&noise, BlockSize::Kib64);
    assert_eq!(stored.len(), 7 + 4 + 65_536 + 4 + (70_000 - 65_536) + 4);
    assert_eq!(stored[10] >> 7, 1);
    assert_eq!(unlz4(&stored).unwrap(), noise);
}

/// Loki has been seen to make two chunks of the same lines.
#[test]
fn the_same_lines_make_the_same_bytes_whatever_was_compressed_before() {
    let plain = text(200_000);
    let first = frame(&plain, BlockSize::Kib64);
    for other in [&b"something else"[..], &text(90_000)[50..], b""] {
        frame(other, BlockSize::Mib4);
        assert_eq!(frame(&plain, BlockSize::Kib64), first);
    }
    let elsewhere = std::thread::spawn(move || frame(&plain, BlockSize::Kib64)).join().unwrap();
    assert_eq!(elsewhere, first);
}

#[test]
fn whatever_a_frame_may_hold_is_read_and_checked() {
    let (first, second) = (text(60_000), text(90_000)[40_000..].to_vec());
    let plain = [&first[..], &second].concat();
    let compressed = |data: &[u8], history: &[u8]| lz4_flex::block::compress_with_dict(data, history);
    let linked = vec![(0, compressed(&first, b"")), (0, compressed(&second, &first))];
    assert!(linked[1].1.len() < compressed(&second, b"").len());
    let all = flag::BLOCK_CHECKSUMS | flag::CONTENT_SIZE | flag::CONTENT_CHECKSUM;
    for flags in [0, flag::BLOCK_CHECKSUMS, flag::CONTENT_SIZE, flag::CONTENT_CHECKSUM, all] {
        let stored = handmade(flags, &plain, &linked);
        assert!(unlz4(&stored).unwrap() == plain, "{flags:b}");
        assert!(unlz4(&handmade(flags | flag::INDEPENDENT, &plain, &linked)).is_err(), "{flags:b}");
    }
    let stored = handmade(0, &plain, &[(STORED, first.clone()), (0, compressed(&second, &first))]);
    assert!(unlz4(&stored).unwrap() == plain);
    // Frames follow each other, share nothing, and some are skipped.
    let skipped = [0x5F, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 9, 9];
    let two =
        [&frame(&first, BlockSize::Kib64), &skipped[..], &handmade(0, &second, &[(STORED, second.clone())])];
    assert!(unlz4(&two.concat()).unwrap() == plain);

    for wrong in [flag::DICTIONARY, flag::RESERVED, flag::VERSION] {
        assert!(unlz4(&handmade(wrong, &plain, &linked)).is_err(), "{wrong:b}");
    }
    for flags in [flag::BLOCK_CHECKSUMS, flag::CONTENT_CHECKSUM] {
        let mut stored = handmade(flags, b"abc", &[(STORED, b"abc".to_vec())]);
        stored[12] ^= 1;
        assert!(unlz4(&stored).is_err(), "{flags:b}");
    }
    assert!(unlz4(&handmade(flag::CONTENT_SIZE, b"abcd", &[(STORED, b"abc".to_vec())])).is_err());
    assert!(unlz4(&handmade(0, b"", &[(STORED, vec![0; 65_537])])).is_err());
}

#[test]
fn a_frame_that_is_cut_or_has_a_flipped_bit_is_no_reason_to_panic() {
    let plain = text(400);
    let stored = frame(&plain, BlockSize::Kib64);
    for end in 0..stored.len() {
        assert!(unlz4(&stored[..end]).is_err(), "cut to {end} bytes");
    }
    for bit in 0..stored.len() * 8 {
        let mut broken = stored.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        let _ = unlz4(&broken);
    }
    for bit in 0..7 * 8 {
        let mut broken = stored.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(unlz4(&broken).is_err(), "bit {bit} of the header");
    }
}

#[test]
fn a_bomb_takes_no_more_memory_than_allowed() {
    let stored = frame(&vec![0; 8 << 20], BlockSize::Mib4);
    for expected in [0, 1000, usize::MAX] {
        let mut plain = Vec::new();
        let fault = decompress(&stored, expected, 1 << 20, &mut plain).unwrap_err();
        assert!(matches!(fault, Fault::TooLong { .. }));
        assert!(plain.capacity() <= (1 << 20) + 64, "{} bytes", plain.capacity());
    }
}
