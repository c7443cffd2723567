//! The bytes of a file and its name. Invariant: a frame that decodes is what was encoded; different keys have different
//! names, which are names in every file system.

use xxhash_rust::xxh3::xxh3_64;

use crate::store::StoreError;

/// A number before the bytes, a checksum after them.
pub(super) const FRAME_BYTES: usize = 16;

const PREFIX: &str = "r.";

/// What file systems take, less the sign of a draft.
const MAX_FILE_NAME_BYTES: usize = 254;

pub(super) struct Frame<'a> {
    pub(super) number: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(self.bytes.len() + FRAME_BYTES);
        file.extend(self.number.to_le_bytes());
        file.extend(self.bytes);
        file.extend(xxh3_64(&file).to_le_bytes());
        file
    }

    pub(super) fn decode(file: &'a [u8]) -> Option<Self> {
        let (sealed, checksum) = file.split_last_chunk()?;
        let (number, bytes) = sealed.split_first_chunk()?;
        let is_sound = xxh3_64(sealed) == u64::from_le_bytes(*checksum);
        is_sound.then_some(Self { number: u64::from_le_bytes(*number), bytes })
    }
}

/// The name of the file of a key's record.
pub(super) fn file_of(key: &str) -> Result<String, StoreError> {
    let mut name = PREFIX.to_owned();
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    if name.len() > MAX_FILE_NAME_BYTES {
        let (found, max) = (name.len(), MAX_FILE_NAME_BYTES);
        return Err(StoreError::TooLarge { what: "the file name of the key", found, max });
    }
    Ok(name)
}

/// The key whose record has a file of this name; `None` if it is another file.
pub(super) fn key_of(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix(PREFIX)?.as_bytes();
    let mut key = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            key.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        key.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    let key = String::from_utf8(key).ok()?;
    // Drafts, and other ways of writing it, are no records.
    (file_of(&key).ok()? == name).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_other_files_are_no_records() {
        for key in ["instances/a", "tokens/a%2Fb~", "é", ""] {
            assert_eq!(key_of(&file_of(key).unwrap()).as_deref(), Some(key));
        }
        for name in ["lock", "revision", "r.instances%2Fa~", "r.instances%2fa", "r.%", "r.%FF"] {
            assert_eq!(key_of(name), None, "{name}");
        }
        file_of(&"/".repeat(84)).unwrap();
        file_of(&"/".repeat(85)).unwrap_err();
    }

    #[test]
    fn a_frame_with_any_bit_flipped_or_any_byte_lost_is_none() {
        let file = Frame { number: 7, bytes: b"bytes" }.encode();
        assert!(Frame::decode(&file).is_some_and(|frame| (frame.number, frame.bytes) == (7, b"bytes")));
        for bit in 0..8 * file.len() {
            let mut broken = file.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&broken).is_none());
        }
        assert!((0..file.len()).all(|len| Frame::decode(&file[..len]).is_none()));
    }
}
