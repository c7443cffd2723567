//! What an instance's software can do, so that the others can wait until all can. Invariant: names ascend and
//! none comes twice.

use std::ops::Deref;
use std::sync::Arc;

/// Versions of features by their number; a clone shares them.
///
/// A cluster that is upgraded one instance at a time turns a feature on when every member announces it. The
/// ring carries the numbers and gives them no meaning.
///
/// ```
/// use forebay_ring::Features;
///
/// const COLUMNAR: u64 = 1;
/// let features = Features::new([(COLUMNAR, 2)])?;
/// assert_eq!(features.version(COLUMNAR), Some(2));
/// assert_eq!(features.version(7), None);
/// # Ok::<(), forebay_ring::TooManyFeatures>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")
)]
pub struct Features(Arc<[(u64, u64)]>);

/// An instance announces more features than every heartbeat should carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} features exceed the limit of {max}")]
pub struct TooManyFeatures {
    /// How many.
    pub found: usize,
    /// [`Features::MAX`].
    pub max: usize,
}

impl Features {
    /// The most an instance announces.
    pub const MAX: usize = 64;

    /// Of pairs of a feature and its version, in any order; of one named twice the higher version. O(n log n).
    ///
    /// # Errors
    ///
    /// If there are more than [`MAX`](Self::MAX).
    pub fn new(versions: impl IntoIterator<Item = (u64, u64)>) -> Result<Self, TooManyFeatures> {
        let mut versions: Vec<_> = versions.into_iter().collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions.dedup_by_key(|&mut (name, _)| name);
        versions.reverse();
        if versions.len() > Self::MAX {
            return Err(TooManyFeatures { found: versions.len(), max: Self::MAX });
        }
        Ok(Self(versions.into()))
    }

    /// The version of a feature; `None` if the instance does not have it. O(log n).
    pub fn version(&self, feature: u64) -> Option<u64> {
        let at = self.0.binary_search_by_key(&feature, |&(name, _)| name).ok()?;
        Some(self.0[at].1)
    }
}

impl Deref for Features {
    type Target = [(u64, u64)];

    fn deref(&self) -> &[(u64, u64)] {
        &self.0
    }
}

impl TryFrom<Vec<(u64, u64)>> for Features {
    type Error = TooManyFeatures;

    fn try_from(versions: Vec<(u64, u64)>) -> Result<Self, TooManyFeatures> {
        Self::new(versions)
    }
}

impl From<Features> for Vec<(u64, u64)> {
    fn from(features: Features) -> Self {
        features.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_feature_named_twice_the_higher_version_counts_and_names_ascend() {
        let features = Features::new([(9, 1), (2, 5), (9, 3), (2, 4)]).unwrap();
        assert_eq!(*features, [(2, 5), (9, 3)]);
    }

    #[test]
    fn one_feature_too_many_is_refused() {
        assert_eq!(Features::new((0..64).map(|n| (n, n))).unwrap().len(), 64);
        let refused = TooManyFeatures { found: 65, max: 64 };
        assert_eq!(Features::new((0..65).map(|n| (n, n))), Err(refused));
    }
}
