//! Standard output for people and programs. Where nobody reads it any more, what follows is dropped and the command still
//! answers by its exit code.

use std::fmt::{self, Display};
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

pub(crate) struct Out {
    to: BufWriter<StdoutLock<'static>>,
    pub(crate) json: bool,
    /// Nobody reads any more.
    pub(crate) closed: bool,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self { to: BufWriter::new(io::stdout().lock()), json, closed: false }
    }

    pub(crate) fn line(&mut self, line: impl Display) -> io::Result<()> {
        let written = if self.closed { Ok(()) } else { writeln!(self.to, "{line}") };
        self.checked(written)
    }

    /// An object on a line of its own.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(object)?;
        self.line(json)
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let flushed = if self.closed { Ok(()) } else { self.to.flush() };
        self.checked(flushed)
    }

    fn checked(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

/// Names and what they stand for, one a line.
pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(facts.into_iter().map(|(name, fact)| [name.to_owned(), fact]));
    table.trim_fmt()
}

/// A table of figures under a line of names, with text in its last column.
pub(crate) fn figures(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(names.iter().copied());
    table.column_iter_mut().rev().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

/// Bytes, and where they are many also in a unit that suits them.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        ..10_240 => count(bytes, "byte"),
        _ => format!("{bytes} bytes ({})", indicatif::BinaryBytes(bytes)),
    }
}

/// A time, given as nanoseconds since 1970.
pub(crate) fn time(unix_ns: i64) -> String {
    let time = jiff::Timestamp::from_nanosecond(unix_ns.into()).map(|time| format!("{time:.9}"));
    time.unwrap_or_else(|_| format!("{unix_ns} ns since 1970"))
}

/// A number of things.
pub(crate) fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Bytes as text on one line: what is no text as `\xNN`, line breaks and the like escaped.
pub(crate) struct Text<'a>(pub &'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                match char {
                    '\\' => f.write_str("\\\\")?,
                    char if char.is_control() => char.escape_default().fmt(f)?,
                    char => write!(f, "{char}")?,
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

/// Bytes as hexadecimal digits.
pub(crate) struct Hex<'a>(pub &'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Shows how many bytes of files are done, where standard error is a terminal and it takes long enough to be looked at.
pub(crate) fn progress(total: u64) -> ProgressBar {
    const LONG: u64 = 4 << 20;
    if total < LONG {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{bar:32} {binary_bytes:>11} of {binary_total_bytes}, {eta} left");
    ProgressBar::new(total).with_style(style.expect("the template is a constant that a test uses"))
}

/// Says on standard error why a command failed.
pub(crate) fn complain(why: impl Display) -> io::Result<()> {
    writeln!(io::stderr(), "chunkctl: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_line_and_loses_no_byte() {
        assert_eq!(Text(b"a\\b\n\xFF\xC3\xA9").to_string(), "a\\\\b\\n\\xff\u{e9}");
    }

    #[test]
    fn times_are_printed_to_the_nanosecond() {
        assert_eq!(time(1_700_000_000_000_000_001), "2023-11-14T22:13:20.000000001Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999999999Z");
        assert!(!progress(5 << 20).is_finished() && progress(1).is_hidden());
    }
}
