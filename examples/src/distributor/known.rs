//! Label texts that were read and found to be valid before: agents send the same ones with every push.
//!
//! Invariant: what is kept is bounded in bytes, whoever sends whatever, and holds for the limits that it was checked
//! against alone.

use std::hash::BuildHasher;
use std::sync::Arc;

use forebay_tenant::Limits;
use hashbrown::HashMap;
use parking_lot::RwLock;

/// Locks that the texts are spread over, so that pushes rarely wait for each other.
const SHARDS: usize = 16;
/// Bytes that one of them keeps; beyond it everything is forgotten, and what is in use is learnt again.
const SHARD_BYTES: usize = 1 << 20;
/// Longer texts are read each time.
const MAX_TEXT_BYTES: usize = 4 << 10;
/// What an entry takes beside its text and its labels, about.
const ENTRY_BYTES: usize = 128;

type Hasher = foldhash::quality::RandomState;

/// What texts were found to be.
#[derive(Debug, Default)]
pub(super) struct Known {
    hasher: Hasher,
    shards: [RwLock<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    texts: HashMap<Box<str>, Labels, Hasher>,
    bytes: usize,
}

/// Labels in their canonical form, and the limits that they keep to.
#[derive(Debug)]
struct Labels {
    canonical: Box<[u8]>,
    limits: Arc<Limits>,
}

impl Known {
    /// Gives the canonical form of `text` to `take`, where it is known to keep to `limits`.
    pub(super) fn find<R>(
        &self,
        text: &str,
        limits: &Arc<Limits>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let shard = self.shard(text)?.read();
        let labels = shard.texts.get(text).filter(|labels| Arc::ptr_eq(&labels.limits, limits))?;
        Some(take(&labels.canonical))
    }

    /// Notes that `text` is `canonical`, and keeps to `limits`.
    pub(super) fn learn(&self, text: &str, limits: &Arc<Limits>, canonical: &[u8]) {
        let Some(shard) = self.shard(text) else { return };
        let labels = Labels { canonical: canonical.into(), limits: Arc::clone(limits) };
        let mut shard = shard.write();
        let bytes = text.len() + canonical.len() + ENTRY_BYTES;
        if shard.bytes + bytes > SHARD_BYTES {
            *shard = Shard::default();
        }
        shard.bytes += bytes;
        if let Some(before) = shard.texts.insert(text.into(), labels) {
            shard.bytes -= text.len() + before.canonical.len() + ENTRY_BYTES;
        }
    }

    fn shard(&self, text: &str) -> Option<&RwLock<Shard>> {
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let hash = self.hasher.hash_one(text) % SHARDS as u64;
        self.shards.get(usize::try_from(hash).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(known: &Known, text: &str, limits: &Arc<Limits>) -> Option<Vec<u8>> {
        known.find(text, limits, <[u8]>::to_vec)
    }

    #[test]
    fn a_text_is_known_for_the_limits_that_it_was_checked_against() {
        let (known, limits) = (Known::default(), Arc::new(Limits::default()));
        assert_eq!(found(&known, "{a=\"b\"}", &limits), None);
        known.learn("{a=\"b\"}", &limits, b"canonical");
        assert_eq!(found(&known, "{a=\"b\"}", &limits).unwrap(), b"canonical");
        assert_eq!(found(&known, "{ a=\"b\"}", &limits), None);
        let stricter = Arc::new(Limits::default());
        assert_eq!(found(&known, "{a=\"b\"}", &stricter), None);
        known.learn("{a=\"b\"}", &stricter, b"the same");
        assert_eq!(found(&known, "{a=\"b\"}", &stricter).unwrap(), b"the same");
        assert_eq!(found(&known, "{a=\"b\"}", &limits), None, "the older ones are gone");
    }

    #[test]
    fn what_is_known_is_bounded_and_a_long_text_is_not_kept() {
        let (known, limits) = (Known::default(), Arc::new(Limits::default()));
        let held = |known: &Known| known.shards.iter().map(|shard| shard.read().bytes).collect::<Vec<_>>();
        for n in 0..20_000 {
            known.learn(&format!("{n:01000}"), &limits, &[7; 1000]);
            known.learn("again and again", &limits, b"x");
        }
        assert!(held(&known).iter().all(|bytes| (1..=SHARD_BYTES).contains(bytes)), "{:?}", held(&known));
        let kept = known.shards.iter().flat_map(|shard| {
            let shard = shard.read();
            let bytes = shard.texts.iter().map(|(text, l)| text.len() + l.canonical.len() + ENTRY_BYTES);
            [bytes.sum::<usize>()]
        });
        assert_eq!(kept.collect::<Vec<_>>(), held(&known), "what is replaced is not counted twice");
        known.learn(&"x".repeat(MAX_TEXT_BYTES + 1), &limits, b"x");
        assert_eq!(found(&known, &"x".repeat(MAX_TEXT_BYTES + 1), &limits), None);
    }
}
