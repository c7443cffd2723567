//! Typed readers: what a scalar means where a certain type is expected.
//! Invariant: the rules are those of Go's YAML library and of the types that Loki reads with it, so that a
//! file means here what it means there; where it would be refused there, it is refused here.

use std::time::Duration;

use super::{Entry, Error, Node, Value, Warning};
use crate::units;

/// Integer readers: one for each type that configuration needs.
macro_rules! integers {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("Reads an integer that fits `", stringify!($name), "`; see [`i64`](Self::i64).")]
            ///
            /// # Errors
            /// The node is no integer, or out of range.
            pub fn $name(&self) -> Result<$name, Error> {
                let fits = self.as_integer().and_then(|value| $name::try_from(value).ok());
                fits.ok_or_else(|| self.expected(format!("an integer from {} to {}", $name::MIN, $name::MAX)))
            }
        )*
    };
}

impl Node {
    /// Whether nothing stands here: an empty text, `~`, `null`, `Null` or `NULL`, without quotes.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// Reads a truth: `true` and `false` without quotes; `yes`, `no`, `on`, `off`, `y`, `n` with or without;
    /// each also capitalised or in capitals.
    ///
    /// # Errors
    /// The node is anything else, `"true"` in quotes included.
    pub fn bool(&self) -> Result<bool, Error> {
        match (self.plain(), self.text()) {
            (Some("true" | "True" | "TRUE"), _) => Ok(true),
            (Some("false" | "False" | "FALSE"), _) => Ok(false),
            (_, Some("y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON")) => Ok(true),
            (_, Some("n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF")) => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// Reads an integer without quotes: `12`, `-3`, `1_000`, `0x10`, `0b11`, `0o17`, `017` (octal, 15), and
    /// also a decimal number that is whole, `1e6` or `3.0`.
    ///
    /// # Errors
    /// The node is no integer, or out of range.
    pub fn i64(&self) -> Result<i64, Error> {
        let fits = self.as_integer().and_then(|value| i64::try_from(value).ok());
        fits.ok_or_else(|| self.expected("an integer"))
    }

    integers!(u16 u32 i32);

    /// Reads an integer of zero or more; see [`i64`](Self::i64).
    ///
    /// # Errors
    /// The node is no integer, negative, or beyond 2⁶⁴ − 1.
    pub fn u64(&self) -> Result<u64, Error> {
        let fits = self.as_integer().and_then(|value| u64::try_from(value).ok());
        fits.ok_or_else(|| self.expected("an integer of zero or more"))
    }

    /// Reads a count: an integer of zero or more; see [`i64`](Self::i64).
    ///
    /// # Errors
    /// The node is no integer, negative, or beyond the address space.
    pub fn usize(&self) -> Result<usize, Error> {
        let fits = self.as_integer().and_then(|value| usize::try_from(value).ok());
        fits.ok_or_else(|| self.expected("an integer of zero or more"))
    }

    /// Reads a number without quotes: every integer notation, `1.5`, `.5`, `1e-3`, `.inf`, `-.inf`, `.nan`.
    ///
    /// # Errors
    /// The node is no number.
    pub fn f64(&self) -> Result<f64, Error> {
        self.plain().and_then(float).ok_or_else(|| self.expected("a number"))
    }

    /// Reads a string: any scalar that is not null, as it is written, so `010` is `"010"`.
    ///
    /// # Errors
    /// The node is null, a sequence or a mapping.
    pub fn str(&self) -> Result<&str, Error> {
        self.text().filter(|_| !self.is_null()).ok_or_else(|| self.expected("a string"))
    }

    /// Reads a size in bytes: an integer without quotes in any notation but the decimal point, or what
    /// [`units::parse_size`] reads, with or without quotes.
    ///
    /// # Errors
    /// The node is no size.
    pub fn size(&self) -> Result<u64, Error> {
        const EXPECTED: &str = "a size such as 256KB";
        if let Some(value) = self.plain().and_then(integer) {
            return u64::try_from(value).map_err(|_| self.expected(EXPECTED));
        }
        let text = self.str().map_err(|_| self.expected(EXPECTED))?;
        units::parse_size(text).map_err(|why| self.unit(EXPECTED, why))
    }

    /// Reads a Prometheus duration, with or without quotes; see [`units::parse_duration`].
    ///
    /// # Errors
    /// The node is no such duration.
    pub fn duration(&self) -> Result<Duration, Error> {
        const EXPECTED: &str = "a duration such as 7d or 1h30m";
        let text = self.str().map_err(|_| self.expected(EXPECTED))?;
        units::parse_duration(text).map_err(|why| self.unit(EXPECTED, why))
    }

    /// Reads a Go duration, with or without quotes; see [`units::parse_go_duration`]. A number without quotes
    /// and unit is refused, even 0.
    ///
    /// # Errors
    /// The node is no such duration.
    pub fn go_duration(&self) -> Result<Duration, Error> {
        const EXPECTED: &str = "a duration such as 40m or 1.5h";
        if self.plain().and_then(float).is_some() {
            return Err(self.expected(EXPECTED));
        }
        let text = self.str().map_err(|_| self.expected(EXPECTED))?;
        units::parse_go_duration(text).map_err(|why| self.unit(EXPECTED, why))
    }

    /// Reads a sequence, item by item; null is an empty one. Errors and warnings get the item's index.
    ///
    /// # Errors
    /// The node is no sequence, or what `read` answers.
    pub fn items<T>(
        &self,
        warnings: &mut Vec<Warning>,
        mut read: impl FnMut(&Node, &mut Vec<Warning>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let items = match &self.value {
            Value::Sequence(items) => items,
            Value::Scalar { .. } if self.is_null() => return Ok(Vec::new()),
            Value::Scalar { .. } | Value::Mapping(_) => return Err(self.expected("a sequence")),
        };
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let mark = warnings.len();
            all.push(read(item, warnings).map_err(|e| e.in_item(index))?);
            warnings.iter_mut().skip(mark).for_each(|warning| warning.enter_item(index));
        }
        Ok(all)
    }

    /// Reads a mapping whose keys are the user's own, entry by entry; null is an empty one. Errors and
    /// warnings get the key. For a mapping whose keys are given see [`fields`](Self::fields).
    ///
    /// # Errors
    /// The node is no mapping, or what `read` answers.
    pub fn entries(
        &self,
        warnings: &mut Vec<Warning>,
        mut read: impl FnMut(&Entry, &mut Vec<Warning>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for entry in self.mapping()? {
            let mark = warnings.len();
            read(entry, warnings).map_err(|e| e.in_field(entry.key()))?;
            warnings.iter_mut().skip(mark).for_each(|warning| warning.enter_field(entry.key()));
        }
        Ok(())
    }

    /// The entries of a mapping; null has none.
    pub(super) fn mapping(&self) -> Result<&[Entry], Error> {
        match &self.value {
            Value::Mapping(entries) => Ok(entries),
            Value::Scalar { .. } if self.is_null() => Ok(&[]),
            Value::Scalar { .. } | Value::Sequence(_) => Err(self.expected("a mapping")),
        }
    }

    fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    fn as_integer(&self) -> Option<i128> {
        let text = self.plain()?;
        integer(text).or_else(|| whole(decimal(text)?))
    }
}

/// An integer in the notations of YAML 1.1 and 1.2, of at most 64 bits.
fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None; // `_1` is a string, and so is `--1`
    }
    let digits = digits.replace('_', "");
    let prefixes = [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8)];
    let (digits, radix) = prefixes
        .iter()
        .find_map(|&(prefix, radix)| Some((digits.strip_prefix(prefix)?, radix)))
        .or_else(|| Some((digits.strip_prefix('0').filter(|rest| !rest.is_empty())?, 8)))
        .unwrap_or((&digits, 10));
    if digits.starts_with(['-', '+']) {
        return None; // `0x+1`
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if text.starts_with('-') { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

fn float(text: &str) -> Option<f64> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        #[expect(clippy::cast_precision_loss, reason = "an integer beyond 2^53 is rounded, as Go rounds it")]
        _ => integer(text).map(|value| value as f64).or_else(|| decimal(text)),
    }
}

/// A decimal number: digits around at most one point, an exponent. Rust would also read `inf` and `nan`.
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+' | b'_'));
    if !numeric {
        return None;
    }
    text.replace('_', "").parse::<f64>().ok().filter(|value| value.is_finite())
}

fn whole(value: f64) -> Option<i128> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0; // 2^64
    let fits = value.fract() == 0.0 && value.abs() < LIMIT;
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^64, so i128 holds it exactly")]
    fits.then_some(value as i128)
}
