//! Where the records of all instances lie: small values under keys, compared and swapped, listed and watched.
//!
//! What every [`Store`] keeps (`store::conformance`, feature `conformance`, tests it):
//! - Versions only rise, over deletion and creation anew too: what compares equal has not changed in between.
//! - A listing, and then a watch from its revision on, show the last state of every key. States in between may be left
//!   out, deletions are shown, and a watch that cannot go on says so or begins with a listing anew: there are no gaps.
//! - A put that lost to another one tells what is there.
//! - An error leaves it open whether a write happened, and a future that is dropped does too.
//!
//! In a store without a server (feature `gossip`) two writers on different nodes may both
//! succeed; one of them then wins everywhere. Records are versioned by their instances and merge in any order, so the
//! ring above needs no more than that.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "etcd")]
mod etcd;
mod file;
#[cfg(feature = "gossip")]
mod gossip;
mod memory;
mod timed;
mod update;

#[cfg(feature = "etcd")]
pub use etcd::{EtcdOptions, EtcdStore};
pub use file::{FileOptions, FileStore};
#[cfg(feature = "gossip")]
pub use gossip::{GossipError, GossipOptions, GossipStore, Hearing};
pub use memory::{MemoryStore, Trouble};
pub use timed::Timed;
pub use update::{Change, UpdateError, Updated, update};

/// The longest value that every store takes, in bytes. An instance's record has some hundred, one of 512 tokens 2 kB.
pub const MAX_VALUE_BYTES: usize = 1 << 19;

/// Small values under keys. Keys are of [`RecordKind`](crate::codec::RecordKind).
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// All records.
    ///
    /// # Errors
    ///
    /// If the store cannot be asked. Keep what was known.
    async fn list(&self) -> Result<Listing, StoreError>;

    /// One record.
    ///
    /// # Errors
    ///
    /// If the store cannot be asked. Keep what was known.
    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError>;

    /// Writes a value if what is there is as expected; its version.
    ///
    /// # Errors
    ///
    /// If something else is there, or the store cannot be asked; then the value may be written or not.
    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError>;

    /// Deletes a record if it is as expected. If there is none, that is well as long as none had to be there.
    ///
    /// # Errors
    ///
    /// If something else is there, or the store cannot be asked; then the record may be deleted or not.
    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError>;

    /// What changes after a revision that a listing or a change had.
    ///
    /// # Errors
    ///
    /// If the store cannot be asked.
    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError>;
}

/// What changes in a store.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next change. Dropped while it waits, it loses nothing.
    ///
    /// # Errors
    ///
    /// If the watch is broken: list and watch anew.
    async fn next(&mut self) -> Result<News, StoreError>;
}

/// A place in the history of a store; of a record, when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A value and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Arc<str>,
    /// Its bytes.
    pub value: Bytes,
    /// When it was written.
    pub version: Revision,
}

/// All records at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// By ascending key.
    pub records: Vec<Record>,
    /// From where a watch goes on.
    pub revision: Revision,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A record was written.
    Put(Record),
    /// A record was deleted.
    Delete {
        /// Its key.
        key: Arc<str>,
    },
    /// What changed is not known any more; this is all there is now.
    Resync(Listing),
}

/// What has to be there for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// What was written then.
    Version(Revision),
    /// Anything or nothing.
    Any,
}

impl Expect {
    /// What was read, unchanged.
    pub fn unchanged(read: Option<&Record>) -> Self {
        read.map_or(Expect::Absent, |record| Expect::Version(record.version))
    }

    /// Whether this is there.
    pub fn is_met_by(self, version: Option<Revision>) -> bool {
        match self {
            Expect::Absent => version.is_none(),
            Expect::Version(expected) => version == Some(expected),
            Expect::Any => true,
        }
    }
}

/// Why a store was not asked, or does not tell what became of it.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Try again later.
    #[error("the store cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    /// Try again later.
    #[error("the store did not answer within {after:?}")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// Shorten it: this store never takes it.
    #[error("{what} of {found} bytes exceeds the store's limit of {max}")]
    TooLarge {
        /// The key or the value.
        what: &'static str,
        /// Its bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Look after the store: what it holds is not what it wrote.
    #[error("the store is broken: {what}")]
    Broken {
        /// What was found.
        what: String,
    },
}

impl StoreError {
    /// Not to be reached, by an error from below.
    pub fn unreachable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        StoreError::Unreachable(source.into())
    }
}

/// Why a write is not known to have happened.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It did not happen: something else is there. Decide anew by what is.
    #[error("something else is there")]
    Lost {
        /// What.
        current: Option<Record>,
    },
    /// It may have happened or not.
    #[error("it is not known whether it was written")]
    Store(#[from] StoreError),
}

/// Refuses a value that is too long for a store.
fn check_value(value: &Bytes, max: usize) -> Result<(), StoreError> {
    if value.len() <= max {
        return Ok(());
    }
    Err(StoreError::TooLarge { what: "value", found: value.len(), max })
}
