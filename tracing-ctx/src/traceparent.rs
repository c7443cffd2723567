//! The `traceparent` header: which trace a request belongs to and which span sent it.
//!
//! Bytes in, bytes out, without allocation. What is accepted is exactly what levels 1 and 2 of the
//! specification accept, to the byte; what is written is always version 00.

use core::fmt;
use core::str::FromStr;

use crate::{SpanId, TraceId, hex, id};

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
    /// is ignored.
    ///
    /// # Errors
    ///
    /// Everything the specification calls invalid, see [`TraceParentError`]. By its rules the receiver then
    /// starts a new trace and does not look at `tracestate`.
    pub const fn parse(value: &[u8]) -> Result<Self, TraceParentError> {
        let value = trim(value);
        let Some((head, rest)) = value.split_first_chunk() else {
            return Err(TraceParentError::TooShort { found: value.len() });
        };

        // Seven words hold all digits; the faults of all of them and of the dashes are looked at once.
        let dashes = (head[2] ^ b'-') | (head[35] ^ b'-') | (head[52] ^ b'-');
        let (trace_a, fault_a) = hex::decode(word::<3>(head));
        let (trace_b, fault_b) = hex::decode(word::<11>(head));
        let (trace_c, fault_c) = hex::decode(word::<19>(head));
        let (trace_d, fault_d) = hex::decode(word::<27>(head));
        let (parent_a, fault_e) = hex::decode(word::<36>(head));
        let (parent_b, fault_f) = hex::decode(word::<44>(head));
        let ends = [head[0], head[1], head[53], head[54], b'0', b'0', b'0', b'0'];
        let (ends, fault_g) = hex::decode(u64::from_be_bytes(ends));
        let faults = fault_a | fault_b | fault_c | fault_d | fault_e | fault_f | fault_g;
        if faults | dashes as u64 != 0 {
            return Err(malformed(head));
        }

        let [version, flags, ..] = ends.to_be_bytes();
        if let Err(error) = check_rest(version, rest) {
            return Err(error);
        }
        let high = ((trace_a as u64) << 32) | trace_b as u64;
        let low = ((trace_c as u64) << 32) | trace_d as u64;
        let Some(trace_id) = TraceId::from_int(((high as u128) << 64) | low as u128) else {
            return Err(TraceParentError::ZeroTraceId);
        };
        let Some(parent_id) = SpanId::from_int(((parent_a as u64) << 32) | parent_b as u64) else {
            return Err(TraceParentError::ZeroParentId);
        };
        Ok(Self { trace_id, parent_id, flags: TraceFlags::from_bits(flags) })
    }

    /// Writes the value of a `traceparent` field, version 00.
    pub fn write(&self, out: &mut [u8; TRACEPARENT_LEN]) {
        let [trace_a, trace_b, trace_c, trace_d] = self.trace_id.to_hex();
        let [parent_a, parent_b] = self.parent_id.to_hex();
        *out = [b'-'; TRACEPARENT_LEN];
        out[..2].copy_from_slice(b"00");
        put::<3>(out, trace_a);
        put::<11>(out, trace_b);
        put::<19>(out, trace_c);
        put::<27>(out, trace_d);
        put::<36>(out, parent_a);
        put::<44>(out, parent_b);
        let [.., high, low] = hex::encode(u32::from(self.flags.bits())).to_be_bytes();
        out[53..].copy_from_slice(&[high, low]);
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

/// Without the spaces and tabs around it, which are not part of a field's value.
const fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// What may follow the first 55 bytes: nothing in version 00, a dash and anything in later ones.
const fn check_rest(version: u8, rest: &[u8]) -> Result<(), TraceParentError> {
    let found = TRACEPARENT_LEN + rest.len();
    match (version, rest) {
        (0xff, _) => Err(TraceParentError::Version),
        (_, []) => Ok(()),
        (0, _) => Err(TraceParentError::TooLong { found, limit: TRACEPARENT_LEN }),
        (_, [b'-', ..]) if found <= MAX_TRACEPARENT_LEN => Ok(()),
        (_, [b'-', ..]) => Err(TraceParentError::TooLong { found, limit: MAX_TRACEPARENT_LEN }),
        (_, [found, ..]) => Err(TraceParentError::Malformed { at: TRACEPARENT_LEN, found: *found }),
    }
}

/// The first byte out of place. There is one: all others are found to be in place before the last is blamed.
#[cold]
#[inline(never)]
const fn malformed(head: &[u8; TRACEPARENT_LEN]) -> TraceParentError {
    let mut at = 0;
    while at < TRACEPARENT_LEN - 1 && in_place(at, head[at]) {
        at += 1;
    }
    TraceParentError::Malformed { at, found: head[at] }
}

const fn in_place(at: usize, byte: u8) -> bool {
    match at {
        2 | 35 | 52 => byte == b'-',
        _ => hex::is_digit(byte),
    }
}

/// Eight bytes as a word, the first the most significant.
const fn word<const AT: usize>(head: &[u8; TRACEPARENT_LEN]) -> u64 {
    const { assert!(AT + 8 <= TRACEPARENT_LEN) };
    u64::from_be_bytes([
        head[AT],
        head[AT + 1],
        head[AT + 2],
        head[AT + 3],
        head[AT + 4],
        head[AT + 5],
        head[AT + 6],
        head[AT + 7],
    ])
}

fn put<const AT: usize>(out: &mut [u8; TRACEPARENT_LEN], digits: u64) {
    const { assert!(AT + 8 <= TRACEPARENT_LEN) };
    out[AT..AT + 8].copy_from_slice(&digits.to_be_bytes());
}

#[cfg(test)]
mod tests;
