//! What can go wrong, one enum per question asked: a lookup, a snapshot, a set of tokens, a parsed name.

/// Why a key has no usable replica set right now.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Wait for instances: none holds a token.
    #[error("ring has no tokens")]
    Empty,
    /// Wait, or ask for fewer: so few members of the key's replica set are healthy that the required
    /// number of successes cannot be reached.
    #[error("replica set needs {needed} healthy instances, has {found}")]
    TooManyUnhealthy {
        /// Successes that are required.
        needed: usize,
        /// Healthy members there are.
        found: usize,
    },
    /// Ask for as many as the ring is configured for, or more: with fewer, readers would miss what others write.
    #[error("{asked} replicas are fewer than the {configured} of the ring")]
    FewerReplicas {
        /// Replicas asked for.
        asked: u8,
        /// [`Options::replication_factor`](crate::Options::replication_factor).
        configured: u8,
    },
    /// Ask for a multiple of what the ring is configured for: where zones count, each holds equally many replicas.
    #[error(
        "{asked} replicas are not a multiple of the {configured} of the ring, of which zones hold equally many"
    )]
    UnevenReplicas {
        /// Replicas asked for.
        asked: u8,
        /// [`Options::replication_factor`](crate::Options::replication_factor).
        configured: u8,
    },
}

/// Why no snapshot can be built; keep the one you have.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Correct the options: a key without replicas is stored nowhere.
    #[error("replication factor is 0")]
    NoReplicas,
    /// Split the cluster: members are numbered in 16 bits.
    #[error("{found} instances exceed the limit of {max}")]
    TooManyInstances {
        /// Instances that are not LEFT.
        found: usize,
        /// [`Ring::MAX_INSTANCES`](crate::Ring::MAX_INSTANCES).
        max: usize,
    },
    /// Look for the instance that announces absurdly many.
    #[error("{found} tokens exceed the limit of {max}")]
    TooManyTokens {
        /// Tokens of all instances, repetitions included.
        found: usize,
        /// [`Ring::MAX_TOKENS`](crate::Ring::MAX_TOKENS).
        max: usize,
    },
}

/// Why no tokens were generated.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// Ask for fewer.
    #[error("{wanted} tokens for one instance exceed the limit of {max}")]
    TooMany {
        /// Tokens asked for.
        wanted: usize,
        /// The limit.
        max: usize,
    },
    /// Give instances fewer tokens: half of the key space is taken.
    #[error("no room for {wanted} tokens beside {taken} taken ones")]
    Crowded {
        /// Tokens asked for.
        wanted: usize,
        /// Tokens that others hold.
        taken: usize,
    },
}

/// The text is not the name of a [`State`](crate::State).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an instance state: expected PENDING, JOINING, ACTIVE, LEAVING or LEFT")]
pub struct ParseStateError;
