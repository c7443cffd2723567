//! What all that runs beside a process shares: its clock, where it reports to, and how long it waits between attempts.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Notice, Now};
use super::observe::Remark;
use crate::error::BuildError;
use crate::store::{StoreError, UpdateError};
use crate::token_file::SaveError;

/// Tells the time. `mono_ns` has to go as tokio's timer does, which wakes who waits for it.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Where reports go: a log.
pub type Reporter = Arc<dyn Fn(Report) + Send + Sync>;

/// What an operator should know. Whatever it was that failed is tried again, but for a drain.
#[non_exhaustive]
#[derive(Debug)]
pub enum Report {
    /// Of the instance's own life.
    Notice(Notice),
    /// Of a record of somebody's.
    Remark(Remark),
    /// The store cannot be listed or watched; what was known stands.
    Watch(StoreError),
    /// A record is not known to be written.
    Write(UpdateError),
    /// The token file cannot be read.
    NotLoaded(std::io::Error),
    /// The token file is not known to be saved.
    NotSaved(Unsaved),
    /// The drain of an instance that is about to leave panicked: it stays LEAVING, with what it holds, until its stop is
    /// called off.
    DrainLost,
    /// No ring can be made of the members; the last one stays in use, without those who came since. Reported when it
    /// changes why.
    Ring(BuildError),
    /// An instance was silent for so long that it was made to leave.
    Forgotten {
        /// Which.
        id: Arc<str>,
    },
    /// An instance gave partitions up that are ACTIVE and that nobody else owns: they are written and not read. Make them
    /// INACTIVE, or have somebody own them.
    Unread {
        /// Which.
        partitions: Vec<u32>,
    },
}

/// Why the token file is not known to be saved.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Unsaved {
    /// The disk says why.
    #[error(transparent)]
    Failed(#[from] SaveError),
    /// The disk did not answer in time; until it does no other attempt is made.
    #[error("the disk did not answer within {after:?}")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
}

/// Nothing that comes round again does so more often, whatever the options say.
pub(crate) const LEAST_PERIOD: Duration = Duration::from_millis(100);

/// Longer and longer waits between attempts, up to 5 s, a little apart for those that fail together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(5);

    pub(crate) fn next(&mut self, now: Now) -> Duration {
        let wait = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::LAST);
        self.failures = self.failures.saturating_add(1);
        // The last digits of clocks agree nowhere.
        let aside = u32::try_from(now.mono_ns / 1_000 % 256).unwrap_or_default();
        wait + wait * aside / 512
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

pub(crate) async fn sleep_until(clock: &Clock, at_ns: Option<u64>) {
    match at_ns {
        Some(at_ns) => tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(clock().mono_ns))).await,
        None => std::future::pending().await,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Notice(notice) => write!(f, "{notice:?}"),
            Report::Remark(remark) => write!(f, "{remark:?}"),
            Report::Watch(error) => write!(f, "the ring's store is not watched: {}", Causes(error)),
            Report::Write(error) => write!(f, "the ring's store was not written: {}", Causes(error)),
            Report::NotLoaded(error) => write!(f, "the token file cannot be read: {error}"),
            Report::NotSaved(error) => write!(f, "{error}"),
            Report::DrainLost => f.write_str("the drain panicked, and the instance does not leave"),
            Report::Ring(error) => write!(f, "no ring can be made of the members: {error}"),
            Report::Forgotten { id } => write!(f, "{id} was silent for long and is forgotten"),
            Report::Unread { partitions } => {
                write!(f, "partitions {partitions:?} are ACTIVE, and nobody owns them any more")
            }
        }
    }
}

/// An error with what caused it: a log shows no sources by itself.
struct Causes<'e>(&'e dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_the_store_said() {
        let report = Report::Write(StoreError::unreachable("connection refused").into());
        let text = report.to_string();
        assert!(text.ends_with("the store cannot be reached: connection refused"), "{text}");
    }
}
