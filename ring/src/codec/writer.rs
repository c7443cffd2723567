//! Appends the parts of a body. Invariant: what is written is within the bounds that a reader keeps.

use super::EncodeError;

pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    pub(crate) fn fixed(&mut self, number: u64) {
        self.out.extend(number.to_le_bytes());
    }

    pub(crate) fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.out.push(number.to_le_bytes()[0]);
    }

    pub(crate) fn signed(&mut self, number: i64) {
        self.varint(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(crate) fn count(&mut self, what: &'static str, found: usize, max: usize) -> Result<(), EncodeError> {
        if found > max {
            return Err(EncodeError::TooLong { what, found, max });
        }
        self.varint(found as u64);
        Ok(())
    }

    pub(crate) fn text(&mut self, what: &'static str, text: &str, max: usize) -> Result<(), EncodeError> {
        self.count(what, text.len(), max)?;
        self.out.extend(text.as_bytes());
        Ok(())
    }
}
