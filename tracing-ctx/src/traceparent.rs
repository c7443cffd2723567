//! The `traceparent` header: which trace a request belongs to and which span sent it.
//!
//! Bytes in, bytes out, without allocation. What is accepted is exactly what levels 1 and 2 of the
//! specification accept, to the byte, of later versions up to [`MAX_TRACEPARENT_LEN`]; what is written is always
//! version 00.

use core::fmt;
use core::ops::BitOr;
use core::str::FromStr;

use crate::{SpanId, TraceId, hex, id, ows};

/// Length of a `traceparent` of version 00 in bytes; later versions may be longer.
pub const TRACEPARENT_LEN: usize = 55;

/// A later version's `traceparent` above this many bytes is refused instead of understood by its beginning.
pub const MAX_TRACEPARENT_LEN: usize = 512;

/// The trace a piece of work belongs to, its parent span, and what was decided about it.
///
/// ```text
/// byte  0  2 3                              35 36             52 53  55
///       00 - 4bf92f3577b34da6a3ce929d0e0e4736 - 00f067aa0ba902b7 - 01
///       version          trace id                  parent id       flags
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace, the same in all processes.
    pub trace_id: TraceId,
    /// The span that whoever receives this is a child of. In a [`TraceContext`](crate::TraceContext), the
    /// span that is at work.
    pub parent_id: SpanId,
    /// What was decided about the trace.
    pub flags: TraceFlags,
}

impl TraceParent {
    /// The first span of a new trace, with ids from `source` and the random flag set.
    ///
    /// The flag promises to everyone downstream that the last 7 bytes of the trace id are random, so outside
    /// of tests and simulations the source has to be.
    pub fn root(mut source: impl FnMut() -> u64) -> Self {
        let trace_id = TraceId::from_source(&mut source);
        Self { trace_id, parent_id: SpanId::from_source(source), flags: TraceFlags::RANDOM }
    }

    /// The same trace with the same flags, seen from `span_id` on.
    #[must_use]
    pub const fn child(&self, span_id: SpanId) -> Self {
        Self { parent_id: span_id, ..*self }
    }

    /// The same trace and span, sampled or not.
    ///
    /// The specification allows a changed decision only together with a new parent id.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        Self { flags: self.flags.with_sampled(sampled), ..self }
    }

    /// The value of one `traceparent` field. Spaces and tabs around it are not part of it.
    ///
    /// Of a version later than 00 the first 55 bytes are read and the rest, which has to start with a dash,
    /// is ignored, whatever it holds, commas included.
    ///
    /// # Errors
    ///
    /// Everything the specification calls invalid, see [`TraceParentError`]. By its rules the receiver then
    /// starts a new trace and does not look at `tracestate`.
    pub const fn parse(value: &[u8]) -> Result<Self, TraceParentError> {
        let value = ows::trim(value);
        let Some((head, rest)) = value.split_first_chunk() else {
            return Err(TraceParentError::TooShort { found: value.len() });
        };

        let (ids, good) = hex::decode::<48, 24>(&id_digits(head));
        if !good || head[35] != b'-' {
            return Err(malformed(head));
        }
        let flags = match (head, rest) {
            // As nearly all are: version 00, and no flag that has no name.
            ([b'0', b'0', b'-', .., b'-', b'0', digit @ b'0'..=b'3'], []) => TraceFlags::from_bits(*digit),
            _ => match parse_ends(head, rest) {
                Ok(flags) => flags,
                Err(error) => return Err(error),
            },
        };
        let (trace_id, parent_id) = ids.split_at(16);
        let Some(trace_id) = TraceId::new(array(trace_id)) else {
            return Err(TraceParentError::ZeroTraceId);
        };
        let Some(parent_id) = SpanId::new(array(parent_id)) else {
            return Err(TraceParentError::ZeroParentId);
        };
        Ok(Self { trace_id, parent_id, flags })
    }

    /// Writes the value of a `traceparent` field, version 00.
    pub fn write(&self, out: &mut [u8; TRACEPARENT_LEN]) {
        let mut ids = [0; 24];
        ids[..16].copy_from_slice(&self.trace_id.to_bytes());
        ids[16..].copy_from_slice(&self.parent_id.to_bytes());
        let digits: [u8; 48] = hex::encode(&ids);
        out[..3].copy_from_slice(b"00-");
        out[3..35].copy_from_slice(&digits[..32]);
        out[35] = b'-';
        out[36..52].copy_from_slice(&digits[32..]);
        out[52..].copy_from_slice(&[b'-', b'0', b'0' + self.flags.bits()]);
    }

    /// The value of a `traceparent` field, version 00.
    pub fn to_bytes(&self) -> [u8; TRACEPARENT_LEN] {
        let mut out = [0; TRACEPARENT_LEN];
        self.write(&mut out);
        out
    }
}

/// Decisions that travel with a trace. Bits that the specification has not named are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// Neither sampled nor known to be random.
    pub const NONE: Self = Self(0);
    /// The caller may have recorded this trace.
    pub const SAMPLED: Self = Self(1);
    /// The right-most 7 bytes of the trace id are random (level 2). Whoever made the id sets this, and
    /// everyone else leaves it as it came.
    pub const RANDOM: Self = Self(2);

    /// The named ones of these bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::SAMPLED.0 | Self::RANDOM.0))
    }

    /// The bits as they are written.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether the caller may have recorded this trace.
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }

    /// Whether the right-most 7 bytes of the trace id are random.
    pub const fn is_random(self) -> bool {
        self.0 & Self::RANDOM.0 != 0
    }

    /// The same flags, sampled or not.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        if sampled { Self(self.0 | Self::SAMPLED.0) } else { Self(self.0 & !Self::SAMPLED.0) }
    }
}

/// The flags of both.
impl BitOr for TraceFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why a `traceparent` is invalid and the trace has to be started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceParentError {
    /// There are several fields of that name, which is invalid even if they are equal.
    #[error("{fields} traceparent fields, expected one")]
    Repeated {
        /// Number of fields.
        fields: usize,
    },
    /// Shorter than any version.
    #[error("traceparent of {found} bytes, expected {TRACEPARENT_LEN}")]
    TooShort {
        /// Length in bytes.
        found: usize,
    },
    /// Longer than this version may be.
    #[error("traceparent of {found} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Length in bytes.
        found: usize,
        /// Most that is accepted: 55 bytes for version 00, 512 for later ones.
        limit: usize,
    },
    /// A byte that is neither the digit nor the dash that has to be there. Upper-case digits are none.
    #[error("traceparent has 0x{found:02x} at byte {at}")]
    Malformed {
        /// Index of the byte, not counting spaces and tabs in front of the value.
        at: usize,
        /// The byte.
        found: u8,
    },
    /// Version ff is reserved to be invalid.
    #[error("traceparent of version ff")]
    Version,
    /// The trace id is all zeros.
    #[error("traceparent with a trace id of all zeros")]
    ZeroTraceId,
    /// The parent id is all zeros.
    #[error("traceparent with a parent id of all zeros")]
    ZeroParentId,
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(id::ascii(&self.to_bytes()))
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        Self::parse(text.as_bytes())
    }
}

/// Reads all but the ids and the dash between them: a version, the flags, and behind the first 55 bytes what may
/// follow in this version, which is nothing in version 00, and a dash and anything in later ones.
#[cold]
const fn parse_ends(head: &[u8; TRACEPARENT_LEN], rest: &[u8]) -> Result<TraceFlags, TraceParentError> {
    let [a, b, b'-', .., b'-', c, d] = *head else {
        return Err(malformed(head));
    };
    if !(hex::is_digit(a) && hex::is_digit(b) && hex::is_digit(c) && hex::is_digit(d)) {
        return Err(malformed(head));
    }
    let found = TRACEPARENT_LEN + rest.len();
    match ([a, b], rest) {
        ([b'f', b'f'], _) => Err(TraceParentError::Version),
        ([b'0', b'0'], [_, ..]) => Err(TraceParentError::TooLong { found, limit: TRACEPARENT_LEN }),
        (_, [b'-', ..]) if found > MAX_TRACEPARENT_LEN => {
            Err(TraceParentError::TooLong { found, limit: MAX_TRACEPARENT_LEN })
        }
        (_, [] | [b'-', ..]) => Ok(TraceFlags::from_bits(hex::nibble(d))),
        (_, [found, ..]) => Err(TraceParentError::Malformed { at: TRACEPARENT_LEN, found: *found }),
    }
}

/// The first byte out of place. There is one: all others are found to be in place before the last is blamed.
///
/// Looks at all of them: hostile headers are wrong in places that cannot be predicted, and a loop that ends there
/// takes several times as long as one that the compiler makes vector instructions of.
#[cold]
#[inline(never)]
const fn malformed(head: &[u8; TRACEPARENT_LEN]) -> TraceParentError {
    let mut first = LAST;
    let mut at = 0;
    while at < LAST {
        let blamed = if hex::is_digit(head[at as usize]) || is_dash(at) { LAST } else { at };
        first = if blamed < first { blamed } else { first };
        at += 1;
    }
    let mut dashes = DASHES;
    while let [rest @ .., dash] = dashes {
        if head[*dash as usize] != b'-' && *dash < first {
            first = *dash;
        }
        dashes = rest;
    }
    TraceParentError::Malformed { at: first as usize, found: head[first as usize] }
}

/// Where a dash has to stand, in order.
const DASHES: &[u8] = &[2, 35, 52];
/// The last byte of a `traceparent` of version 00.
const LAST: u8 = 54;
const _: () = assert!(LAST as usize == TRACEPARENT_LEN - 1);

const fn is_dash(at: u8) -> bool {
    matches!(at, 2 | 35 | 52)
}

/// The digits of the two ids, without the dash between them.
#[inline]
const fn id_digits(head: &[u8; TRACEPARENT_LEN]) -> [u8; 48] {
    let mut digits = [0; 48];
    let mut at = 0;
    while at < 32 {
        digits[at] = head[3 + at];
        at += 1;
    }
    while at < 48 {
        digits[at] = head[4 + at];
        at += 1;
    }
    digits
}

/// The bytes of a slice of this length.
const fn array<const LEN: usize>(bytes: &[u8]) -> [u8; LEN] {
    let mut array = [0; LEN];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests;
