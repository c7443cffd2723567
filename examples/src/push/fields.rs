//! The fields of a protobuf message in memory, borrowed from it. Nothing is allocated, and every length is checked
//! against the message that it stands in.

/// How deep groups that nobody knows may be nested.
const MAX_DEPTH: usize = 100;

/// Walks the fields of a message in their order.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Varint(u64),
    /// Bytes, text or a message.
    Bytes(&'a [u8]),
    /// Eight bytes: a number of fixed width, or a double.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// A group, which no message of a push has.
    Other,
}

impl<'a> Fields<'a> {
    /// The next field with its number, `None` behind the last.
    ///
    /// # Errors
    /// What is wrong with the message.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, &'static str> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, kind) = self.key()?;
        Ok(Some((number, self.value(number, kind, MAX_DEPTH)?)))
    }

    fn key(&mut self) -> Result<(u32, u8), &'static str> {
        let key = u32::try_from(self.varint()?).map_err(|_| "field number is out of range")?;
        let kind = key.to_le_bytes()[0] & 7;
        if key >> 3 == 0 { Err("field number 0") } else { Ok((key >> 3, kind)) }
    }

    fn value(&mut self, number: u32, kind: u8, depth: usize) -> Result<Value<'a>, &'static str> {
        match kind {
            0 => self.varint().map(Value::Varint),
            1 => self.array().map(|bytes| Value::Fixed64(u64::from_le_bytes(bytes))),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| "length is out of range")?;
                self.take(len).map(Value::Bytes)
            }
            3 => self.skip_group(number, depth).map(|()| Value::Other),
            5 => self.array().map(|bytes| Value::Fixed32(u32::from_le_bytes(bytes))),
            4 => Err("group ends that did not begin"),
            _ => Err("unknown wire type"),
        }
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Result<(), &'static str> {
        let depth = depth.checked_sub(1).ok_or("groups are nested too deep")?;
        loop {
            match self.key()? {
                (end, 4) if end == number => return Ok(()),
                (inner, kind) => self.value(inner, kind, depth)?,
            };
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("field is cut short")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("field is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    /// Longer spellings than need be are fine here, unlike in a record.
    #[inline]
    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or("number is cut short")?;
            self.0 = rest;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("number is longer than 64 bits")
    }
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], &'static str> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err("field is not of its type") }
    }

    pub(super) fn text(self) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "text is not UTF-8")
    }

    pub(super) fn varint(self) -> Result<u64, &'static str> {
        if let Self::Varint(value) = self { Ok(value) } else { Err("field is not of its type") }
    }

    pub(super) fn fixed64(self) -> Result<u64, &'static str> {
        if let Self::Fixed64(value) = self { Ok(value) } else { Err("field is not of its type") }
    }

    pub(super) fn fixed32(self) -> Result<u32, &'static str> {
        if let Self::Fixed32(value) = self { Ok(value) } else { Err("field is not of its type") }
    }
}
