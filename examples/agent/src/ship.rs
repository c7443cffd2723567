//! The agent in its simplest form: reads files to their end, and delivers every line or says which it did not.
//!
//! Invariants: a batch holds lines of one file in order; the next batch is sent after the server's last word on the
//! one before; timestamps rise by at least 1 ns a line, so that equal lines stay several. A push that was retried
//! repeats its timestamps, so what is stored twice is recognised as the same.

mod batch;
mod delivery;
pub mod identity;
pub mod joiner;
pub mod judge;
mod lines;
pub mod parcel;
pub mod positions;
pub mod stamp;
pub mod times;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufRead, BufReader};

pub use batch::{Batch, CONTENT_TYPE};
pub use delivery::{Courier, Delivery, GivenUp, PUSH_PATH, Receipt, Retry};

use crate::clock::{Clock, monotonic_ns};
use crate::http_client::{HttpClient, HttpError};
use crate::log::chain;
use lines::Lines;

/// Bytes read from a file at a time.
const READ_BYTES: usize = 256 << 10;

/// What a [`Shipper`] can be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sent as `X-Scope-OrgID`. Default none.
    pub tenant: Option<String>,
    /// The label `host`. Default the machine's name.
    pub host: String,
    /// A batch whose lines and timestamps take so many bytes is sent. Default 1 MiB.
    pub batch_bytes: usize,
    /// Longer lines are cut. Default 1 MiB.
    pub max_line_bytes: usize,
    /// How long and how often to try.
    pub retry: Retry,
    /// Where timestamps come from. Default the machine's clock.
    pub clock: Clock,
    /// Chooses the jitter of retries. Default chosen by the machine.
    pub seed: u64,
}

/// Ships files to a server.
#[derive(Debug)]
pub struct Shipper {
    options: Options,
    courier: Courier,
    last_ns: i64,
    shipped: Shipped,
}

/// What was shipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shipped {
    /// Files read to their end.
    pub files: u64,
    /// Lines delivered, those that were refused included.
    pub lines: u64,
    /// Bytes of these lines as read, line ends included.
    pub bytes: u64,
    /// Pushes that were answered for good.
    pub batches: u64,
    /// Pushes that were sent again.
    pub retries: u64,
    /// Lines that the server refused to store.
    pub refused_lines: u64,
    /// What the server said when it first refused a line.
    pub first_refusal: Option<String>,
    /// Lines that were cut because they were too long.
    pub cut_lines: u64,
    /// From the start of the first file to the last answer.
    pub elapsed: Duration,
}

/// Why shipping stopped. What was shipped before is in [`Shipper::shipped`].
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// Correct the address or the tenant.
    #[error(transparent)]
    Server(#[from] HttpError),
    /// What comes before this line was delivered; it and what comes after it was not.
    #[error("{} cannot be read from line {line} on", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Number of the line, from 1.
        line: u64,
        /// What happened.
        source: io::Error,
    },
    /// Ship again from line `first` when the server is back.
    #[error("lines {first} to {last} of {} were not delivered, and none after them", file.display())]
    Lost {
        /// The file.
        file: PathBuf,
        /// Number of the first line that is not delivered, from 1.
        first: u64,
        /// Number of the last line of the batch.
        last: u64,
        /// Why.
        source: Box<GivenUp>,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tenant: None,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            batch_bytes: 1 << 20,
            max_line_bytes: 1 << 20,
            retry: Retry::default(),
            clock: Clock::System,
            seed: seed(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: agents that fail together must not come back together"
)]
fn seed() -> u64 {
    getrandom::u64().unwrap_or_default()
}

impl Shipper {
    /// Ships to the server at `url`, such as `http://127.0.0.1:3100`.
    ///
    /// # Errors
    /// [`ShipError::Server`] where address or tenant cannot be used.
    pub fn new(url: &str, options: Options) -> Result<Self, ShipError> {
        let mut client = HttpClient::new(url)?;
        if let Some(tenant) = &options.tenant {
            client = client.for_tenant(tenant)?;
        }
        let courier = Courier::new(client, options.retry.clone(), options.seed);
        Ok(Self { courier, options, last_ns: 0, shipped: Shipped::default() })
    }

    /// Ships every line of `files`, one file after the other, with a progress bar where a terminal sees it.
    ///
    /// # Errors
    /// [`ShipError`] at the first file that cannot be read or batch that cannot be delivered.
    pub async fn ship(&mut self, files: &[PathBuf]) -> Result<Shipped, ShipError> {
        let mut opened = Vec::with_capacity(files.len());
        let mut total = 0;
        for path in files {
            let read_error = |source| ShipError::Read { file: path.clone(), line: 1, source };
            let file = tokio::fs::File::open(path).await.map_err(read_error)?;
            total += file.metadata().await.map_err(read_error)?.len();
            opened.push((path, file));
        }
        let bar = progress_bar(total);
        for (path, file) in opened {
            bar.set_message(path.display().to_string());
            self.ship_from(path, BufReader::with_capacity(READ_BYTES, file), &bar).await?;
        }
        bar.finish_and_clear();
        Ok(self.shipped.clone())
    }

    /// Ships every line of `reader`, known to the server as file `path`.
    ///
    /// # Errors
    /// [`ShipError::Read`] or [`ShipError::Lost`].
    pub async fn ship_reader<R: AsyncBufRead + Unpin>(
        &mut self,
        path: &Path,
        reader: R,
    ) -> Result<Shipped, ShipError> {
        self.ship_from(path, reader, &ProgressBar::hidden()).await?;
        Ok(self.shipped.clone())
    }

    /// What was delivered so far.
    pub fn shipped(&self) -> &Shipped {
        &self.shipped
    }

    async fn ship_from<R>(&mut self, path: &Path, reader: R, bar: &ProgressBar) -> Result<(), ShipError>
    where
        R: AsyncBufRead + Unpin,
    {
        let started_ns = monotonic_ns();
        let before = self.shipped.elapsed;
        let mut batch = Batch::default();
        let stream = batch.add_stream(&self.labels(path));
        let mut lines = Lines::new(reader, self.options.max_line_bytes);
        let mut line = Vec::new();
        let mut pending = Pending::default();
        loop {
            let read = lines.next(&mut line).await;
            if let Ok(Some(taken)) = read {
                self.last_ns = self.options.clock.wall_ns().max(self.last_ns + 1);
                batch.push(stream, self.last_ns, &line);
                pending.lines += 1;
                pending.bytes += taken.bytes;
                pending.cut += u64::from(taken.cut);
            }
            let more = matches!(read, Ok(Some(_)));
            if pending.lines > 0 && (!more || batch.entry_bytes() >= self.options.batch_bytes) {
                self.deliver(path, &mut batch, &mut pending).await?;
                self.shipped.elapsed = before + Duration::from_nanos(monotonic_ns() - started_ns);
                bar.set_position(self.shipped.bytes);
                bar.set_prefix(rate(&self.shipped));
            }
            if !more {
                let line = pending.delivered + 1;
                read.map_err(|source| ShipError::Read { file: path.to_owned(), line, source })?;
                self.shipped.files += 1;
                return Ok(());
            }
        }
    }

    async fn deliver(
        &mut self,
        path: &Path,
        batch: &mut Batch,
        pending: &mut Pending,
    ) -> Result<(), ShipError> {
        let sent = self.courier.send(batch.encode()).await;
        self.shipped.retries = self.courier.retries();
        log(path, pending, &sent);
        let receipt = sent.map_err(|source| ShipError::Lost {
            file: path.to_owned(),
            first: pending.delivered + 1,
            last: pending.delivered + pending.lines,
            source: Box::new(source),
        })?;
        if let Delivery::Refused { status, message, lines } = receipt.delivery {
            self.shipped.refused_lines += lines.unwrap_or(pending.lines);
            self.shipped.first_refusal.get_or_insert_with(|| format!("{status}: {message}"));
        }
        self.shipped.batches += 1;
        self.shipped.lines += pending.lines;
        self.shipped.bytes += pending.bytes;
        self.shipped.cut_lines += pending.cut;
        *pending = Pending { delivered: pending.delivered + pending.lines, ..Pending::default() };
        Ok(())
    }

    fn labels(&self, path: &Path) -> [(String, String); 3] {
        let filename = path.to_string_lossy().into_owned();
        [("filename", filename), ("host", self.options.host.clone()), ("job", "ship".to_owned())]
            .map(|(name, value)| (name.to_owned(), value))
    }
}

/// What of a file is in the batch, behind the lines that are delivered.
#[derive(Debug, Default)]
struct Pending {
    delivered: u64,
    lines: u64,
    bytes: u64,
    cut: u64,
}

/// What became of a batch, in one line under its trace.
fn log(path: &Path, pending: &Pending, sent: &Result<Receipt, GivenUp>) {
    let (file, first, lines) = (path.display(), pending.delivered + 1, pending.lines);
    match sent {
        Ok(Receipt { delivery: Delivery::Stored, trace_id, answered_trace_id, tries }) => {
            tracing::debug!(%trace_id, answered_trace_id, %file, first, lines, tries, "batch delivered");
        }
        Ok(Receipt {
            delivery: Delivery::Refused { status, message, .. },
            trace_id,
            answered_trace_id,
            tries,
        }) => {
            let status = status.as_u16();
            tracing::warn!(%trace_id, answered_trace_id, %file, first, lines, tries, status, message, "batch refused");
        }
        Err(GivenUp { tries, trace_id, source }) => {
            let error = chain(source);
            tracing::warn!(%trace_id, %file, first, lines, tries, error, "batch not delivered");
        }
    }
}

/// On standard error, and hidden where that is no terminal.
fn progress_bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:32} {bytes:>11} of {total_bytes}, {prefix}, {eta} left  {wide_msg}",
    );
    ProgressBar::new(bytes)
        .with_style(style.expect("the template is a constant that every test of shipping files uses"))
        .with_prefix("0 lines/s")
}

fn rate(shipped: &Shipped) -> String {
    let seconds = shipped.elapsed.as_secs_f64().max(1e-9);
    format!("{:.0} lines/s", shipped.lines as f64 / seconds)
}

#[cfg(test)]
mod tests;
