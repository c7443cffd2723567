//! Positions on the ring: how a key gets one, and the sorted sets of them that instances hold.
//!
//! Invariant: a [`TokenSet`] is sorted and holds no token twice, however it was made. The key space is
//! the whole of `u32`, a circle; a key belongs to the first token *strictly greater* than itself, so a
//! token is the exclusive end of the range it owns: with tokens 10 and 20, key 10 belongs to 20.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

/// A position on the ring; every `u32` is one. Keys and the tokens of instances share the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Token(pub u32);

impl Token {
    /// How far a walk from the key `self` goes until it meets `token`: 0 for the position right after
    /// the key, `u32::MAX` for the key's own position, which the walk meets last.
    #[inline]
    pub const fn distance_to(self, token: Token) -> u32 {
        token.0.wrapping_sub(self.0).wrapping_sub(1)
    }
}

impl From<u32> for Token {
    #[inline]
    fn from(position: u32) -> Self {
        Self(position)
    }
}

impl From<Token> for u32 {
    #[inline]
    fn from(token: Token) -> Self {
        token.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The key of a stream of a tenant: the high 32 bits of the 64-bit XXH3 (seed 0) of the tenant's length
/// as a `u64` in little-endian, the tenant's bytes, and the stream's bytes.
///
/// The length keeps `("a", "bc")` and `("ab", "c")` apart. The result is the same on every machine and
/// in every version of this crate: keys decide where data lies.
///
/// ```
/// use forebay_ring::token_for;
///
/// assert_eq!(token_for("team-a", br#"{app="api"}"#), token_for("team-a", br#"{app="api"}"#));
/// assert_ne!(token_for("a", b"bc"), token_for("ab", b"c"));
/// ```
pub fn token_for(tenant: &str, stream: &[u8]) -> Token {
    let mut hasher = Xxh3::new();
    hasher.update(&(tenant.len() as u64).to_le_bytes());
    hasher.update(tenant.as_bytes());
    hasher.update(stream);
    Token(u32::try_from(hasher.digest() >> 32).expect("32 bits are left after the shift"))
}

/// The key Loki gives a stream: 32-bit FNV-1 of the tenant followed by the printed labels.
///
/// For a ring shared with Loki. On its own merits prefer [`token_for`]: FNV-1 leaves the high bits of
/// names that differ only at their end badly spread (64,000 keys of `stream-00000`, `stream-00001`, … over
/// 64 parts of the ring have a chi² per degree of freedom of 55, where a good hash has 1), and nothing
/// separates tenant and labels.
pub fn fnv1_32(tenant: &str, labels: &str) -> Token {
    fnv1(tenant, labels.as_bytes())
}

fn fnv1(tenant: &str, labels: &[u8]) -> Token {
    const OFFSET_BASIS: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let bytes = tenant.bytes().chain(labels.iter().copied());
    Token(bytes.fold(OFFSET_BASIS, |hash, byte| hash.wrapping_mul(PRIME) ^ u32::from(byte)))
}

/// Which hash makes keys, for a configuration to name. All that share a ring must have the same.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum KeyHash {
    /// [`token_for`].
    #[default]
    Xxh3,
    /// [`fnv1_32`], for a ring shared with Loki.
    Fnv1,
}

impl KeyHash {
    /// The key of a stream of a tenant.
    ///
    /// ```
    /// use forebay_ring::{KeyHash, fnv1_32, token_for};
    ///
    /// assert_eq!(KeyHash::default().token("a", b"{}"), token_for("a", b"{}"));
    /// assert_eq!(KeyHash::Fnv1.token("a", b"{}"), fnv1_32("a", "{}"));
    /// ```
    pub fn token(self, tenant: &str, stream: &[u8]) -> Token {
        match self {
            KeyHash::Xxh3 => token_for(tenant, stream),
            KeyHash::Fnv1 => fnv1(tenant, stream),
        }
    }
}

/// Sorted tokens without repetition; a clone shares them.
///
/// Made from any list in O(n log n), so a list that came over the wire needs no check.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "Vec<u32>", into = "Vec<u32>")
)]
pub struct TokenSet(Arc<[u32]>);

impl TokenSet {
    /// Whether `token` is one of the set; O(log n).
    pub fn contains(&self, token: impl Into<Token>) -> bool {
        self.0.binary_search(&token.into().0).is_ok()
    }

    /// The first token strictly greater than `key`, wrapping; `None` if the set is empty. O(log n).
    #[inline]
    pub fn first_after(&self, key: impl Into<Token>) -> Option<Token> {
        let key = key.into();
        let at = self.0.partition_point(|&token| token <= key.0);
        self.0.get(at).or(self.0.first()).map(|&token| Token(token))
    }

    /// Whether both are the same set; O(1) if one is a clone of the other.
    pub(crate) fn same_as(&self, other: &TokenSet) -> bool {
        self.is(other) || self.0 == other.0
    }

    /// Whether one is a clone of the other.
    pub(crate) fn is(&self, other: &TokenSet) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Vec<u32>> for TokenSet {
    #[inline]
    fn from(mut tokens: Vec<u32>) -> Self {
        tokens.sort_unstable();
        tokens.dedup();
        Self(tokens.into())
    }
}

impl From<TokenSet> for Vec<u32> {
    #[inline]
    fn from(set: TokenSet) -> Self {
        set.0.to_vec()
    }
}

impl FromIterator<u32> for TokenSet {
    fn from_iter<I: IntoIterator<Item = u32>>(tokens: I) -> Self {
        tokens.into_iter().collect::<Vec<u32>>().into()
    }
}

impl Deref for TokenSet {
    type Target = [u32];

    #[inline]
    fn deref(&self) -> &[u32] {
        &self.0
    }
}

impl fmt::Debug for TokenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    #[test]
    fn the_key_is_the_documented_hash_of_the_documented_bytes() {
        let bytes = b"\x06\0\0\0\0\0\0\0team-a{app=\"api\"}";
        assert_eq!(u64::from(token_for("team-a", br#"{app="api"}"#).0), xxh3_64(bytes) >> 32);
    }

    #[test]
    fn fnv1_matches_the_published_vectors() {
        // Vectors of the FNV authors (draft-eastlake-fnv, appendix), which call them FNV-1 32.
        assert_eq!(fnv1_32("", ""), Token(0x811c_9dc5));
        assert_eq!(fnv1_32("a", ""), Token(0x050c_5d7e));
        assert_eq!(fnv1_32("foo", "bar"), Token(0x31f0_b262));
    }

    #[test]
    fn a_set_is_sorted_and_unique_however_it_was_made() {
        assert_eq!(*TokenSet::from(vec![7, 0, u32::MAX, 7, 0]), [0, 7, u32::MAX]);
    }

    #[test]
    fn a_key_on_a_token_belongs_to_the_next_one() {
        let set = TokenSet::from(vec![10, 20]);
        assert_eq!(set.first_after(9), Some(Token(10)));
        assert_eq!(set.first_after(10), Some(Token(20)));
        assert_eq!(set.first_after(20), Some(Token(10)));
        assert_eq!(set.first_after(u32::MAX), Some(Token(10)));
        assert_eq!(TokenSet::default().first_after(0), None);
    }

    #[test]
    fn distance_is_zero_right_after_the_key_and_longest_at_the_key_itself() {
        assert_eq!(Token(5).distance_to(Token(6)), 0);
        assert_eq!(Token(u32::MAX).distance_to(Token(0)), 0);
        assert_eq!(Token(5).distance_to(Token(5)), u32::MAX);
        assert_eq!(Token(5).distance_to(Token(4)), u32::MAX - 1);
    }
}
