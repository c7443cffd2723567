//! Label texts that were read and found to be valid before: agents send the same ones with every push.
//!
//! Invariants: what is kept is bounded in bytes, whoever sends whatever; and it holds for the limits that it was checked
//! against alone.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_tenant::Limits;
use hashbrown::HashTable;
use parking_lot::RwLock;

/// Locks that the texts are spread over, so that pushes rarely wait for each other.
const SHARDS: usize = 16;
/// Bytes that one of them keeps.
const SHARD_BYTES: usize = 1 << 20;
/// Longer texts are read each time.
const MAX_TEXT_BYTES: usize = 4 << 10;
/// What a text takes beside itself and its labels, about.
const TEXT_BYTES: usize = 128;
/// A full shard forgets what was not found while so many times as many unknown texts came as it holds. Of texts that are
/// sent in turns it keeps as many as it has room for, if there are no more than about so many times as many: to forget
/// the oldest for each new one would leave none that is there when its turn comes.
const TURNS: usize = 8;

/// What texts were found to be.
#[derive(Debug, Default)]
pub struct Known {
    hasher: foldhash::quality::RandomState,
    shards: [RwLock<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    texts: HashTable<Text>,
    bytes: usize,
    /// Texts that came since anything was forgotten, and that there was no room for.
    passed: usize,
}

/// Labels in their canonical form, and the limits that they keep to.
#[derive(Debug)]
struct Text {
    hash: u64,
    text: Box<str>,
    canonical: Box<[u8]>,
    /// Held, so that no other limits are where these were.
    limits: Arc<Limits>,
    /// Whether it was found since anything was forgotten.
    is_used: AtomicBool,
}

impl Known {
    /// Gives the canonical form of `text` to `take`, where it is known to keep to `limits`.
    pub(super) fn find<R>(
        &self,
        text: &str,
        limits: &Arc<Limits>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let (hash, shard) = self.shard(text, limits)?;
        let shard = shard.read();
        let found = shard.texts.find(hash, |known| known.is(text, limits))?;
        // Read first: texts that all find would else go from core to core.
        if !found.is_used.load(Ordering::Relaxed) {
            found.is_used.store(true, Ordering::Relaxed);
        }
        Some(take(&found.canonical))
    }

    /// Notes that `text` is `canonical`, and keeps to `limits`, if there is room for it.
    pub(super) fn learn(&self, text: &str, limits: &Arc<Limits>, canonical: &[u8]) {
        let Some((hash, shard)) = self.shard(text, limits) else { return };
        let mut shard = shard.write();
        let bytes = text.len() + canonical.len() + TEXT_BYTES;
        if !shard.has_room(bytes) || shard.texts.find(hash, |known| known.is(text, limits)).is_some() {
            return;
        }
        shard.bytes += bytes;
        let (text, canonical, limits) = (text.into(), canonical.into(), Arc::clone(limits));
        let known = Text { hash, text, canonical, limits, is_used: AtomicBool::new(false) };
        shard.texts.insert_unique(hash, known, |known| known.hash);
    }

    fn shard(&self, text: &str, limits: &Arc<Limits>) -> Option<(u64, &RwLock<Shard>)> {
        if text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let hash = self.hasher.hash_one((Arc::as_ptr(limits), text));
        // The table within goes by the lowest and the highest bits.
        let number = usize::try_from(hash >> 32).ok()? % SHARDS;
        self.shards.get(number).map(|shard| (hash, shard))
    }
}

impl Shard {
    /// Whether there is room for `bytes` more, of one that is not known; if need be, after what is not in use is forgotten.
    fn has_room(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes <= SHARD_BYTES {
            return true;
        }
        self.passed += 1;
        if self.passed > TURNS * self.texts.len() {
            self.passed = 0;
            self.texts.retain(|known| std::mem::take(known.is_used.get_mut()));
            self.bytes = self.texts.iter().map(Text::bytes).sum();
        }
        self.bytes + bytes <= SHARD_BYTES
    }
}

impl Text {
    fn is(&self, text: &str, limits: &Arc<Limits>) -> bool {
        *self.text == *text && Arc::ptr_eq(&self.limits, limits)
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.canonical.len() + TEXT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Arc<Limits> {
        Arc::new(Limits::default())
    }

    fn found(known: &Known, text: &str, limits: &Arc<Limits>) -> Option<Vec<u8>> {
        known.find(text, limits, <[u8]>::to_vec)
    }

    /// As a push does with its texts; how many were known.
    fn push(known: &Known, limits: &Arc<Limits>, texts: impl Iterator<Item = String>) -> usize {
        let is_known = |text: &String| {
            let found = known.find(text, limits, |_| ()).is_some();
            if !found {
                known.learn(text, limits, text.as_bytes());
            }
            found
        };
        texts.filter(is_known).count()
    }

    fn texts(from: usize, count: usize) -> impl Iterator<Item = String> {
        (from..from + count).map(|n| format!("{{app=\"a\", stream=\"{n:0120}\"}}"))
    }

    #[test]
    fn a_text_is_known_for_the_limits_that_it_was_checked_against() {
        let (known, limits) = (Known::default(), limits());
        assert_eq!(found(&known, "{a=\"b\"}", &limits), None);
        known.learn("{a=\"b\"}", &limits, b"canonical");
        assert_eq!(found(&known, "{a=\"b\"}", &limits).unwrap(), b"canonical");
        assert_eq!(found(&known, "{ a=\"b\"}", &limits), None);
        let stricter = self::limits();
        assert_eq!(found(&known, "{a=\"b\"}", &stricter), None);
        known.learn("{a=\"b\"}", &stricter, b"the same");
        assert_eq!(found(&known, "{a=\"b\"}", &stricter).unwrap(), b"the same");
    }

    /// Two tenants with the same agents and limits of their own made each other's texts forgotten with every push.
    #[test]
    fn tenants_with_limits_of_their_own_know_the_same_texts_each() {
        let (known, tenants) = (Known::default(), [limits(), limits()]);
        let turn = || tenants.each_ref().map(|limits| push(&known, limits, texts(0, 100)));
        assert_eq!(turn(), [0, 0]);
        assert_eq!(turn(), [100, 100]);
    }

    /// All was forgotten whenever a shard was full, and of more texts than fit none was known when its turn came.
    #[test]
    fn of_more_texts_than_there_is_room_for_those_that_fit_are_known_in_every_turn() {
        let (known, limits) = (Known::default(), limits());
        let fit = SHARDS * SHARD_BYTES / text(&limits).bytes();
        assert!((30_000..60_000).contains(&fit), "{fit}");
        push(&known, &limits, texts(0, 100_000));
        for turn in 0..8 {
            let hits = push(&known, &limits, texts(0, 100_000));
            assert!(hits > fit / 10 * 9, "{hits} of {fit} in turn {turn}");
        }
    }

    fn text(limits: &Arc<Limits>) -> Text {
        let text = texts(0, 1).next().unwrap();
        let canonical = text.as_bytes().into();
        let (limits, is_used) = (Arc::clone(limits), AtomicBool::default());
        Text { hash: 0, text: text.into(), canonical, limits, is_used }
    }

    #[test]
    fn what_is_in_use_stays_however_many_texts_come_once_and_what_is_not_makes_room() {
        let (known, limits) = (Known::default(), limits());
        push(&known, &limits, texts(0, 1_000));
        for once in 0..8 {
            push(&known, &limits, texts(1_000_000 + once * 100_000, 100_000));
            assert_eq!(push(&known, &limits, texts(0, 1_000)), 1_000, "in use");
        }
        for _ in 0..5 * TURNS {
            push(&known, &limits, texts(500_000, 10_000));
        }
        assert_eq!(push(&known, &limits, texts(500_000, 10_000)), 10_000, "there is room for those of now");
    }

    #[test]
    fn what_is_known_is_bounded_and_a_long_text_is_not_kept() {
        let (known, limits) = (Known::default(), limits());
        for n in 0..20_000 {
            known.learn(&format!("{n:01000}"), &limits, &[7; 1000]);
            known.learn("again and again", &limits, b"x");
        }
        for shard in &known.shards {
            let shard = shard.read();
            assert!((1..=SHARD_BYTES).contains(&shard.bytes), "{}", shard.bytes);
            assert_eq!(shard.texts.iter().map(Text::bytes).sum::<usize>(), shard.bytes);
        }
        known.learn(&"x".repeat(MAX_TEXT_BYTES + 1), &limits, b"x");
        assert_eq!(found(&known, &"x".repeat(MAX_TEXT_BYTES + 1), &limits), None);
    }
}
