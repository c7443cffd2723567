//! Where the parts of a columnar chunk are, so that a test can change one and mend the checksums. Shares no code with
//! the crate.

#![allow(dead_code, reason = "each test takes the parts it needs")]

#[derive(Debug)]
pub(crate) struct File {
    pub(crate) groups: Vec<Group>,
    pub(crate) footer: usize,
    end: usize,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) start: usize,
    /// Where the directory says the raw size, and the content hash.
    pub(crate) raw_size: usize,
    pub(crate) hash: usize,
    directory_end: usize,
    pub(crate) streams: Vec<Stream>,
}

#[derive(Debug)]
pub(crate) struct Stream {
    /// Where the directory speaks of it: kind, codec, stored length.
    pub(crate) meta: usize,
    crc: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

pub(crate) fn crc(bytes: &[u8]) -> [u8; 4] {
    crc32fast::hash(bytes).to_le_bytes()
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize
}

fn uvarint(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

impl File {
    /// The parts of a chunk that is whole.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.len();
        let footer = end - 24 - u32_at(bytes, end - 24);
        let mut groups = Vec::new();
        let mut at = 16;
        while at < footer {
            let group = Group::parse(bytes, at);
            at = group.streams.last().unwrap().end;
            groups.push(group);
        }
        assert_eq!(at, footer);
        Self { groups, footer, end }
    }

    /// Where each checksum is.
    pub(crate) fn checksums(&self) -> impl Iterator<Item = usize> {
        let groups = self.groups.iter().flat_map(|group| {
            let streams = group.streams.iter().map(|stream| stream.crc);
            streams.chain([group.start + 16])
        });
        groups.chain([12, self.end - 12])
    }

    /// Writes the checksums that the bytes have.
    pub(crate) fn mend(&self, bytes: &mut [u8]) {
        let header = crc(&bytes[..12]);
        bytes[12..16].copy_from_slice(&header);
        for group in &self.groups {
            for stream in &group.streams {
                let sum = crc(&bytes[stream.start..stream.end]);
                bytes[stream.crc..stream.crc + 4].copy_from_slice(&sum);
            }
            let head = [&bytes[group.start..group.start + 16], &bytes[group.start + 20..group.directory_end]];
            let sum = crc(&head.concat());
            bytes[group.start + 16..group.start + 20].copy_from_slice(&sum);
        }
        let footer = crc(&[&bytes[self.footer..self.end - 12], &bytes[self.end - 8..]].concat());
        bytes[self.end - 12..self.end - 8].copy_from_slice(&footer);
    }
}

impl Group {
    fn parse(bytes: &[u8], start: usize) -> Self {
        let directory_end = start + 20 + u32_at(bytes, start + 4);
        let mut at = start + 20;
        let [_min, _span] = [(); 2].map(|()| uvarint(bytes, &mut at));
        let raw_size = at;
        uvarint(bytes, &mut at);
        let hash = at;
        at += 16;
        let count = uvarint(bytes, &mut at);
        let mut body = directory_end;
        let streams = (0..count).map(|_| {
            let meta = at;
            let codec = bytes[at + 1];
            at += 2;
            let stored = uvarint(bytes, &mut at);
            if codec > 0 {
                uvarint(bytes, &mut at);
            }
            let stream = Stream { meta, crc: at, start: body, end: body + stored };
            at += 4;
            body += stored;
            stream
        });
        let streams = streams.collect();
        assert_eq!(at, directory_end);
        Self { start, raw_size, hash, directory_end, streams }
    }
}
