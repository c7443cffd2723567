//! What all that runs beside a process is given.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::run::{Clock, Reporter};
use crate::disk::Disk;
use crate::store::Store;

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
