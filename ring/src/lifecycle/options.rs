//! Who an instance is and how patient it is.

use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{MAX_ADDR_BYTES, MAX_NAME_BYTES};
use crate::error::GenerateError;
use crate::features::Features;
use crate::generate::{DEFAULT_TOKENS, random_tokens};
use crate::spread::{SpreadError, spread_tokens};
use crate::token::TokenSet;

/// Who an instance is and how patient it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecyclerOptions {
    /// Name that stays the same over restarts.
    pub id: Arc<str>,
    /// Where others reach it.
    pub addr: Arc<str>,
    /// Failure domain. Default empty: none.
    pub zone: Arc<str>,
    /// Which tokens it takes if it has none yet. Default 128 random ones.
    pub tokens: Tokens,
    /// How often it says that it lives. Default 5 s. Several must fit into the heartbeat timeout of the others.
    pub heartbeat_period: Duration,
    /// How long it watches others' tokens before it serves. Default 5 s. Too short misses an instance that
    /// starts at the same time with the same tokens; the view then settles who has them.
    pub observe: Duration,
    /// How long it is ACTIVE before it says that it is ready. Default 15 s, so that others know of it before the
    /// next one of a rolling restart stops.
    pub min_ready: Duration,
    /// How long a member of a fleet waits for the one before it. Default 5 minutes; then it joins all the same,
    /// and shares are uneven until the other does.
    pub join_wait: Duration,
    /// Whether it leaves the ring when it stops. Default yes. Kept, it is unhealthy until it comes back, and no
    /// key moves: for restarts.
    pub unregister: bool,
    /// How long it stays LEAVING after it drained. Default none. For readers that still ask by an older view.
    pub final_wait: Duration,
    /// What its software can do. Default nothing.
    pub features: Features,
}

/// Which tokens an instance takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// See [`random_tokens`]. Another number than it has adds or drops some.
    Random {
        /// How many.
        count: NonZeroUsize,
    },
    /// See [`spread_tokens`]. Those it has already are kept, whatever their number: others may have left since.
    Spread {
        /// Its place in the fleet, from 0.
        ordinal: u32,
        /// The number of its zone, from 0.
        zone: u8,
        /// How many.
        count: NonZeroU16,
    },
    /// See [`join`](crate::spread::join): an even share of the ring of its zone as it then is, of which it first
    /// has to have seen a view. Those it has already are kept, whatever their number. Two of a zone that join at
    /// the same moment choose the same, of which one draws random ones instead: start them one by one.
    Even {
        /// How many.
        count: NonZeroU16,
    },
}

/// Why an instance cannot be run with these options.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Shorten it: its record could not be written.
    #[error("{what} of {found} bytes exceeds the limit of {max}")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Ask for fewer random tokens.
    #[error("there are no such random tokens")]
    Random(#[from] GenerateError),
    /// Ask for another place in the fleet.
    #[error("there are no such spread tokens")]
    Spread(#[from] SpreadError),
    /// Give a heartbeat some time.
    #[error("heartbeat period is 0")]
    NoPeriod,
}

impl LifecyclerOptions {
    /// The defaults for an instance of this name at this address.
    pub fn new(id: impl Into<Arc<str>>, addr: impl Into<Arc<str>>) -> Self {
        Self {
            id: id.into(),
            addr: addr.into(),
            zone: Arc::from(""),
            tokens: Tokens::default(),
            heartbeat_period: Duration::from_secs(5),
            observe: Duration::from_secs(5),
            min_ready: Duration::from_secs(15),
            join_wait: Duration::from_secs(300),
            unregister: true,
            final_wait: Duration::ZERO,
            features: Features::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let texts = [
            ("id", &self.id, MAX_NAME_BYTES),
            ("address", &self.addr, MAX_ADDR_BYTES),
            ("zone", &self.zone, MAX_NAME_BYTES),
        ];
        for (what, text, max) in texts {
            if text.len() > max {
                return Err(OptionsError::TooLong { what, found: text.len(), max });
            }
        }
        if self.heartbeat_period.is_zero() {
            return Err(OptionsError::NoPeriod);
        }
        self.derive(0).map(drop)
    }

    /// The tokens of an epoch if nobody else had any; none if they depend on what others have.
    pub(super) fn derive(&self, epoch: u64) -> Result<TokenSet, OptionsError> {
        Ok(match self.tokens {
            Tokens::Random { count } => {
                random_tokens(&self.id, &self.zone, epoch, count.get(), &TokenSet::default())?
            }
            Tokens::Spread { ordinal, zone, count } => spread_tokens(ordinal, zone, count)?,
            Tokens::Even { .. } => TokenSet::default(),
        })
    }
}

impl Default for Tokens {
    fn default() -> Self {
        Tokens::Random { count: NonZeroUsize::new(DEFAULT_TOKENS).expect("the default is not 0") }
    }
}
