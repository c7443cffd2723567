//! The tables, and how they are written and searched.
//!
//! A chunk stands in the tables of every day it overlaps; one that overlaps more than [`MAX_DAYS`] stands in the
//! one `wide` set that every look-up reads, so that no timestamp a client invents makes work without bound.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use prost::Message;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableHandle, WriteTransaction};

use crate::index::{ChunkRef, Span};
use crate::logql::{MatchOp, Matcher};
use crate::wire;

/// Days a chunk may overlap before it goes to the `wide` set.
const MAX_DAYS: i64 = 8;
const DAY_NS: i64 = 86_400_000_000_000;
const WIDE: &str = "wide";

/// (tenant, object key) to an encoded [`wire::Chunk`].
pub(super) const CHUNKS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("chunks");
/// (tenant, label name, label value, fingerprint).
type Postings<'a> = TableDefinition<'a, (&'static str, &'static str, &'static str, u64), ()>;
/// (tenant, fingerprint, object key) to the first and last timestamp.
type Streams<'a> = TableDefinition<'a, (&'static str, u64, &'static str), (i64, i64)>;

/// Adds `chunk` to all its tables, in place of what has its key.
pub(super) fn insert(txn: &WriteTransaction, tenant: &str, chunk: &ChunkRef) -> Result<(), redb::Error> {
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

/// Removes the chunk with `key` from all its tables, and those that become empty.
pub(super) fn remove(txn: &WriteTransaction, tenant: &str, key: &str) -> Result<(), redb::Error> {
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
pub(super) fn candidates(
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
pub(super) fn distinct(
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
pub(super) fn days(txn: &ReadTransaction, span: Span) -> Result<Vec<String>, redb::Error> {
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

/// A value of [`CHUNKS`].
pub(super) fn decode(value: &[u8]) -> Result<ChunkRef, redb::Error> {
    let chunk = wire::Chunk::decode(value).map_err(|e| redb::Error::Corrupted(e.to_string()))?;
    chunk.try_into().map_err(|e: wire::WireError| redb::Error::Corrupted(e.to_string()))
}

/// A table that nobody has written to yet is an empty one.
pub(super) fn existing<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
