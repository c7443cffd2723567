//! What a caller of the durable parts can meet. Refusals (a doubtful clock, too much at once) are no errors:
//! they are part of a plan or report.

/// Why holding, sweeping or a store's call failed. Whatever the variant, nothing was deleted without a durable
/// intent, and the same call may be made again.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Try again later: a store did not do what it was asked. The operation may have taken effect.
    #[error("{operation} failed")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// The store's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Restore the state store from elsewhere: a record does not parse, and nothing is deleted until it does.
    #[error("{what} {key} is unreadable")]
    Unreadable {
        /// The kind of record.
        what: &'static str,
        /// Which one.
        key: String,
        /// The parser's own words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Use the build that wrote the state, or a newer one.
    #[error("state has format {found}, this build reads format {supported}")]
    Format {
        /// What the store says.
        found: u64,
        /// What this build knows.
        supported: u64,
    },
    /// Choose another id: a hold of this id exists and is not the same.
    #[error("hold {id} already exists and differs")]
    HoldExists {
        /// The id asked for.
        id: String,
    },
    /// Correct the id.
    #[error("no hold has the id {id}")]
    HoldUnknown {
        /// The id asked for.
        id: String,
    },
    /// Nothing to do: the hold was released before, and the first release stands.
    #[error("hold {id} was already released at {at_ns} ns")]
    HoldReleased {
        /// The id asked for.
        id: String,
        /// When it was released, wall time.
        at_ns: i64,
    },
    /// Correct the request.
    #[error("{what} is missing or too long: it must have 1 to {limit} bytes, not {found}")]
    Invalid {
        /// Which field.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// Run the step again: another worker intends to delete the same chunk. Nothing was committed.
    #[error("chunk {chunk} of tenant {tenant} already has open intent {seq}")]
    IntentOpen {
        /// The chunk's tenant.
        tenant: String,
        /// The chunk's id.
        chunk: String,
        /// The open intent.
        seq: u64,
    },
    /// Run the step again: another worker has closed this intent. Nothing was committed.
    #[error("intent {seq} is not open")]
    IntentNotOpen {
        /// The intent.
        seq: u64,
    },
    /// Repair the store's implementation; the conformance suite shows how it should behave.
    #[error("store broke its contract: {what}")]
    Contract {
        /// What it did.
        what: String,
    },
}

impl Error {
    /// For implementations of the stores: `operation` failed because of `source`.
    pub fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, source: source.into() }
    }
}
