//! Writes the parts of a line, one after the other, without the machinery of `format!`.

/// The line so far.
pub(super) struct Text<'a>(pub(super) &'a mut Vec<u8>);

impl Text<'_> {
    /// Adds text.
    pub(super) fn put(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Adds a decimal number.
    pub(super) fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        self.padded(number, 1)
    }

    /// Adds a decimal number with zeros before it, so that it has at least `width` digits, which is at most 20.
    pub(super) fn padded(&mut self, number: impl Into<u64>, width: usize) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut rest = number.into();
        let mut first = digits.len();
        while rest > 0 {
            first -= 1;
            digits[first] += u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        self.0.extend_from_slice(&digits[first.min(digits.len() - width)..]);
        self
    }

    /// Adds the lowest `width` hexadecimal digits of a number, which are at most 16.
    pub(super) fn hex(&mut self, number: u64, width: usize) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for digit in (0..width).rev() {
            self.0.push(DIGITS[usize::try_from((number >> (4 * digit)) & 15).expect("4 bits")]);
        }
        self
    }

    /// Adds a private IPv4 address.
    pub(super) fn address(&mut self, host: u32) -> &mut Self {
        let [_, a, b, c] = host.to_be_bytes();
        self.put("10.").number(a & 31).put(".").number(b).put(".").number(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_format_writes_them() {
        for number in [0_u64, 7, 10, 99, 100, 12_345, u64::MAX] {
            let mut line = Vec::new();
            Text(&mut line).number(number).put(" ").padded(number, 6).put(" ").hex(number, 16);
            assert_eq!(String::from_utf8(line).unwrap(), format!("{number} {number:06} {number:016x}"));
        }
        let mut line = Vec::new();
        Text(&mut line).address(0xff_21_02_03);
        assert_eq!(line, b"10.1.2.3");
    }
}
