//! Writes to a store what is decided by what is there. Invariant: one write is one compare-and-swap, so a process may end
//! before or after any of them.

use super::change::{PartitionChange, PartitionDecision};
use super::record::PartitionRecord;
use crate::codec::{DecodeError, EncodeError};
use crate::lifecycle::home::{Home, unencodable};
use crate::store::{Change, Record, UpdateError};

/// What became of a change.
#[derive(Debug)]
pub(super) enum Written {
    /// This was put.
    Put(PartitionRecord),
    /// It was there already.
    Same,
    /// Somebody else's is there.
    Refused,
    /// What is there cannot be read, and was left alone.
    Unreadable(DecodeError),
}

/// Makes a change, if what is there allows it.
pub(super) async fn apply(home: &Home, change: &PartitionChange) -> Result<Written, UpdateError> {
    let decide = |current: Option<&[u8]>| match change.decide(current) {
        Ok(PartitionDecision::Put(record)) => Written::Put(record),
        Ok(PartitionDecision::Same) => Written::Same,
        Ok(PartitionDecision::Refused) => Written::Refused,
        Err(error) => Written::Unreadable(error),
    };
    write(home, &change.after.key(), decide).await
}

/// Puts back what the store lacks of this.
pub(super) async fn restore(home: &Home, record: &PartitionRecord) -> Result<Written, UpdateError> {
    let decide = |current: Option<&[u8]>| match record.restored(current) {
        Ok(Some(record)) => Written::Put(record),
        Ok(None) => Written::Same,
        Err(error) => Written::Unreadable(error),
    };
    write(home, &record.key(), decide).await
}

/// Deletes a tombstone that is as it was.
pub(super) async fn clean(home: &Home, tombstone: &PartitionRecord) -> Result<(), UpdateError> {
    let is_same = |current: &Record| PartitionRecord::decode(&current.value).as_ref() == Ok(tombstone);
    let decide = |current: Option<&Record>| match current {
        Some(current) if is_same(current) => Change::Delete,
        _ => Change::Keep,
    };
    home.update(&tombstone.key(), decide).await.map(drop)
}

async fn write(
    home: &Home,
    key: &str,
    mut decide: impl FnMut(Option<&[u8]>) -> Written,
) -> Result<Written, UpdateError> {
    let mut done: Result<Written, EncodeError> = Ok(Written::Same);
    let change = |current: Option<&Record>| {
        let decided = decide(current.map(|record| &*record.value));
        let mut bytes = Vec::new();
        let encoded = match &decided {
            Written::Put(record) => record.encode(&mut bytes).map(|()| Change::Put(bytes.into())),
            _ => Ok(Change::Keep),
        };
        match encoded {
            Ok(change) => {
                done = Ok(decided);
                change
            }
            Err(error) => {
                done = Err(error);
                Change::Keep
            }
        }
    };
    home.update(key, change).await?;
    done.map_err(unencodable)
}
