//! What lines take in memory, those included that only readers still hold: a snapshot keeps the blocks it was taken of
//! when the stream has long let go of them. Blocks are shared among the readers of a chunk, so what they hold of it is
//! taken for as much as the one holds that holds most.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_chunk::Snapshot;
use metrics::Gauge;
use parking_lot::Mutex;

/// Bytes of lines in memory.
#[derive(Debug)]
pub(super) struct Account {
    bytes: AtomicUsize,
    shown: Gauge,
}

impl Default for Account {
    fn default() -> Self {
        Self { bytes: AtomicUsize::new(0), shown: metrics::gauge!("forebay_ingester_memory_bytes") }
    }
}

impl Account {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn change(&self, change: isize) {
        // Adding what wraps round is subtracting.
        let before = self.bytes.fetch_add(change.cast_unsigned(), Ordering::Relaxed);
        self.shown.set(before.wrapping_add_signed(change) as f64);
    }
}

/// The readers of a chunk. What each method returns is the change of what they hold and the chunk does not count itself.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<u64, Held>,
    count: u64,
    /// Bytes of blocks that the chunk has dropped for what they were compressed to.
    dropped: usize,
    has_left: bool,
    counted: usize,
}

/// What a reader holds.
#[derive(Debug)]
struct Held {
    bytes: usize,
    /// Those of them that are not compressed.
    plain: usize,
    /// What the chunk had dropped before.
    dropped: usize,
}

impl State {
    fn settle(&mut self) -> isize {
        let alone = |held: &Held| match self.has_left {
            true => held.bytes,
            false => held.plain.min(self.dropped - held.dropped),
        };
        let now = self.held.values().map(alone).max().unwrap_or_default();
        let change = now.cast_signed() - self.counted.cast_signed();
        self.counted = now;
        change
    }
}

impl Readers {
    /// Takes note of a reader of `snapshot`, which is of this chunk as it is now.
    pub(super) fn enter(self: &Arc<Self>, snapshot: Snapshot, account: &Arc<Account>) -> Read {
        let mut state = self.0.lock();
        state.count += 1;
        let (bytes, plain) = (snapshot.memory_bytes(), snapshot.plain_bytes());
        let (number, dropped) = (state.count, state.dropped);
        state.held.insert(number, Held { bytes, plain, dropped });
        Read { snapshot, readers: Arc::clone(self), number, account: Arc::clone(account) }
    }

    /// The chunk has dropped a block of so many bytes for what it was compressed to.
    pub(super) fn dropped(&self, bytes: usize) -> isize {
        let mut state = self.0.lock();
        state.dropped += bytes;
        state.settle()
    }

    /// The chunk has left memory.
    pub(super) fn left(&self) -> isize {
        let mut state = self.0.lock();
        state.has_left = true;
        state.settle()
    }
}

/// Blocks in the hands of a reader.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) snapshot: Snapshot,
    readers: Arc<Readers>,
    number: u64,
    account: Arc<Account>,
}

impl Drop for Read {
    fn drop(&mut self) {
        let mut state = self.readers.0.lock();
        state.held.remove(&self.number);
        let change = state.settle();
        drop(state);
        if change != 0 {
            self.account.change(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_chunk::{Builder, BuilderOptions, Entry};

    use super::*;

    fn builder(lines: i64) -> Builder {
        let mut builder = Builder::new(BuilderOptions::default()).unwrap();
        for at in 0..lines {
            builder.append(Entry::new(at, &*format!("line {at}"))).unwrap();
        }
        builder
    }

    #[test]
    fn what_readers_hold_of_a_chunk_that_has_left_counts_until_the_last_lets_go() {
        let (account, readers) = (Arc::new(Account::default()), Arc::new(Readers::default()));
        let (small, large) = (builder(10).snapshot(..), builder(20_000).snapshot(..));
        let bytes = [&small, &large].map(Snapshot::memory_bytes);
        assert!(0 < bytes[0] && bytes[0] < bytes[1]);
        let reads = [readers.enter(small, &account), readers.enter(large, &account)];
        assert_eq!(account.bytes(), 0, "the chunk counts it");
        account.change(readers.left());
        assert_eq!(account.bytes(), bytes[1]);
        let [small, large] = reads;
        drop(large);
        assert_eq!(account.bytes(), bytes[0]);
        drop(small);
        assert_eq!(account.bytes(), 0);
    }

    #[test]
    fn a_block_that_was_compressed_counts_for_those_who_read_it_as_it_was() {
        let (account, readers) = (Arc::new(Account::default()), Arc::new(Readers::default()));
        let snapshot = builder(20_000).snapshot(..);
        let plain = snapshot.plain_bytes();
        assert_eq!(plain, snapshot.memory_bytes());
        account.change(readers.dropped(1000));
        let before = readers.enter(snapshot.clone(), &account);
        assert_eq!(account.bytes(), 0, "it came after that was dropped");
        account.change(readers.dropped(500));
        let after = readers.enter(snapshot, &account);
        assert_eq!(account.bytes(), 500);
        account.change(readers.dropped(plain));
        assert_eq!(account.bytes(), plain, "no more than it holds");
        drop(before);
        assert_eq!(account.bytes(), plain);
        drop(after);
        assert_eq!(account.bytes(), 0);
    }
}
