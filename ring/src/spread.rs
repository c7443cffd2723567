//! Tokens that share the key space evenly instead of by chance. Invariant: a fleet that joins in order moves keys
//! only to the one that joins, and afterwards the smallest share is within about `1 / tokens` of the largest: with
//! 512 tokens within 0.1 % of it up to 512 instances, and within 0.2 % beyond.
//!
//! Positions are chosen among every eighth of the key space, and zone `z` of up to eight shifts them by `z`: the
//! instances of equal ordinal in all zones own the same ranges, so each key's replicas are instances of few
//! different ordinals. That is for rings where zones count; in one where they do not, give all instances zone 0
//! and different ordinals.
//!
//! A fleet in order is a function of ordinals alone ([`Spread`], [`spread_tokens`]). For a ring as it is, with
//! instances that left from its middle, [`join`] and [`leave`] look at the tokens that are there.

mod adapt;
mod carve;

use std::num::{NonZeroU8, NonZeroU16};

pub use adapt::{Holder, join, leave};

use crate::generate::MAX_TOKENS_PER_INSTANCE;
use crate::instance::State;
use crate::membership::Membership;
use crate::token::TokenSet;
use carve::Share;

/// How many tokens an instance of a spread fleet has unless told otherwise.
pub const DEFAULT_SPREAD_TOKENS: NonZeroU16 = NonZeroU16::new(512).expect("512 is not 0");

/// Zones that can be told apart.
pub const MAX_ZONES: u8 = 8;

/// The highest ordinal: what one needs is what all before it do.
pub const MAX_ORDINAL: u32 = 9_999;

/// Positions of one zone.
const SLOTS: u64 = (1 << 32) / MAX_ZONES as u64;

/// Why there are no tokens.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpreadError {
    /// Use random tokens: with this many zones the positions of two would meet.
    #[error("zone {zone} is not below {MAX_ZONES}")]
    Zone {
        /// Zone asked for, from 0.
        zone: u8,
    },
    /// Use [`join`], which looks at the ring instead of all ordinals before.
    #[error("ordinal {ordinal} exceeds the limit of {MAX_ORDINAL}")]
    Ordinal {
        /// Ordinal asked for, from 0.
        ordinal: u32,
    },
    /// Ask for fewer, or lower the weight.
    #[error("{wanted} tokens for one instance exceed the limit of {max}")]
    TooMany {
        /// Tokens asked for.
        wanted: usize,
        /// The limit.
        max: usize,
    },
    /// Give instances fewer tokens: the ranges there are cannot be divided further.
    #[error("no room for {wanted} more tokens")]
    Crowded {
        /// Tokens asked for.
        wanted: usize,
    },
}

/// A fleet that grows in order. One pass makes the tokens of all; O(n log n + tokens · log tokens) a join.
///
/// ```
/// use std::num::NonZeroU8;
/// use forebay_ring::spread::{DEFAULT_SPREAD_TOKENS, Spread, spread_tokens};
///
/// let mut fleet = Spread::new(DEFAULT_SPREAD_TOKENS);
/// let (first, second) = (fleet.join(NonZeroU8::MIN)?, fleet.join(NonZeroU8::MIN)?);
/// assert_eq!((first.len(), second.len()), (512, 512));
/// assert_eq!(second, spread_tokens(1, 0, DEFAULT_SPREAD_TOKENS)?);
/// # Ok::<(), forebay_ring::spread::SpreadError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Spread {
    tokens_each: NonZeroU16,
    shares: Vec<Share>,
    /// Whether there was no room for one, which leaves the shares of others cut.
    spoiled: bool,
}

impl Spread {
    /// A fleet of nobody, in which an instance of weight 1 gets `tokens_each`.
    pub fn new(tokens_each: NonZeroU16) -> Self {
        Self { tokens_each, shares: Vec::new(), spoiled: false }
    }

    /// The tokens in zone 0 of one more instance, `weight` times as many as of one of weight 1, for a share
    /// that is `weight` times as large. Shift them for other zones with [`in_zone`]. A pure function of the
    /// weights so far.
    ///
    /// # Errors
    ///
    /// If that is more tokens than an instance may have, or the ranges there are cannot be divided further;
    /// nobody can join then any more.
    pub fn join(&mut self, weight: NonZeroU8) -> Result<TokenSet, SpreadError> {
        let wanted = usize::from(self.tokens_each.get()) * usize::from(weight.get());
        if wanted > MAX_TOKENS_PER_INSTANCE {
            return Err(SpreadError::TooMany { wanted, max: MAX_TOKENS_PER_INSTANCE });
        }
        let share = if self.spoiled {
            None
        } else {
            carve::newcomer(&mut self.shares, weight.get().into(), wanted, SLOTS, |_| true)
        };
        let Some(share) = share else {
            self.spoiled = true;
            return Err(SpreadError::Crowded { wanted });
        };
        let slot = |slot: u64| u32::try_from(slot * u64::from(MAX_ZONES)).expect("a slot is below 2^29");
        let tokens = share.ends(SLOTS).map(slot).collect();
        self.shares.push(share);
        Ok(tokens)
    }
}

/// The tokens of zone 0 shifted to another.
///
/// # Errors
///
/// If `zone` is not below [`MAX_ZONES`].
pub fn in_zone(tokens: &TokenSet, zone: u8) -> Result<TokenSet, SpreadError> {
    if zone >= MAX_ZONES {
        return Err(SpreadError::Zone { zone });
    }
    Ok(tokens.iter().map(|token| token | u32::from(zone)).collect())
}

/// The tokens of the instance of this ordinal, from 0, in a fleet of equal ones. Makes those of all before it:
/// who needs many asks [`Spread`].
///
/// # Errors
///
/// If the ordinal is above [`MAX_ORDINAL`], `zone` is not below [`MAX_ZONES`], or the fleet would have tokens on more
/// than half of the positions.
pub fn spread_tokens(ordinal: u32, zone: u8, tokens: NonZeroU16) -> Result<TokenSet, SpreadError> {
    if ordinal > MAX_ORDINAL {
        return Err(SpreadError::Ordinal { ordinal });
    }
    if (u64::from(ordinal) + 1) * u64::from(tokens.get()) > SLOTS / 2 {
        return Err(SpreadError::Crowded { wanted: tokens.get().into() });
    }
    let mut fleet = Spread::new(tokens);
    for _ in 0..ordinal {
        fleet.join(NonZeroU8::MIN)?;
    }
    in_zone(&fleet.join(NonZeroU8::MIN)?, zone)
}

/// The number after the last `-` of an id, as orchestrators name the members of a set; `None` if there is none.
/// Instances with other ids get their ordinal from whoever starts them.
///
/// ```
/// use forebay_ring::spread::ordinal_of;
///
/// assert_eq!(ordinal_of("ingester-zone-a-12"), Some(12));
/// assert_eq!(ordinal_of("ingester"), None);
/// ```
pub fn ordinal_of(id: &str) -> Option<u32> {
    let (_, digits) = id.rsplit_once('-')?;
    // `parse` would take a sign.
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The instance before this one has no tokens yet: wait for it, since shares are even only if a fleet joins in
/// order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("instance {missing} has no tokens yet")]
pub struct NotYet {
    /// Whose turn it is.
    pub missing: String,
}

/// Whether the instance `id` of `zone` may join: the one whose id has the ordinal before its own is in the same
/// zone and has tokens. Ids without ordinal and ordinal 0 always may. O(log members).
///
/// # Errors
///
/// If it has to wait.
pub fn can_join(id: &str, zone: &str, members: &Membership) -> Result<(), NotYet> {
    let Some(before) = ordinal_of(id).and_then(|ordinal| ordinal.checked_sub(1)) else { return Ok(()) };
    let (name, digits) = id.rsplit_once('-').unwrap_or_default();
    // Ordinals keep the width they are written with: `-10` follows `-9`, and `-010` follows `-009`.
    let width = if digits.starts_with('0') { digits.len() } else { 0 };
    let missing = format!("{name}-{before:0width$}");
    let ready = members.member(&missing).is_some_and(|member| {
        let before = &member.instance;
        before.state != State::Left && *before.zone == *zone && !before.tokens.is_empty()
    });
    if ready { Ok(()) } else { Err(NotYet { missing }) }
}

#[cfg(test)]
mod tests;
