//! What all that runs beside a process is given.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::run::{Clock, Reporter};
use crate::codec::EncodeError;
use crate::disk::Disk;
use crate::store::{Change, Record, Store, StoreError, UpdateError, Updated, update};

/// What an instance runs on.
#[derive(Clone)]
pub struct Home {
    /// Where its records are.
    pub store: Arc<dyn Store>,
    /// Where its token file is.
    pub disk: Arc<dyn Disk>,
    /// The token file, in a directory that exists.
    pub token_file: PathBuf,
    /// How long a write to the store or the disk may take. 2 s is well below a heartbeat timeout;
    /// with 0 every one fails.
    pub time_out: Duration,
    /// Tells the time.
    pub clock: Clock,
    /// Where reports go.
    pub reporter: Reporter,
}

impl Home {
    /// Changes a record in time, or it is an error.
    pub(crate) async fn update(
        &self,
        key: &str,
        decide: impl FnMut(Option<&Record>) -> Change,
    ) -> Result<Updated, UpdateError> {
        let updated = tokio::time::timeout(self.time_out, update(&*self.store, key, decide)).await;
        updated.unwrap_or_else(|_| Err(StoreError::TimedOut { after: self.time_out }.into()))
    }
}

/// As a store refuses what is too long for it: no store holds what no reader takes.
pub(crate) fn unencodable(error: EncodeError) -> UpdateError {
    let EncodeError::TooLong { what, found, max } = error;
    StoreError::TooLarge { what, found, max }.into()
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, disk, token_file, time_out, .. } = self;
        f.debug_struct("Home")
            .field("store", store)
            .field("disk", disk)
            .field("token_file", token_file)
            .field("time_out", time_out)
            .finish_non_exhaustive()
    }
}
