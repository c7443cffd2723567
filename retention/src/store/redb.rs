//! [`StateStore`] in one redb file: every commit is one durable transaction. Calls block their thread for as
//! long as the disk takes. A record that does not parse is an error for whoever asks, so damage stops deletion.
//!
//! After an I/O error redb refuses all further work, so the file is closed, and opened anew at the next call.

use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Access, Change, Fence, FenceGuard, Intent, Mark, Progress, StateStore};
use crate::error::Error;
use crate::hold::Hold;

/// The layout this build reads and writes.
const FORMAT: u64 = 1;
/// What of the file redb may keep in memory; by default that is a gigabyte, and the state is small.
const CACHE_BYTES: usize = 64 << 20;
const FORMAT_KEY: &str = "format";
const EPOCH_KEY: &str = "hold_epoch";

type Json = &'static [u8];
/// (tenant, chunk id)
type Key = (&'static str, &'static str);

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const WATERMARK: TableDefinition<'static, (), i64> = TableDefinition::new("watermark");
const HOLDS: TableDefinition<'static, &'static str, Json> = TableDefinition::new("holds");
const MARKS: TableDefinition<'static, Key, Json> = TableDefinition::new("marks");
const JOURNAL: TableDefinition<'static, u64, Json> = TableDefinition::new("journal");
const OPEN: TableDefinition<'static, Key, u64> = TableDefinition::new("open_intents");
const PROGRESS: TableDefinition<'static, &'static str, Json> = TableDefinition::new("progress");

/// Retention's state in a redb database, which locks its file against other processes; hence the fence is a
/// lock in this one.
pub struct RedbState {
    open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
    /// None after a failure, until the next call.
    database: Mutex<Option<Arc<Database>>>,
    fence: Fence,
}

impl fmt::Debug for RedbState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbState").field("database", &self.database).finish_non_exhaustive()
    }
}

impl RedbState {
    /// Opens the state at `path`, or creates it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be opened, [`Error::Format`] when a newer build wrote it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        Self::with(move || Database::builder().set_cache_size(CACHE_BYTES).create(&path))
    }

    /// Keeps the state in the database that `open` opens, with a backend of the caller's choice, now and after
    /// each failure. It must be this process's alone.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with(
        open: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let state = Self { open: Box::new(open), database: Mutex::default(), fence: Fence::new() };
        state.write("creating the tables", |txn| {
            let mut meta = txn.open_table(META)?;
            let found = meta.get(FORMAT_KEY)?.map(|format| format.value());
            match found {
                Some(found) if found != FORMAT => {
                    return Err(Error::Format { found, supported: FORMAT }.into());
                }
                Some(_) => {}
                None => drop(meta.insert(FORMAT_KEY, FORMAT)?),
            }
            // Reading a table that was never opened for writing is an error.
            txn.open_table(WATERMARK)?;
            txn.open_table(HOLDS)?;
            txn.open_table(MARKS)?;
            txn.open_table(JOURNAL)?;
            txn.open_table(OPEN)?;
            txn.open_table(PROGRESS)?;
            Ok(())
        })?;
        Ok(state)
    }

    /// Runs `body` in a transaction that is committed if it succeeds and leaves no trace if it does not.
    fn write<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        self.run(operation, |database| {
            let txn = database.begin_write()?;
            let done = body(&txn)?;
            txn.commit()?;
            Ok(done)
        })
    }

    fn read<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        self.run(operation, |database| body(&database.begin_read()?))
    }

    /// Runs `body` on the open database, which is let go of if it fails.
    fn run<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let database = self.database()?;
        body(&database).map_err(|fault| match fault {
            Fault::Redb(error) => {
                let mut open = self.database.lock().unwrap_or_else(PoisonError::into_inner);
                open.take_if(|current| Arc::ptr_eq(current, &database));
                Error::unavailable(operation, error)
            }
            Fault::Ours(error) => error,
        })
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        let mut open = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*open {
            return Ok(Arc::clone(database));
        }
        let opened = (self.open)().map_err(|error| Error::unavailable("opening the state", error))?;
        Ok(Arc::clone(open.insert(Arc::new(opened))))
    }
}

/// What can go wrong inside a transaction.
enum Fault {
    Redb(Box<redb::Error>),
    Ours(Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have no maps with keys that are not strings")
}

fn decode<T: DeserializeOwned>(what: &'static str, key: impl ToString, json: &[u8]) -> Result<T, Error> {
    let unreadable = |error| Error::Unreadable { what, key: key.to_string(), source: Box::new(error) };
    serde_json::from_slice(json).map_err(unreadable)
}

/// Applies one change; answers the sequence number of an intent.
fn apply(txn: &WriteTransaction, change: &Change) -> Result<Option<u64>, Fault> {
    match change {
        Change::CreateHold(hold) => {
            if txn.open_table(HOLDS)?.insert(hold.id.as_str(), encode(hold).as_slice())?.is_some() {
                return Err(Error::HoldExists { id: hold.id.clone() }.into());
            }
            advance_epoch(txn)?;
        }
        Change::ReleaseHold { id, release } => {
            let mut holds = txn.open_table(HOLDS)?;
            let known = holds.get(id.as_str())?.map(|json| decode::<Hold>("hold", id, json.value()));
            let mut hold = known.ok_or_else(|| Error::HoldUnknown { id: id.clone() })??;
            if let Some(released) = hold.released {
                return Err(Error::HoldReleased { id: id.clone(), at_ns: released.at_ns }.into());
            }
            hold.released = Some(release.clone());
            holds.insert(id.as_str(), encode(&hold).as_slice())?;
            advance_epoch(txn)?;
        }
        Change::PutMark(mark) => {
            let key = (mark.chunk.tenant.as_str(), mark.chunk.id.as_str());
            txn.open_table(MARKS)?.insert(key, encode(mark).as_slice())?;
        }
        Change::RemoveMark { tenant, chunk } => {
            txn.open_table(MARKS)?.remove((tenant.as_str(), chunk.as_str()))?;
        }
        Change::Intend(doomed) => {
            let (tenant, chunk) = (&doomed.chunk.tenant, &doomed.chunk.id);
            let mut journal = txn.open_table(JOURNAL)?;
            let seq = journal.last()?.map_or(0, |(seq, _)| seq.value()) + 1;
            let before =
                txn.open_table(OPEN)?.insert((tenant.as_str(), chunk.as_str()), seq)?.map(|seq| seq.value());
            if let Some(seq) = before {
                return Err(Error::IntentOpen { tenant: tenant.clone(), chunk: chunk.clone(), seq }.into());
            }
            journal.insert(seq, encode(&Intent::open(seq, doomed.clone())).as_slice())?;
            return Ok(Some(seq));
        }
        Change::Close { seq, closed } => {
            let mut journal = txn.open_table(JOURNAL)?;
            let known =
                journal.get(seq)?.map(|json| decode::<Intent>("intent", seq, json.value())).transpose()?;
            let open = known.filter(|intent| intent.closed.is_none());
            let intent = open.ok_or(Error::IntentNotOpen { seq: *seq })?;
            txn.open_table(OPEN)?.remove((intent.chunk.tenant.as_str(), intent.chunk.id.as_str()))?;
            let intent = Intent { closed: Some(closed.clone()), ..intent };
            journal.insert(seq, encode(&intent).as_slice())?;
        }
        Change::SetProgress { tenant, progress } => {
            txn.open_table(PROGRESS)?.insert(tenant.as_str(), encode(progress).as_slice())?;
        }
        Change::SetWatermark(at_ns) => {
            txn.open_table(WATERMARK)?.insert((), at_ns)?;
        }
    }
    Ok(None)
}

fn advance_epoch(txn: &WriteTransaction) -> Result<(), Fault> {
    let mut meta = txn.open_table(META)?;
    let epoch = meta.get(EPOCH_KEY)?.map_or(0, |epoch| epoch.value());
    meta.insert(EPOCH_KEY, epoch + 1)?;
    Ok(())
}

#[async_trait]
impl StateStore for RedbState {
    async fn fence(&self, access: Access) -> Result<FenceGuard, Error> {
        Ok(self.fence.acquire(access).await)
    }

    async fn commit(&self, changes: &[Change]) -> Result<Vec<u64>, Error> {
        self.write("committing changes", |txn| {
            changes.iter().filter_map(|change| apply(txn, change).transpose()).collect()
        })
    }

    async fn hold_epoch(&self) -> Result<u64, Error> {
        self.read("reading the hold epoch", |txn| {
            Ok(txn.open_table(META)?.get(EPOCH_KEY)?.map_or(0, |epoch| epoch.value()))
        })
    }

    async fn holds(&self) -> Result<Vec<Hold>, Error> {
        self.read("reading holds", |txn| {
            let mut found = Vec::new();
            for entry in txn.open_table(HOLDS)?.range::<&str>(..)? {
                let (id, json) = entry?;
                found.push(decode("hold", id.value(), json.value())?);
            }
            Ok(found)
        })
    }

    async fn marks(
        &self,
        tenant: &str,
        after: Option<&str>,
        through: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Mark>, Error> {
        self.read("reading marks", |txn| {
            let mut found = Vec::new();
            for entry in txn
                .open_table(MARKS)?
                .range::<(&str, &str)>((start_after(tenant, after), Bound::Unbounded))?
            {
                let (key, json) = entry?;
                let (owner, chunk) = key.value();
                if found.len() == limit || owner != tenant || through.is_some_and(|through| chunk > through) {
                    break;
                }
                found.push(decode("mark of chunk", chunk, json.value())?);
            }
            Ok(found)
        })
    }

    async fn open_intents(
        &self,
        tenant: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Intent>, Error> {
        let start = match (tenant, after) {
            (_, Some((owner, chunk))) if tenant.is_none_or(|tenant| owner >= tenant) => {
                start_after(owner, Some(chunk))
            }
            (Some(tenant), _) => start_after(tenant, None),
            (None, _) => Bound::Unbounded,
        };
        self.read("reading open intents", |txn| {
            let journal = txn.open_table(JOURNAL)?;
            let mut found = Vec::new();
            for entry in txn.open_table(OPEN)?.range::<(&str, &str)>((start, Bound::Unbounded))? {
                let (key, seq) = entry?;
                if found.len() == limit || tenant.is_some_and(|tenant| key.value().0 != tenant) {
                    break;
                }
                let seq = seq.value();
                let json = journal.get(seq)?.ok_or_else(|| {
                    let source = "it is open, but not in the journal".into();
                    Error::Unreadable { what: "intent", key: seq.to_string(), source }
                })?;
                found.push(decode("intent", seq, json.value())?);
            }
            Ok(found)
        })
    }

    async fn journal(&self, after: u64, limit: usize) -> Result<Vec<Intent>, Error> {
        self.read("reading the journal", |txn| {
            let mut found = Vec::new();
            let journal = txn.open_table(JOURNAL)?;
            for entry in journal.range::<u64>((Bound::Excluded(after), Bound::Unbounded))?.take(limit) {
                let (seq, json) = entry?;
                found.push(decode("intent", seq.value(), json.value())?);
            }
            Ok(found)
        })
    }

    async fn progress(&self, tenant: &str) -> Result<Option<Progress>, Error> {
        self.read("reading progress", |txn| {
            let json = txn.open_table(PROGRESS)?.get(tenant)?;
            Ok(json.map(|json| decode("progress of tenant", tenant, json.value())).transpose()?)
        })
    }

    async fn watermark(&self) -> Result<Option<i64>, Error> {
        self.read("reading the watermark", |txn| {
            Ok(txn.open_table(WATERMARK)?.get(())?.map(|at_ns| at_ns.value()))
        })
    }
}

/// Where the keys of `tenant` start that come after the chunk `after`.
fn start_after<'k>(tenant: &'k str, after: Option<&'k str>) -> Bound<(&'k str, &'k str)> {
    match after {
        Some(after) => Bound::Excluded((tenant, after)),
        None => Bound::Included((tenant, "")),
    }
}
