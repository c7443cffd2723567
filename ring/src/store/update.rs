//! Read, decide, compare and swap, until nobody came between.

use bytes::Bytes;

use super::{Expect, PutError, Record, Revision, Store, StoreError};

/// Who loses so often is not the only writer by far; a record of an instance has one, and now and then another.
const MAX_ATTEMPTS: u32 = 64;

/// What to do with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Write this in its place.
    Put(Bytes),
    /// Delete it.
    Delete,
    /// Leave it.
    Keep,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// It was written.
    Put(Revision),
    /// It was deleted.
    Deleted,
    /// It was left as it is.
    Kept,
}

/// Why a record is not known to be changed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It was not: others changed it so often meanwhile. Try again later.
    #[error("lost {attempts} times to others")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// It may be or not.
    #[error("it is not known whether the record was changed")]
    Store(#[from] StoreError),
}

/// Changes a record as `decide` has it by what is there. It is asked again whenever somebody else wrote meanwhile, so it
/// must be pure; what was decided last is what was done.
///
/// # Errors
///
/// If the store fails, or others are faster too often.
pub async fn update(
    store: &dyn Store,
    key: &str,
    mut decide: impl FnMut(Option<&Record>) -> Change,
) -> Result<Updated, UpdateError> {
    let mut current = store.get(key).await?;
    for _ in 0..MAX_ATTEMPTS {
        let expect = Expect::unchanged(current.as_ref());
        let written = match decide(current.as_ref()) {
            Change::Keep => return Ok(Updated::Kept),
            Change::Put(value) => store.put_if(key, value, expect).await.map(Updated::Put),
            Change::Delete if current.is_none() => return Ok(Updated::Kept),
            Change::Delete => store.delete_if(key, expect).await.map(|()| Updated::Deleted),
        };
        match written {
            Ok(updated) => return Ok(updated),
            Err(PutError::Store(error)) => return Err(error.into()),
            Err(PutError::Lost { current: theirs }) => current = theirs,
        }
    }
    Err(UpdateError::Contended { attempts: MAX_ATTEMPTS })
}
