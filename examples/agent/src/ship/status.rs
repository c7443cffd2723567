//! How far it is: numbers that the agent writes and whoever wants to show them reads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::figures::{grouped, size, table};

/// What was shipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shipped {
    /// Files that lines were read from.
    pub files: u64,
    /// Lines delivered, those that were refused included; of several joined lines one.
    pub lines: u64,
    /// Bytes of these lines as read, line ends included.
    pub bytes: u64,
    /// Batches that were answered for good.
    pub batches: u64,
    /// Pushes that were sent again.
    pub retries: u64,
    /// Lines that the server refused to store.
    pub refused_lines: u64,
    /// What the server said when it first refused a line.
    pub first_refusal: Option<String>,
    /// Lines that were cut because they were too long.
    pub cut_lines: u64,
    /// Lines that were read and not delivered before the end.
    pub undelivered_lines: u64,
    /// Those of them that came from standard input, which nobody can read again.
    pub lost_lines: u64,
    /// From the start to the last answer.
    #[serde(rename = "elapsed_seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What was shipped so far.
    #[serde(flatten)]
    pub shipped: Shipped,
    /// Bytes of the files behind what was shipped.
    pub bytes_left: u64,
    /// Lines that are being sent.
    pub lines_under_way: u64,
    /// Why they are not taken, if they are not.
    pub trouble: Option<String>,
}

/// Where progress is written and read. Clones are the same board.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Progress>>);

impl Board {
    /// How far it is now.
    pub fn read(&self) -> Progress {
        self.0.lock().clone()
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.lock());
    }
}

impl Progress {
    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text are JSON")
    }
}

impl Shipped {
    /// Lines that were read, not delivered, and will not be read again; where offsets are kept, those of files will.
    pub fn gone_lines(&self, offsets_are_kept: bool) -> u64 {
        if offsets_are_kept { self.lost_lines } else { self.undelivered_lines }
    }

    /// The table at the end.
    pub fn table(&self) -> String {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people to read"
        )]
        let rate = |of: u64| (of as f64 / seconds) as u64;
        let mut rows = vec![
            ["files".to_owned(), grouped(self.files)],
            ["lines".to_owned(), grouped(self.lines)],
            ["bytes".to_owned(), size(self.bytes as f64)],
            ["seconds".to_owned(), format!("{seconds:.1}")],
            ["lines a second".to_owned(), grouped(rate(self.lines))],
            ["bytes a second".to_owned(), size(rate(self.bytes) as f64)],
            ["batches".to_owned(), grouped(self.batches)],
            ["sent again".to_owned(), grouped(self.retries)],
            ["refused".to_owned(), grouped(self.refused_lines)],
        ];
        for (name, count) in
            [("cut, because too long", self.cut_lines), ("not delivered", self.undelivered_lines)]
        {
            if count > 0 {
                rows.push([name.to_owned(), grouped(count)]);
            }
        }
        let mut out = table(["shipped", ""], rows).to_string();
        if let Some(refusal) = &self.first_refusal {
            out.push_str("\nfirst refusal: ");
            out.push_str(refusal);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Shipped {
        Shipped {
            files: 2,
            lines: 1_000_000,
            bytes: 151_000_000,
            elapsed: Duration::from_secs(2),
            ..Shipped::default()
        }
    }

    #[test]
    fn the_table_has_what_happened_and_not_what_did_not() {
        let text = shipped().table();
        for figure in ["1,000,000", "151.0 MB", "500,000", "75.5 MB"] {
            assert!(text.contains(figure), "{figure}\n{text}");
        }
        assert!(!text.contains("too long") && !text.contains("not delivered"), "{text}");
        let refused = Shipped {
            refused_lines: 7,
            first_refusal: Some("400: no".to_owned()),
            cut_lines: 3,
            ..shipped()
        };
        assert!(refused.table().contains("too long") && refused.table().ends_with("first refusal: 400: no"));
    }

    #[test]
    fn status_is_one_line_of_flat_json() {
        let board = Board::default();
        board.write(|progress| {
            progress.shipped = shipped();
            progress.trouble = Some("server answered 401: a\nb".to_owned());
        });
        let line = board.clone().read().json();
        assert!(!line.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["lines"], &read["elapsed_seconds"]), (&1_000_000.into(), &2.0.into()));
        assert_eq!(read["trouble"], "server answered 401: a\nb");
        assert_eq!((&read["first_refusal"], &read["bytes_left"]), (&serde_json::Value::Null, &0.into()));
    }
}
