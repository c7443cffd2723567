//! Takes the parts of a body off its front. Invariant: every read is within the bytes there are, and a count is
//! held against the bytes left before anybody makes room for it.

use super::DecodeError;

#[derive(Debug)]
pub(crate) struct Reader<'a> {
    /// The record without its checksum.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(crate) fn malformed<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Malformed { offset: self.at, what })
    }

    fn left(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let Some(&byte) = self.left().first() else { return self.malformed(what) };
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.left().first() {
            Some(0 | 1) => Ok(self.byte(what)? == 1),
            _ => self.malformed(what),
        }
    }

    pub(crate) fn fixed(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let Some(bytes) = self.left().first_chunk() else { return self.malformed(what) };
        self.at += bytes.len();
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut number = 0;
        for (place, &byte) in self.left().iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit; a last byte of 0 would be a longer form of the same number.
            if (place == 9 && byte > 1) || (place > 0 && byte == 0) {
                break;
            }
            number |= bits << (7 * place);
            if byte < 0x80 {
                self.at += place + 1;
                return Ok(number);
            }
        }
        self.malformed(what)
    }

    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let zigzag = self.varint(what)?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let start = self.at;
        let number = self.varint(what)?;
        u32::try_from(number).map_err(|_| DecodeError::Malformed { offset: start, what })
    }

    /// How many items follow, of `item_bytes` or more each.
    pub(crate) fn count(
        &mut self,
        what: &'static str,
        max: usize,
        item_bytes: usize,
    ) -> Result<usize, DecodeError> {
        let start = self.at;
        let found = self.varint(what)?;
        match usize::try_from(found).ok().filter(|&count| count <= max) {
            None => Err(DecodeError::TooLong { what, found, max }),
            Some(count) if count.saturating_mul(item_bytes) > self.left().len() => {
                Err(DecodeError::Malformed { offset: start, what })
            }
            Some(count) => Ok(count),
        }
    }

    pub(crate) fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let len = self.count(what, max, 1)?;
        let bytes = self.left().get(..len).unwrap_or_default();
        let Ok(text) = std::str::from_utf8(bytes) else { return self.malformed(what) };
        self.at += len;
        Ok(text)
    }

    /// Nothing may follow.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.left().is_empty() { Ok(()) } else { self.malformed("end") }
    }
}
