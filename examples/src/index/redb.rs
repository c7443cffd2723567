//! The index in one file: chunks by key, and for each day its postings and its streams.
//!
//! A chunk stands in the tables of every day it overlaps; one that overlaps more than [`MAX_DAYS`] stands in the
//! one `wide` set that every look-up reads, so that no timestamp a client invents makes work without bound. Labels
//! decide in the end, not hashes: two streams with one fingerprint stay two. After an I/O error redb refuses all
//! further work, so the file is closed and opened anew at the next call.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use prost::Message;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableHandle,
    WriteTransaction,
};

use super::{ChunkRef, Index, IndexError, Span};
use crate::logql::{MatchOp, Matcher, all_match};
use crate::offload::offload;
use crate::wire;

/// Days a chunk may overlap before it goes to the `wide` set.
const MAX_DAYS: i64 = 8;
const DAY_NS: i64 = 86_400_000_000_000;
const WIDE: &str = "wide";

/// (tenant, object key) to an encoded [`wire::Chunk`].
const CHUNKS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("chunks");
/// (tenant, label name, label value, fingerprint).
type Postings<'a> = TableDefinition<'a, (&'static str, &'static str, &'static str, u64), ()>;
/// (tenant, fingerprint, object key) to the first and last timestamp.
type Streams<'a> = TableDefinition<'a, (&'static str, u64, &'static str), (i64, i64)>;

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
        let database = Database::create(&self.path).map_err(|e| error(&self.path, &e.into()))?;
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

fn insert(txn: &WriteTransaction, tenant: &str, chunk: &ChunkRef) -> Result<(), redb::Error> {
    let value = wire::Chunk::from(chunk).encode_to_vec();
    txn.open_table(CHUNKS)?.insert((tenant, chunk.key.as_str()), value.as_slice())?;
    for day in chunk_days(chunk) {
        let span = (chunk.from_ns, chunk.through_ns);
        let name = streams_name(&day);
        txn.open_table(streams(&name))?.insert((tenant, chunk.fingerprint, chunk.key.as_str()), span)?;
        let name = postings_name(&day);
        let mut table = txn.open_table(postings(&name))?;
        for (label, value) in chunk.labels.pairs() {
            table.insert((tenant, label, value, chunk.fingerprint), ())?;
        }
    }
    Ok(())
}

fn remove(txn: &WriteTransaction, tenant: &str, key: &str) -> Result<(), redb::Error> {
    let chunk = match txn.open_table(CHUNKS)?.remove((tenant, key))? {
        Some(value) => decode(value.value())?,
        None => return Ok(()),
    };
    for day in chunk_days(&chunk) {
        let (streams_name, postings_name) = (streams_name(&day), postings_name(&day));
        let mut table = txn.open_table(streams(&streams_name))?;
        table.remove((tenant, chunk.fingerprint, key))?;
        // Two streams may share the fingerprint: its postings go when nothing has it any more. Until then the
        // labels of the chunk itself keep the answers right.
        let left = !stream_keys(&table, tenant, chunk.fingerprint)?.is_empty();
        let empty = !left && table.first()?.is_none();
        drop(table);
        if empty {
            txn.delete_table(streams(&streams_name))?;
            txn.delete_table(postings(&postings_name))?;
        } else if !left {
            let mut table = txn.open_table(postings(&postings_name))?;
            for (label, value) in chunk.labels.pairs() {
                table.remove((tenant, label, value, chunk.fingerprint))?;
            }
        }
    }
    Ok(())
}

/// An object key with the first and last timestamp of its chunk.
type Bounded = (String, (i64, i64));

/// The keys of the chunks with `fingerprint` and their first and last timestamps.
fn stream_keys(
    table: &impl ReadableTable<(&'static str, u64, &'static str), (i64, i64)>,
    tenant: &str,
    fingerprint: u64,
) -> Result<Vec<Bounded>, redb::Error> {
    let mut found = Vec::new();
    for row in table.range((tenant, fingerprint, "")..)? {
        let (key, span) = row?;
        let (t, f, chunk) = key.value();
        if t != tenant || f != fingerprint {
            break;
        }
        found.push((chunk.to_owned(), span.value()));
    }
    Ok(found)
}

/// Adds the keys of the chunks of `day` that may match.
fn candidates(
    txn: &ReadTransaction,
    day: &str,
    tenant: &str,
    matchers: &[Matcher],
    span: Span,
    keys: &mut BTreeSet<String>,
) -> Result<(), redb::Error> {
    let (streams_name, postings_name) = (streams_name(day), postings_name(day));
    let Some(table) = existing(txn.open_table(streams(&streams_name)))? else { return Ok(()) };
    let mut add = |chunk: String, (from_ns, through_ns): (i64, i64)| {
        if from_ns <= span.through_ns && through_ns >= span.from_ns {
            keys.insert(chunk);
        }
    };
    let narrowing: Vec<&Matcher> = matchers.iter().filter(|m| !m.matches_empty()).collect();
    if narrowing.is_empty() {
        for row in table.range((tenant, 0, "")..)? {
            let (key, value) = row?;
            if key.value().0 != tenant {
                break;
            }
            add(key.value().2.to_owned(), value.value());
        }
        return Ok(());
    }
    let Some(postings) = existing(txn.open_table(postings(&postings_name)))? else { return Ok(()) };
    let mut fingerprints: Option<BTreeSet<u64>> = None;
    for matcher in narrowing {
        let matched = matching(&postings, tenant, matcher)?;
        fingerprints = Some(match fingerprints {
            None => matched,
            Some(so_far) => so_far.intersection(&matched).copied().collect(),
        });
    }
    for fingerprint in fingerprints.unwrap_or_default() {
        for (chunk, span) in stream_keys(&table, tenant, fingerprint)? {
            add(chunk, span);
        }
    }
    Ok(())
}

/// The fingerprints of the streams whose label satisfies `matcher`, which does not match the empty value.
fn matching(
    table: &impl ReadableTable<(&'static str, &'static str, &'static str, u64), ()>,
    tenant: &str,
    matcher: &Matcher,
) -> Result<BTreeSet<u64>, redb::Error> {
    let exact = matcher.op == MatchOp::Equal;
    let from = (tenant, matcher.name.as_str(), if exact { matcher.value.as_str() } else { "" }, 0);
    let mut found = BTreeSet::new();
    let mut last: Option<(String, bool)> = None;
    for row in table.range(from..)? {
        let key = row?.0;
        let (t, name, value, fingerprint) = key.value();
        if t != tenant || name != matcher.name || (exact && value != matcher.value) {
            break;
        }
        let matched = match &last {
            Some((seen, matched)) if seen == value => *matched,
            _ => {
                let matched = matcher.matches(value);
                last = Some((value.to_owned(), matched));
                matched
            }
        };
        if matched {
            found.insert(fingerprint);
        }
    }
    Ok(found)
}

/// Adds the label names of `day`, or the values of label `name`, by jumping from one to the next.
fn distinct(
    txn: &ReadTransaction,
    day: &str,
    tenant: &str,
    name: Option<&str>,
    found: &mut BTreeSet<String>,
) -> Result<(), redb::Error> {
    let table_name = postings_name(day);
    let Some(table) = existing(txn.open_table(postings(&table_name)))? else { return Ok(()) };
    let mut from = String::new();
    loop {
        let start = match name {
            None => (tenant, from.as_str(), "", 0),
            Some(name) => (tenant, name, from.as_str(), 0),
        };
        let Some(row) = table.range(start..)?.next() else { return Ok(()) };
        let key = row?.0;
        let (t, label, value, _) = key.value();
        if t != tenant || name.is_some_and(|name| name != label) {
            return Ok(());
        }
        let item = if name.is_some() { value } else { label };
        found.insert(item.to_owned());
        from = format!("{item}\0");
    }
}

/// The days that have tables and lie in `span`, and the wide set.
fn days(txn: &ReadTransaction, span: Span) -> Result<Vec<String>, redb::Error> {
    let wanted = day_range(span.from_ns, span.through_ns);
    let mut found = Vec::new();
    for table in txn.list_tables()? {
        if let Some(day) = table.name().strip_prefix("streams/")
            && (day == WIDE || day.parse().is_ok_and(|day: i64| wanted.contains(&day)))
        {
            found.push(day.to_owned());
        }
    }
    Ok(found)
}

fn day_range(from_ns: i64, through_ns: i64) -> RangeInclusive<i64> {
    from_ns.div_euclid(DAY_NS)..=through_ns.div_euclid(DAY_NS)
}

fn chunk_days(chunk: &ChunkRef) -> Vec<String> {
    let days = day_range(chunk.from_ns, chunk.through_ns);
    if days.end() - days.start() >= MAX_DAYS {
        return vec![WIDE.to_owned()];
    }
    days.map(|day| day.to_string()).collect()
}

fn streams_name(day: &str) -> String {
    format!("streams/{day}")
}

fn postings_name(day: &str) -> String {
    format!("postings/{day}")
}

fn streams(name: &str) -> Streams<'_> {
    TableDefinition::new(name)
}

fn postings(name: &str) -> Postings<'_> {
    TableDefinition::new(name)
}

fn decode(value: &[u8]) -> Result<ChunkRef, redb::Error> {
    let chunk = wire::Chunk::decode(value).map_err(|e| redb::Error::Corrupted(e.to_string()))?;
    chunk.try_into().map_err(|e: wire::WireError| redb::Error::Corrupted(e.to_string()))
}

/// A table that nobody has written to yet is an empty one.
fn existing<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
