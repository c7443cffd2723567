//! The rows of a block by the hash of what they hold. Nothing is hashed until somebody asks, and a clone knows nothing:
//! it takes up the rows when it is asked itself.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::entry::SymbolPair;

/// Time, line and metadata of an entry.
pub(super) type Item<'a> = (i64, &'a [u8], &'a [SymbolPair]);

/// The first rows of a block, as many as there were when it was last asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    rows: HashTable<u32>,
    hasher: RandomState,
}

impl Clone for Seen {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Seen {
    /// Whether one of the `length` rows that `row` gives is this entry.
    pub(super) fn holds<'a>(
        &mut self,
        wanted: Item<'_>,
        length: usize,
        row: impl Fn(u32) -> Item<'a>,
    ) -> bool {
        let Self { rows, hasher } = self;
        // The hashes are not kept: to compute them again when the table grows takes less than to store them.
        let hash_of = |number: &u32| hash(hasher, row(*number));
        let taken_up = rows.len();
        for number in (0u32..).take(length).skip(taken_up) {
            rows.insert_unique(hash_of(&number), number, hash_of);
        }
        rows.find(hash(hasher, wanted), |&number| row(number) == wanted).is_some()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.allocation_size()
    }
}

fn hash(hasher: &RandomState, (timestamp_ns, line, pairs): Item<'_>) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_i64(timestamp_ns);
    state.write(line);
    for pair in pairs {
        state.write_u64(u64::from(pair.name) << 32 | u64::from(pair.value));
    }
    state.finish()
}
