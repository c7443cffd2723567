//! The agent: reads files, follows them where it is told to, and delivers every line at least once.
//!
//! A1: nothing is given up while the server is away: the agent holds the one batch that it has, reads no more, and keeps
//! files open that are rotated away meanwhile.
//! A2: offsets move only after the server's last word on the lines before them. A3: lines of a file keep their order,
//! and equal lines stay several ([`times`]). A4: a batch that was under way when the agent died is sent again as it was,
//! so what is stored twice is recognised as the same ([`positions`]).
//!
//! ```text
//!  discover   names, directories, patterns, looked at again each second
//!  watch      keeps up with them, also while a batch is held
//!  tails      files by number and beginning: rotated, truncated, written anew (identity)
//!  joiner     bytes to events: a line, or a stack trace
//!  stamp      the time that a line says;  times: no two equal lines become one
//!  load       a batch, and of which bytes it is;  parcel: how it is packed
//!  ledger     what is settled and what is under way;  positions: saved before anything is sent
//!  delivery   tries again, holds, halves;  judge: what an answer means for the lines
//! ```

pub mod batch;
pub mod delivery;
pub mod discover;
mod disk;
pub mod identity;
pub mod joiner;
pub mod judge;
mod ledger;
pub mod load;
pub mod pace;
pub mod parcel;
pub mod positions;
mod run;
pub mod stamp;
pub mod status;
mod stdin;
pub mod tails;
pub mod times;
mod watch;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use regex::bytes::Regex;

pub use batch::{Batch, CONTENT_TYPE};
pub use delivery::{Courier, Delivery, GivenUp, PUSH_PATH, Receipt, Retry};
pub use parcel::Packing;
pub use run::{Agent, Stop};
pub use status::{Board, Progress, Shipped};

use crate::http_client::HttpError;
use positions::PositionsError;
use stamp::StampError;

/// What an [`Agent`] can be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the servers are, such as `http://127.0.0.1:3100`; the first that is up gets the lines. Default none.
    pub urls: Vec<String>,
    /// Files, directories, patterns, and `-` for standard input. Default none.
    pub sources: Vec<String>,
    /// Whether files are followed: they grow, are rotated and truncated, and others come. Default no: they are read to
    /// their end.
    pub follow: bool,
    /// Where offsets are kept. Default nowhere: every run reads files from their start.
    pub positions: Option<PathBuf>,
    /// Sent as `X-Scope-OrgID`. Default none.
    pub tenant: Option<String>,
    /// Labels of every stream, beside `filename`. Default `host`, the machine's name, and `job`, `ship`.
    pub labels: Vec<(String, String)>,
    /// The notation of the times that lines say ([`stamp`]). Default none: lines are of the time they are read at.
    pub timestamp: Option<String>,
    /// The time zone of times that do not say theirs. Default the machine's.
    pub zone: TimeZone,
    /// What first lines of events match; other lines belong to the one before. Default none: lines are events.
    pub multiline: Option<Regex>,
    /// A batch whose lines and times take so many bytes is sent. Default 1 MiB.
    pub batch_bytes: usize,
    /// A batch is sent so long after its first line. Default 1 s.
    pub batch_wait: Duration,
    /// Longer lines are cut, and longer events are several. Default 256 KiB, the longest that servers take as a rule.
    pub max_line_bytes: usize,
    /// How pushes are packed. Default snappy.
    pub packing: Packing,
    /// How long and how often to try.
    pub retry: Retry,
    /// How long the last batch may take after the agent was told to stop. Default 10 s; what is not delivered then stays
    /// at its offset, and lines of standard input are lost. Of these, what comes within a moment is still taken.
    pub stop_within: Duration,
    /// Chooses the jitter of retries. Default chosen by the machine.
    pub seed: u64,
}

/// Why shipping stopped. What was shipped before is on the [`Board`].
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// Correct the address or the tenant.
    #[error(transparent)]
    Server(#[from] HttpError),
    /// Correct the pattern.
    #[error("a pattern of file names cannot be read")]
    Pattern(#[from] glob::PatternError),
    /// Correct the label.
    #[error("label {name:?} is not a name of letters, digits and underscores that begins with no digit")]
    Label {
        /// The name.
        name: String,
    },
    /// Correct the format.
    #[error(transparent)]
    Timestamp(#[from] StampError),
    /// See to the file of positions: nothing was sent.
    #[error(transparent)]
    Positions(#[from] PositionsError),
    /// Name something to ship.
    #[error("there is nothing to ship")]
    Nothing,
    /// What comes before this byte was delivered; it and what comes after it was not.
    #[error("{} cannot be read from byte {offset} on", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Number of the byte, from 0.
        offset: u64,
        /// What happened.
        source: io::Error,
    },
    /// Ship again when the server is back: the last lines that were read are not known to be stored.
    #[error("{lines} lines were not delivered")]
    Lost {
        /// How many.
        lines: u64,
        /// Why.
        source: Box<GivenUp>,
    },
}

impl Default for Options {
    fn default() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            urls: Vec::new(),
            sources: Vec::new(),
            follow: false,
            positions: None,
            tenant: None,
            labels: vec![("host".to_owned(), host), ("job".to_owned(), "ship".to_owned())],
            timestamp: None,
            zone: TimeZone::system(),
            multiline: None,
            batch_bytes: 1 << 20,
            batch_wait: Duration::from_secs(1),
            max_line_bytes: 256 << 10,
            packing: Packing::default(),
            retry: Retry::default(),
            stop_within: Duration::from_secs(10),
            seed: seed(),
        }
    }
}

impl Options {
    /// Gives every stream a label, in the place of one of this name.
    ///
    /// # Errors
    /// [`ShipError::Label`] where servers would refuse the name.
    pub fn label(&mut self, name: &str, value: &str) -> Result<(), ShipError> {
        let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if !starts || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(ShipError::Label { name: name.to_owned() });
        }
        self.labels.retain(|(known, _)| known != name);
        self.labels.push((name.to_owned(), value.to_owned()));
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: agents that fail together must not come back together"
)]
fn seed() -> u64 {
    getrandom::u64().unwrap_or_default()
}
