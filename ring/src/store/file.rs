//! A store in a directory, for several processes on one host. Invariant: whoever holds the lock sees records and their
//! revision as one writer left them, wherever another one died.
//!
//! ```text
//! lock        whoever writes holds it alone, whoever reads all with others
//! revision    the last one given, as a frame
//! r.<key>     a record, as a frame; of the key all but A-Z a-z 0-9 . _ - is written as % and two digits
//! frame       number u64, bytes, XXH3-64 of number and bytes; numbers little-endian
//! ```
//!
//! A write puts `revision` in its place before the record: a crash between burns a number, and no version is given
//! twice. A record whose frame is broken is shown as it is, at version 0, for its reader to report and its owner to
//! write anew; a broken or lost `revision` goes on far above all records.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::{
    Expect, Listing, MAX_VALUE_BYTES, PutError, Record, Revision, Store, StoreError, Watch, check_value,
};
use crate::disk::{Disk, Guard, Hold, replace};

mod frame;
mod watch;

use frame::{FRAME_BYTES, Frame, file_of, key_of};

/// How far a lost revision is above the highest that is left: more are never written and deleted meanwhile.
const LEAP: u64 = 1 << 32;

/// Where a [`FileStore`] is and how often it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// The directory. It is made if it is missing.
    pub dir: PathBuf,
    /// How often a watch looks for changes. Default 250 ms: one small file is read each time.
    pub poll: Duration,
}

impl FileOptions {
    /// The defaults in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), poll: Duration::from_millis(250) }
    }
}

/// A [`Store`] in a directory, shared by the processes of one host; a clone is the same store. Locks are those of the
/// [`Disk`], which a network file system may not keep.
///
/// A write is durable when it is done, at the cost of six syncs. A listing reads all records.
#[derive(Debug, Clone)]
pub struct FileStore {
    dir: Arc<Directory>,
    poll: Duration,
    /// One call at a time goes to the disk, so that a disk that hangs holds one thread and not one for each attempt.
    turn: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Directory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl FileStore {
    /// The store in the directory of the options. Touches nothing yet.
    pub fn new(disk: Arc<dyn Disk>, options: FileOptions) -> Self {
        let dir = Directory { disk, path: options.dir };
        Self { dir: Arc::new(dir), poll: options.poll, turn: Arc::default() }
    }

    async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        call: impl FnOnce(&Directory) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let dir = Arc::clone(&self.dir);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            call(&dir)
        });
        done.await.unwrap_or_else(|error| Err(StoreError::unreachable(error).into()))
    }
}

#[async_trait]
impl Store for FileStore {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.blocking(Directory::list).await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let key = Arc::from(key);
        self.blocking(move |dir| {
            let _lock = dir.lock(Hold::Shared)?;
            dir.record(&key)
        })
        .await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        check_value(&value, MAX_VALUE_BYTES)?;
        let key = Arc::from(key);
        self.blocking(move |dir| dir.write(&key, Some(&value), expect)).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        let key = Arc::from(key);
        self.blocking(move |dir| dir.write(&key, None, expect).map(drop)).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(watch::FileWatch::begin(self.clone(), after).await?))
    }
}

impl Directory {
    fn lock(&self, hold: Hold) -> Result<Box<dyn Guard>, StoreError> {
        let file = self.path.join("lock");
        let lock = self.disk.lock(&file, hold).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                self.disk.create_dir(&self.path)?;
                self.disk.lock(&file, hold)
            }
            _ => Err(error),
        });
        lock.map_err(StoreError::unreachable)
    }

    fn list(&self) -> Result<Listing, StoreError> {
        let _lock = self.lock(Hold::Shared)?;
        let records = self.records()?;
        let revision = self.revision(|| Ok(records.clone()))?;
        Ok(Listing { records: records.into_values().collect(), revision: Revision(revision) })
    }

    fn records(&self) -> Result<BTreeMap<Arc<str>, Record>, StoreError> {
        let mut records = BTreeMap::new();
        for name in self.disk.list(&self.path).map_err(StoreError::unreachable)? {
            let Some(key) = key_of(&name) else { continue };
            let key = Arc::from(key);
            if let Some(record) = self.record(&key)? {
                records.insert(key, record);
            }
        }
        Ok(records)
    }

    fn record(&self, key: &Arc<str>) -> Result<Option<Record>, StoreError> {
        let bytes = match self.disk.read(&self.path.join(file_of(key)?), MAX_VALUE_BYTES + FRAME_BYTES) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => bytes,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
            Err(error) => return Err(StoreError::unreachable(error)),
        };
        let (version, value) = match Frame::decode(&bytes) {
            Some(Frame { number, bytes }) => (number, Bytes::copy_from_slice(bytes)),
            None => (0, Bytes::from(bytes)),
        };
        Ok(Some(Record { key: Arc::clone(key), value, version: Revision(version) }))
    }

    /// The last revision given; made anew of all records if it cannot be read.
    fn revision(
        &self,
        records: impl FnOnce() -> Result<BTreeMap<Arc<str>, Record>, StoreError>,
    ) -> Result<u64, StoreError> {
        if let Some(revision) = self.stored_revision()? {
            return Ok(revision);
        }
        let records = records()?;
        let highest = records.values().map(|record| record.version.0).max();
        Ok(highest.map_or(0, |highest| highest.saturating_add(LEAP)))
    }

    fn stored_revision(&self) -> Result<Option<u64>, StoreError> {
        let bytes = match self.disk.read(&self.revision_file(), FRAME_BYTES) {
            Err(error) if error.kind() != io::ErrorKind::FileTooLarge => {
                return Err(StoreError::unreachable(error));
            }
            read => read.ok().flatten(),
        };
        Ok(bytes.as_deref().and_then(Frame::decode).map(|frame| frame.number))
    }

    fn revision_file(&self) -> PathBuf {
        self.path.join("revision")
    }

    /// Writes or deletes if what is there is as expected.
    fn write(&self, key: &Arc<str>, value: Option<&Bytes>, expect: Expect) -> Result<Revision, PutError> {
        let file = self.path.join(file_of(key)?);
        let _lock = self.lock(Hold::Exclusive)?;
        let current = self.record(key)?;
        if !expect.is_met_by(current.as_ref().map(|record| record.version)) {
            return Err(PutError::Lost { current });
        }
        let last = self.revision(|| self.records())?;
        if value.is_none() && current.is_none() {
            return Ok(Revision(last));
        }
        let exhausted = || StoreError::Broken { what: format!("revision {last} is the last one") };
        let revision = last.checked_add(1).ok_or_else(exhausted)?;
        self.replace(&self.revision_file(), &Frame { number: revision, bytes: &[] })?;
        match value {
            Some(value) => self.replace(&file, &Frame { number: revision, bytes: value })?,
            None => self.remove(&file)?,
        }
        Ok(Revision(revision))
    }

    fn replace(&self, file: &Path, frame: &Frame<'_>) -> Result<(), StoreError> {
        replace(&*self.disk, file, &frame.encode()).map_err(StoreError::unreachable)
    }

    fn remove(&self, file: &Path) -> Result<(), StoreError> {
        let removed = self.disk.remove(file).and_then(|()| self.disk.sync_dir(&self.path));
        removed.map_err(StoreError::unreachable)
    }
}

#[cfg(test)]
mod tests;
