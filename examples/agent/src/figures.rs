//! Figures as people read them, and tables of them.

use comfy_table::{CellAlignment, Table, presets};

/// What stands where a figure is not known.
pub const UNKNOWN: &str = "-";

/// A whole number with its thousands set apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Same for a value that is a whole number where it is known.
pub fn count(number: Option<f64>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), |number| grouped(whole(number)))
}

/// Bytes in the decimal unit that suits them: `512 B`, `1.5 kB`, `38.2 MB`.
pub fn size(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1e3 {
        return format!("{bytes:.0} B");
    }
    let mut scaled = bytes / 1e3;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < UNITS.len() {
        scaled /= 1e3;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// Seconds in the unit that suits them: `1.25 s`, `31.4 ms`, `85 us`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.001 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} us", s * 1e6),
    }
}

/// A table under `header`, the first column to the left and figures to the right, as wide as it needs to be.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn whole(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and counters are above 0"
    )]
    let whole = number.round() as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_units() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([None, Some(2_000.4)].map(count), ["-", "2,000"]);
        let sizes = [0.0, 999.0, 1_000.0, 999_950.0, 38_200_000.0, 5e15].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.0 MB", "38.2 MB", "5000.0 TB"]);
        assert_eq!([0.0, 0.000_085, 0.031_4, 1.254].map(seconds), ["0 us", "85 us", "31.4 ms", "1.25 s"]);
    }

    #[test]
    fn tables_are_aligned_at_their_figures() {
        let rows = [["first".to_owned(), "1,000".to_owned()], ["second".to_owned(), "7".to_owned()]];
        let expected = "\
┌────────┬───────┐
│ what   ┆   how │
╞════════╪═══════╡
│ first  ┆ 1,000 │
│ second ┆     7 │
└────────┴───────┘";
        assert_eq!(table(["what", "how"], rows).to_string(), expected);
    }
}
