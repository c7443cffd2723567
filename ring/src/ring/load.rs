//! How much each instance holds, how uneven that is, and what a join or leave would make of it.
//!
//! Invariant: the loads of all instances add up to the number of copies of a key.

use std::sync::Arc;

use super::Ring;
use super::diff::RangeDiff;
use crate::error::BuildError;
use crate::instance::{Instance, State};
use crate::membership::Member;

/// How uneven the loads of instances that own tokens are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Imbalance {
    /// The largest load over the mean one: 1 if all are equal, 0 if there is nobody.
    pub max_over_mean: f64,
    /// The part by which the smallest load is below the largest: 0 if all are equal.
    pub spread: f64,
    /// The standard deviation over the mean.
    pub deviation: f64,
    /// What `deviation` would be for the shares of as many *random* tokens each, `sqrt((N - 1) / (N · V + 1))` for N
    /// instances of V tokens on average. Loads of replicas are somewhat more even than shares of owners; zones of
    /// different size are more uneven.
    pub random_deviation: f64,
}

/// What a change would do.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The ring as it would be.
    pub ring: Ring,
    /// Which keys would move.
    pub diff: RangeDiff,
    /// How uneven it is.
    pub before: Imbalance,
    /// How uneven it would be.
    pub after: Imbalance,
}

/// Why nothing was tried.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// The snapshot has no such instance, or it has left.
    #[error("no such instance in the ring")]
    Unknown,
    /// There would be no such ring.
    #[error("ring cannot be built")]
    Build(#[from] BuildError),
}

impl Ring {
    /// The share of all keys that each instance holds as owner or as another replica while nobody extends the
    /// operation, by ascending id. Together they are the number of copies of a key. O(tokens · replicas) where replica
    /// sets are precomputed.
    pub fn load(&self) -> impl ExactSizeIterator<Item = (&Instance, f64)> {
        let replicas = usize::from(self.options.replication_factor);
        let mut keys = vec![0_u64; self.members.len()];
        for (first, last, at) in self.topology.pieces() {
            for member in self.topology.selected(at, replicas) {
                keys[usize::from(member)] += u64::from(last - first) + 1;
            }
        }
        self.instances().zip(keys).map(|(instance, keys)| (instance, keys as f64 / (1_u64 << 32) as f64))
    }

    /// How uneven the [`load`](Self::load) of instances that own tokens is: of one whose tokens are not known, or
    /// another's, there is no load to compare. As expensive.
    pub fn imbalance(&self) -> Imbalance {
        let owned = self.topology.owned().iter();
        let loads: Vec<f64> = self
            .load()
            .zip(owned)
            .filter(|(_, tokens)| !tokens.is_empty())
            .map(|((_, load), _)| load)
            .collect();
        if loads.is_empty() {
            return Imbalance::default();
        }
        let count = loads.len() as f64;
        let mean = loads.iter().sum::<f64>() / count;
        let variance = loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>() / count;
        let (min, max) =
            loads.iter().fold((f64::MAX, 0.0_f64), |(min, max), &load| (min.min(load), max.max(load)));
        Imbalance {
            max_over_mean: max / mean,
            spread: 1.0 - min / max,
            deviation: variance.sqrt() / mean,
            random_deviation: ((count - 1.0) / (self.token_count() as f64 + 1.0)).sqrt(),
        }
    }

    /// What would happen if this instance joined, or took the place of the one with its id. One that has left, or is of
    /// an excluded zone, joins nothing. Nothing here changes. As [`build`](Self::build) and [`diff`](Self::diff).
    ///
    /// # Errors
    ///
    /// If it would be one instance or token too many.
    pub fn try_join(&self, instance: &Instance) -> Result<Trial, TrialError> {
        let joiner = Member { instance: Arc::new(instance.clone()), heard_ns: self.now_ns };
        let mut members = self.members.to_vec();
        let is_in = instance.state != State::Left && !self.options.excluded_zones.contains(&instance.zone);
        match members.binary_search_by(|member| member.instance.id.cmp(&instance.id)) {
            Ok(at) if is_in => members[at] = joiner,
            Ok(at) => drop(members.remove(at)),
            Err(at) if is_in => members.insert(at, joiner),
            Err(_) => {}
        }
        self.try_members(members)
    }

    /// What would happen if this instance left. Nothing here changes. As [`build`](Self::build) and
    /// [`diff`](Self::diff).
    ///
    /// # Errors
    ///
    /// If there is no such instance.
    pub fn try_leave(&self, id: &str) -> Result<Trial, TrialError> {
        let leaver = self.number_of(id).ok_or(TrialError::Unknown)?;
        let mut members = self.members.to_vec();
        members.remove(usize::from(leaver));
        self.try_members(members)
    }

    fn try_members(&self, members: Vec<Member>) -> Result<Trial, TrialError> {
        let ring = self.of_members(members)?;
        let (diff, before, after) = (self.diff(&ring), self.imbalance(), ring.imbalance());
        Ok(Trial { ring, diff, before, after })
    }
}
