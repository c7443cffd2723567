//! The index in one file: chunks by key, and for each day its postings and its streams.
//!
//! Labels decide in the end, not hashes: two streams with one fingerprint stay two. After an I/O error redb refuses all
//! further work, so the file is closed and opened anew at the next call.

mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable};

use super::{ChunkRef, Index, IndexError, Span};
use crate::logql::{Matcher, all_match};
use crate::offload::offload;

use tables::{CHUNKS, candidates, days, decode, distinct, existing, insert, remove};

/// What of the file redb may keep in memory; by default that is a gigabyte.
const CACHE_BYTES: usize = 64 << 20;

/// An [`Index`] in a redb file.
#[derive(Debug)]
pub struct RedbIndex {
    file: Arc<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    open: Mutex<Option<Arc<Database>>>,
}

impl RedbIndex {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// [`IndexError`] where it cannot be opened, or another process has it open.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let file = Arc::new(File { path: path.to_owned(), open: Mutex::new(None) });
        file.database()?;
        Ok(Self { file })
    }

    async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, IndexError> {
        let file = Arc::clone(&self.file);
        offload(move || {
            let database = file.database()?;
            f(&database).map_err(|e| file.failed(&database, &e))
        })
        .await
    }
}

impl File {
    fn database(&self) -> Result<Arc<Database>, IndexError> {
        let mut open = self.open.lock();
        if let Some(database) = open.as_ref() {
            return Ok(Arc::clone(database));
        }
        let mut builder = Database::builder();
        let database = builder
            .set_cache_size(CACHE_BYTES)
            .create(&self.path)
            .map_err(|e| error(&self.path, &e.into()))?;
        let database = Arc::new(database);
        *open = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Lets go of a database that failed, so that the next call opens the file anew.
    fn failed(&self, database: &Arc<Database>, e: &redb::Error) -> IndexError {
        let mut open = self.open.lock();
        if open.as_ref().is_some_and(|current| Arc::ptr_eq(current, database)) {
            *open = None;
        }
        error(&self.path, e)
    }
}

fn error(path: &Path, e: &redb::Error) -> IndexError {
    let text = format!("{}: {e}", path.display()).into();
    match e {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => IndexError::Damaged(text),
        _ => IndexError::Unavailable(text),
    }
}

#[async_trait]
impl Index for RedbIndex {
    async fn append(&self, tenant: &str, chunks: &[ChunkRef]) -> Result<(), IndexError> {
        let (tenant, chunks) = (tenant.to_owned(), chunks.to_vec());
        self.run(move |database| {
            let txn = database.begin_write()?;
            for chunk in &chunks {
                insert(&txn, &tenant, chunk)?;
            }
            Ok(txn.commit()?)
        })
        .await
    }

    async fn chunks(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        let (tenant, matchers) = (tenant.to_owned(), matchers.to_vec());
        self.run(move |database| {
            let txn = database.begin_read()?;
            let mut keys = BTreeSet::new();
            for day in days(&txn, span)? {
                candidates(&txn, &day, &tenant, &matchers, span, &mut keys)?;
            }
            let mut found = Vec::new();
            if keys.is_empty() {
                return Ok(found);
            }
            let table = txn.open_table(CHUNKS)?;
            for key in keys {
                let value = table.get((tenant.as_str(), key.as_str()))?;
                let chunk = decode(value.map(|v| v.value().to_vec()).as_deref().unwrap_or_default())?;
                if all_match(&matchers, &chunk.labels.pairs()) {
                    found.push(chunk);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        span: Span,
    ) -> Result<BTreeSet<String>, IndexError> {
        let (tenant, name) = (tenant.to_owned(), name.map(str::to_owned));
        self.run(move |database| {
            let txn = database.begin_read()?;
            let mut found = BTreeSet::new();
            for day in days(&txn, span)? {
                distinct(&txn, &day, &tenant, name.as_deref(), &mut found)?;
            }
            Ok(found)
        })
        .await
    }

    async fn scan(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ChunkRef>, IndexError> {
        let (tenant, after) = (tenant.to_owned(), after.map(str::to_owned));
        self.run(move |database| {
            let txn = database.begin_read()?;
            let Some(table) = existing(txn.open_table(CHUNKS))? else { return Ok(Vec::new()) };
            let mut found = Vec::new();
            for row in table.range((tenant.as_str(), after.as_deref().unwrap_or_default())..)? {
                let (key, value) = row?;
                if key.value().0 != tenant || found.len() == limit {
                    break;
                }
                if Some(key.value().1) != after.as_deref() {
                    found.push(decode(value.value())?);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn contains(&self, tenant: &str, keys: &[String]) -> Result<Vec<bool>, IndexError> {
        let (tenant, keys) = (tenant.to_owned(), keys.to_vec());
        self.run(move |database| {
            let txn = database.begin_read()?;
            let Some(table) = existing(txn.open_table(CHUNKS))? else { return Ok(vec![false; keys.len()]) };
            keys.iter().map(|key| Ok(table.get((tenant.as_str(), key.as_str()))?.is_some())).collect()
        })
        .await
    }

    async fn drop_refs(&self, tenant: &str, keys: &[String]) -> Result<(), IndexError> {
        let (tenant, keys) = (tenant.to_owned(), keys.to_vec());
        self.run(move |database| {
            let txn = database.begin_write()?;
            for key in &keys {
                remove(&txn, &tenant, key)?;
            }
            Ok(txn.commit()?)
        })
        .await
    }

    async fn tenants(&self) -> Result<Vec<String>, IndexError> {
        self.run(|database| {
            let txn = database.begin_read()?;
            let Some(table) = existing(txn.open_table(CHUNKS))? else { return Ok(Vec::new()) };
            let mut found: Vec<String> = Vec::new();
            // A jump behind the last tenant's keys costs one look-up, whatever number of chunks it has.
            while let Some(row) = match found.last() {
                None => table.iter()?.next(),
                Some(last) => table.range((format!("{last}\0").as_str(), "")..)?.next(),
            } {
                found.push(row?.0.value().0.to_owned());
            }
            Ok(found)
        })
        .await
    }
}
