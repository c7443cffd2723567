//! A second writer of the format, from its document alone: it shares no code with the crate.
#![expect(clippy::cast_possible_truncation, reason = "lengths in a golden log are small")]

/// A segment as it grows.
pub(crate) struct Segment {
    bytes: Vec<u8>,
    polynomial: u32,
    salt: u64,
    number: u64,
    align: usize,
    capacity: usize,
    codec: u8,
    pub(crate) lsn: u64,
    /// In units of eight bytes.
    synced: u32,
    frames: u64,
    data_bytes: u64,
    last_hcrc: u32,
}

/// What the next segment says of the one before.
#[derive(Default, Clone, Copy)]
pub(crate) struct Tie {
    number: u64,
    end: u64,
    hcrc: u32,
}

pub(crate) const IEEE: u32 = 0xEDB8_8320;
pub(crate) const CASTAGNOLI: u32 = 0x82F6_3B78;
pub(crate) const STREAMS: u32 = 1;
pub(crate) const ALIGNED: u32 = 2;
pub(crate) const COMPRESSED: u32 = 4;
pub(crate) const RECYCLED: u32 = 16;

/// Byte by byte with a table, as the textbooks have it.
pub(crate) fn crc(polynomial: u32, parts: &[&[u8]]) -> u32 {
    const fn table(polynomial: u32) -> [u32; 256] {
        let (mut table, mut byte) = ([0; 256], 0);
        while byte < 256 {
            let (mut sum, mut bit) = (byte as u32, 0);
            while bit < 8 {
                sum = if sum & 1 == 1 { sum >> 1 ^ polynomial } else { sum >> 1 };
                bit += 1;
            }
            table[byte] = sum;
            byte += 1;
        }
        table
    }
    static TABLES: [[u32; 256]; 2] = [table(IEEE), table(CASTAGNOLI)];
    let table = &TABLES[usize::from(polynomial == CASTAGNOLI)];
    let step = |sum: u32, byte: &u8| sum >> 8 ^ table[usize::from(sum.to_le_bytes()[0] ^ byte)];
    !parts.iter().copied().flatten().fold(!0, step)
}

impl Segment {
    pub(crate) fn new(polynomial: u32, number: u64, salt: u64, features: u32, label: &str) -> Self {
        let (align, capacity) = (if features & ALIGNED != 0 { 512_usize } else { 0 }, 8192_usize);
        let mut head = b"\x89LIW\r\n\x1A\n\x01\0\0\0".to_vec();
        head.extend(features.to_le_bytes());
        head.extend([0, 0, 0, 0, if polynomial == IEEE { 1 } else { 2 }, 0, 0, 0]);
        head.extend(b"golden directory");
        for field in [number, salt, capacity as u64, 1_700_000_000_000_000_000] {
            head.extend(field.to_le_bytes());
        }
        head.extend((align as u32).to_le_bytes());
        head.push(label.len() as u8);
        head.extend(label.as_bytes());
        head.resize(124, 0);
        head.extend(crc(polynomial, &[&head]).to_le_bytes());
        head.resize(4096, 0);
        Self {
            bytes: head,
            polynomial,
            salt,
            number,
            align,
            capacity,
            codec: 0,
            lsn: 1,
            synced: 512,
            frames: 0,
            data_bytes: 0,
            last_hcrc: 0,
        }
    }

    /// Any frame: kind and fragment, how many numbers it takes, what it carries.
    pub(crate) fn frame(&mut self, (kind, frag): (u8, u8), records: u32, body: &[u8]) -> &mut Self {
        let salt = self.salt.to_le_bytes();
        let mut rest = (body.len() as u32).to_le_bytes().to_vec();
        rest.extend(self.lsn.to_le_bytes());
        rest.extend(records.to_le_bytes());
        rest.extend([kind, self.codec, frag, 0]);
        rest.extend(self.synced.to_le_bytes());
        rest.extend(crc(self.polynomial, &[&salt, body]).to_le_bytes());
        self.last_hcrc = crc(self.polynomial, &[&salt, &rest]);
        self.bytes.extend(self.last_hcrc.to_le_bytes());
        self.bytes.extend(rest);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.lsn += u64::from(records);
        self.frames += 1;
        self.data_bytes += if kind <= 2 { body.len() as u64 } else { 0 };
        self
    }

    /// A data frame whose body is stored as a codec made it.
    pub(crate) fn packed(&mut self, (codec, frag): (u8, u8), records: u32, body: &[u8]) -> &mut Self {
        self.codec = codec;
        self.frame((1, frag), records, body);
        self.codec = 0;
        self
    }

    pub(crate) fn start(&mut self, base: u64, tie: Tie, low: u64) -> &mut Self {
        self.lsn = base;
        let mut body = Vec::new();
        for field in [self.number, base, tie.number, base - 1, tie.end, u64::from(tie.hcrc), low, 1] {
            body.extend(field.to_le_bytes());
        }
        self.frame((3, 0), 0, &body)
    }

    /// One frame of records, each shorter than 128 bytes.
    pub(crate) fn data(&mut self, records: &[&str]) -> &mut Self {
        let body: Vec<u8> = records.iter().flat_map(|r| [&[r.len() as u8], r.as_bytes()].concat()).collect();
        self.frame((1, 0), records.len() as u32, &body)
    }

    pub(crate) fn burned(&mut self, records: u32, body: &[u8]) -> &mut Self {
        self.frame((128, 0), records, body)
    }

    pub(crate) fn checkpoint(&mut self, lsn: u64, meta: &str) -> &mut Self {
        self.frame((5, 0), 0, &[&lsn.to_le_bytes(), meta.as_bytes()].concat())
    }

    pub(crate) fn stream(&mut self, id: u32, flags: u32, low: u64, name: &str) -> &mut Self {
        let fixed = u64::from(id) | u64::from(flags) << 32;
        self.frame((7, 0), 0, &[&fixed.to_le_bytes(), &low.to_le_bytes(), name.as_bytes()].concat())
    }

    pub(crate) fn clean_close(&mut self) -> &mut Self {
        self.frame((9, 0), 0, &[])
    }

    /// A sync: where groups are aligned, with a pad before it.
    pub(crate) fn sync(&mut self) -> &mut Self {
        if self.align > 0 && !self.bytes.len().is_multiple_of(self.align) {
            let body = (self.bytes.len() + 32).next_multiple_of(self.align) - self.bytes.len() - 32;
            self.frame((8, 0), 0, &vec![0; body]);
        }
        self.synced = (self.bytes.len() / 8) as u32;
        self
    }

    pub(crate) fn seal(&mut self, next: u64, next_salt: u64, flags: u64) -> Tie {
        let mut body = Vec::new();
        for field in [self.lsn, self.frames, self.data_bytes, next, next_salt, flags] {
            body.extend(field.to_le_bytes());
        }
        self.frame((4, 0), 0, &body);
        Tie { number: self.number, end: self.bytes.len() as u64, hcrc: self.last_hcrc }
    }

    /// Any bytes, as another life of the file left them.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(self.capacity, 0);
        bytes
    }
}
