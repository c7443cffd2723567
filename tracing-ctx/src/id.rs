//! Trace and span ids. An id is never zero, which the numbers inside know, so `Option` of one is no larger.

use core::fmt;
use core::num::NonZero;
use core::str::FromStr;

use crate::hex;

/// Names one trace across all processes it passes through: 16 bytes, not all zero.
///
/// Displayed and parsed as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(NonZero<u128>);

/// Names one span, a piece of work within a trace: 8 bytes, not all zero.
///
/// The specification calls it *parent-id* where it stands in a `traceparent` header, because there it is the
/// parent of whatever the receiver does. Displayed and parsed as 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZero<u64>);

impl TraceId {
    /// An id of these bytes, or `None` if all are zero.
    #[inline]
    pub const fn new(bytes: [u8; 16]) -> Option<Self> {
        Self::from_int(u128::from_be_bytes(bytes))
    }

    /// An id of two draws from `source`.
    ///
    /// Should both be zero, the id is 1: a source that is stuck cannot hang the caller or break the format.
    #[inline]
    pub fn from_source(mut source: impl FnMut() -> u64) -> Self {
        let high = u128::from(source());
        let low = u128::from(source());
        Self(NonZero::new((high << 64) | low).unwrap_or(NonZero::<u128>::MIN))
    }

    /// An id from this thread's generator, see [`random_u64`](crate::random_u64).
    #[cfg(feature = "std")]
    #[inline]
    pub fn random() -> Self {
        Self::from_source(crate::random_u64)
    }

    /// The bytes, in the order in which they are written.
    #[inline]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The right-most 8 bytes as a number, which is the part that samplers look at.
    #[inline]
    pub const fn low_u64(self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.to_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    #[inline]
    pub(crate) const fn from_int(number: u128) -> Option<Self> {
        match NonZero::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The digits.
    #[inline]
    pub(crate) const fn to_hex(self) -> [u8; 32] {
        hex::encode(&self.to_bytes())
    }
}

impl SpanId {
    /// An id of these bytes, or `None` if all are zero.
    #[inline]
    pub const fn new(bytes: [u8; 8]) -> Option<Self> {
        Self::from_int(u64::from_be_bytes(bytes))
    }

    /// An id of one draw from `source`.
    ///
    /// Should it be zero, the id is 1: a source that is stuck cannot hang the caller or break the format.
    #[inline]
    pub fn from_source(mut source: impl FnMut() -> u64) -> Self {
        Self(NonZero::new(source()).unwrap_or(NonZero::<u64>::MIN))
    }

    /// An id from this thread's generator, see [`random_u64`](crate::random_u64).
    #[cfg(feature = "std")]
    #[inline]
    pub fn random() -> Self {
        Self::from_source(crate::random_u64)
    }

    /// The bytes, in the order in which they are written.
    #[inline]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    #[inline]
    pub(crate) const fn from_int(number: u64) -> Option<Self> {
        match NonZero::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The digits.
    #[inline]
    pub(crate) const fn to_hex(self) -> [u8; 16] {
        hex::encode(&self.to_bytes())
    }
}

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// A trace id has 32 digits and a span id 16, neither more nor less.
    #[error("id of {found} bytes, expected {expected}")]
    Length {
        /// Length of the text in bytes.
        found: usize,
        /// Digits of this kind of id.
        expected: usize,
    },
    /// Only `0-9` and `a-f` are digits.
    #[error("id has no lower-case hexadecimal digit at byte {at}")]
    Malformed {
        /// Index of the first byte that is no digit.
        at: usize,
    },
    /// All digits are zero, which the specification reserves for "no id".
    #[error("id is all zeros")]
    Zero,
}

impl From<NonZero<u128>> for TraceId {
    fn from(number: NonZero<u128>) -> Self {
        Self(number)
    }
}

impl From<NonZero<u64>> for SpanId {
    fn from(number: NonZero<u64>) -> Self {
        Self(number)
    }
}

impl TryFrom<u128> for TraceId {
    type Error = IdError;

    /// The id of these digits: the first written is the most significant one.
    fn try_from(number: u128) -> Result<Self, IdError> {
        Self::from_int(number).ok_or(IdError::Zero)
    }
}

impl TryFrom<u64> for SpanId {
    type Error = IdError;

    /// The id of these digits: the first written is the most significant one.
    fn try_from(number: u64) -> Result<Self, IdError> {
        Self::from_int(number).ok_or(IdError::Zero)
    }
}

impl From<TraceId> for u128 {
    fn from(id: TraceId) -> Self {
        id.0.get()
    }
}

impl From<SpanId> for u64 {
    fn from(id: SpanId) -> Self {
        id.0.get()
    }
}

impl FromStr for TraceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(parse::<32, 16>(text)?).ok_or(IdError::Zero)
    }
}

impl FromStr for SpanId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(parse::<16, 8>(text)?).ok_or(IdError::Zero)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ascii(&self.to_hex()))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ascii(&self.to_hex()))
    }
}

/// All digits, zeros in front included, as [`Display`](fmt::Display) has them; `{:#x}` has `0x` before them.
impl fmt::LowerHex for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(true, "0x", ascii(&self.to_hex()))
    }
}

/// All digits, zeros in front included, as [`Display`](fmt::Display) has them; `{:#x}` has `0x` before them.
impl fmt::LowerHex for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(true, "0x", ascii(&self.to_hex()))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// The bytes that exactly so many digits spell.
fn parse<const DIGITS: usize, const BYTES: usize>(text: &str) -> Result<[u8; BYTES], IdError> {
    let Ok(digits) = text.as_bytes().try_into() else {
        return Err(IdError::Length { found: text.len(), expected: DIGITS });
    };
    match hex::decode::<DIGITS, BYTES>(digits) {
        (bytes, true) => Ok(bytes),
        (_, false) => {
            let at = digits.iter().position(|&byte| !hex::is_digit(byte)).unwrap_or_default();
            Err(IdError::Malformed { at })
        }
    }
}

/// What this crate has written is text.
pub(crate) fn ascii(digits: &[u8]) -> &str {
    core::str::from_utf8(digits).expect("hexadecimal digits and dashes are ascii")
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn an_id_reads_and_writes_as_lower_case_hexadecimal() {
        let trace: TraceId = TRACE.parse().unwrap();
        let span: SpanId = SPAN.parse().unwrap();
        assert_eq!(trace.to_bytes()[..3], [0x4b, 0xf9, 0x2f]);
        assert_eq!(span.to_bytes(), [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert_eq!((trace.to_string(), span.to_string()), (TRACE.into(), SPAN.into()));
        assert_eq!(format!("{trace:?} {span:?}"), format!("TraceId({TRACE}) SpanId({SPAN})"));
        assert_eq!(format!("{span:>20}|{span:.4}"), format!("    {SPAN}|00f0"));
    }

    #[test]
    fn an_id_is_a_number_other_than_zero() {
        let (trace, span): (TraceId, SpanId) = (TRACE.parse().unwrap(), SPAN.parse().unwrap());
        assert_eq!(u128::from(trace), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(u64::from(span), 0x00f0_67aa_0ba9_02b7);
        assert_eq!(
            (TraceId::try_from(u128::from(trace)), SpanId::try_from(u64::from(span))),
            (Ok(trace), Ok(span))
        );
        assert_eq!(
            (TraceId::try_from(0_u128), SpanId::try_from(0_u64)),
            (Err(IdError::Zero), Err(IdError::Zero))
        );
        assert_eq!(SpanId::from(NonZero::<u64>::MIN).to_bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(TraceId::from(NonZero::<u128>::MAX).to_bytes(), [0xff; 16]);
        assert_eq!(size_of::<Option<SpanId>>(), 8);
        assert!(trace < TraceId::try_from(u128::from(trace) + 1).unwrap());
    }

    #[test]
    fn as_a_number_in_hexadecimal_it_keeps_all_its_digits() {
        let (trace, span): (TraceId, SpanId) = (TRACE.parse().unwrap(), SPAN.parse().unwrap());
        assert_eq!(format!("{trace:x} {span:x}"), format!("{TRACE} {SPAN}"));
        assert_eq!(format!("{trace:#x} {span:#x} {span:>20x}"), format!("0x{TRACE} 0x{SPAN}     {SPAN}"));
    }

    #[test]
    fn a_source_of_zeros_gives_an_id_that_is_not_zero() {
        assert_eq!(TraceId::from_source(|| 0).to_string(), format!("{:032x}", 1));
        assert_eq!(SpanId::from_source(|| 0).to_string(), format!("{:016x}", 1));
    }

    #[test]
    fn half_a_trace_id_may_be_zero() {
        let mut draws = [0, 7].into_iter();
        let id = TraceId::from_source(|| draws.next().unwrap());
        assert_eq!(id.low_u64(), 7);
        let mut draws = [7, 0].into_iter();
        let id = TraceId::from_source(|| draws.next().unwrap());
        assert_eq!(id.to_string(), format!("{:016x}{:016x}", 7, 0));
    }

    #[test]
    fn zero_bytes_are_no_id() {
        assert_eq!(TraceId::new([0; 16]), None);
        assert_eq!(SpanId::new([0; 8]), None);
        assert_eq!("0".repeat(32).parse::<TraceId>(), Err(IdError::Zero));
        assert_eq!("0".repeat(16).parse::<SpanId>(), Err(IdError::Zero));
    }

    #[test]
    fn an_id_is_parsed_strictly() {
        assert_eq!(TRACE[1..].parse::<TraceId>(), Err(IdError::Length { found: 31, expected: 32 }));
        assert_eq!(SPAN.repeat(2).parse::<SpanId>(), Err(IdError::Length { found: 32, expected: 16 }));
        for bad in ["+0f067aa0ba902b7", " 0f067aa0ba902b7", "0xf067aa0ba902b7", "00F067aa0ba902b7"] {
            assert!(matches!(bad.parse::<SpanId>(), Err(IdError::Malformed { at: 0..=2 })), "{bad}");
        }
        assert_eq!("00f067aa0ba902bé".parse::<SpanId>(), Err(IdError::Length { found: 17, expected: 16 }));
        assert_eq!("00f067aa0ba902é".parse::<SpanId>(), Err(IdError::Malformed { at: 14 }));
    }

    #[test]
    fn an_error_says_what_was_found() {
        assert_eq!(IdError::Length { found: 3, expected: 16 }.to_string(), "id of 3 bytes, expected 16");
        assert_eq!(IdError::Zero.to_string(), "id is all zeros");
    }
}
