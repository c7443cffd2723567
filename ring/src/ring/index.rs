//! Finds the first token after a key in about two loads.
//!
//! Invariant: bucket `b` of the index is exactly the run of tokens whose high bits are `b`. Tokens are
//! spread evenly by construction, so with half as many buckets as tokens or more a run has one or two on
//! average; where tokens are clustered the rest of a run is searched in halves. More buckets would spare
//! no comparison that the first few of a run do not hide, and take more of the cache.

/// Where each run of tokens with equal high bits begins.
pub(super) struct Index {
    shift: u32,
    /// One more than there are buckets: the last entry is the number of tokens.
    starts: Box<[u32]>,
}

impl Index {
    /// `tokens` are sorted, not empty and no more than [`Ring::MAX_TOKENS`](crate::Ring::MAX_TOKENS).
    pub(super) fn build(tokens: &[u32]) -> Self {
        let bits = tokens.len().next_power_of_two().ilog2().saturating_sub(1).max(1);
        let shift = u32::BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        let mut next = 0;
        for bucket in 0..1_u32 << bits {
            starts.push(u32::try_from(next).expect("at most 2^26 tokens"));
            while tokens.get(next).is_some_and(|token| token >> shift == bucket) {
                next += 1;
            }
        }
        starts.push(u32::try_from(next).expect("at most 2^26 tokens"));
        Self { shift, starts: starts.into() }
    }

    /// Where the tokens with the key's high bits begin.
    #[inline]
    pub(super) fn start(&self, key: u32) -> usize {
        self.starts[self.bucket(key)] as usize
    }

    /// Where they end.
    #[inline]
    pub(super) fn end(&self, key: u32) -> usize {
        self.starts[self.bucket(key) + 1] as usize
    }

    #[inline]
    fn bucket(&self, key: u32) -> usize {
        (key >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::rows::Rows;

    fn check(tokens: &[u32]) {
        let index = Index::build(tokens);
        let rows = Rows::build(tokens.into(), vec![0; tokens.len()].into(), 1, |member| member);
        let around = |&token: &u32| [token.wrapping_sub(1), token, token.wrapping_add(1)];
        for key in tokens.iter().flat_map(around).chain([0, 1, u32::MAX - 1, u32::MAX]) {
            let expected = tokens.partition_point(|&token| token <= key) % tokens.len();
            assert_eq!(rows.place_after(&index, key), expected, "key {key} among {} tokens", tokens.len());
        }
    }

    #[test]
    fn the_ends_of_the_key_space_wrap() {
        for tokens in [&[0][..], &[1], &[u32::MAX], &[0, u32::MAX], &[0, 1, u32::MAX - 1, u32::MAX]] {
            check(tokens);
        }
    }

    #[test]
    fn evenly_spread_tokens_are_found_for_every_size_around_a_power_of_two() {
        for count in [2, 3, 4, 5, 127, 128, 129, 1000] {
            check(&(0..count).map(|n| n * (u32::MAX / count) + 17).collect::<Vec<_>>());
        }
    }

    #[test]
    fn clustered_tokens_in_one_bucket_are_found() {
        let mut tokens: Vec<u32> = (0..5_000).map(|n| (7 << 28) + n * 3).collect();
        tokens.extend([8 << 28, u32::MAX - 5]);
        assert!(Index::build(&tokens).starts.windows(2).any(|run| run[1] - run[0] > 4_000));
        check(&tokens);
    }
}
