//! What a power cut leaves of the effects that no sync has made durable: one choice for each, in one fixed order.

use std::sync::Arc;

use super::page::{PAGE_LEN, Page, torn};

/// Which of the effects that no sync has made durable survive a power cut.
///
/// An effect is one dirty page of 4 KiB, the length of one file, or one name of one directory. They are counted
/// from 0 as in [`SimFs::effects`](super::SimFs::effects): names first, by path, then files, by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Survive {
    /// None: the media as the last syncs left it.
    Nothing,
    /// All: as if everything had been synced.
    Everything,
    /// The n-th alone.
    Only(usize),
    /// All but the n-th.
    AllBut(usize),
    /// Those whose bit is set; none from the 64th on. To go through all `1 << effects` subsets.
    Subset(u64),
    /// The one that was changed last alone: the disk began with the newest.
    Last,
    /// All, written from the newest to the oldest: of each the first version since its last sync is what remains.
    Reversed,
    /// Each by chance from this seed: any version of a name, a length, or a sector since its last sync. A sector
    /// is 512 bytes, or one byte in a file of at most a page.
    Seeded(u64),
}

/// Deterministic chance (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("less than a usize")
    }
}

/// A [`Survive`] being applied effect by effect.
#[derive(Debug)]
pub(super) struct Fate {
    survive: Survive,
    index: usize,
    chance: Chance,
}

impl Fate {
    pub(super) fn new(survive: Survive) -> Self {
        let seed = if let Survive::Seeded(seed) = survive { seed } else { 0 };
        Self { survive, index: 0, chance: Chance(seed) }
    }

    /// Which version survives: 0 is the media's, `versions` the newest.
    fn pick(&mut self, versions: usize) -> usize {
        let index = self.index;
        self.index += 1;
        let whole = match self.survive {
            Survive::Nothing => false,
            Survive::Everything => true,
            Survive::Only(n) => n == index,
            Survive::AllBut(n) => n != index,
            Survive::Subset(mask) => index < 64 && mask >> index & 1 == 1,
            Survive::Last => unreachable!("the disk knows which that is"),
            Survive::Reversed => return versions.min(1),
            Survive::Seeded(_) => return self.chance.below(versions + 1),
        };
        if whole { versions } else { 0 }
    }

    /// A value that was `media` at the last sync and went through `versions` since.
    pub(super) fn value<T: Clone>(&mut self, media: T, versions: &[T]) -> T {
        let version = self.pick(versions.len()).checked_sub(1);
        version.and_then(|n| versions.get(n).cloned()).unwrap_or(media)
    }

    /// Whether a block that was being written to is ruined with all that was in it.
    pub(super) fn ruins(&mut self) -> bool {
        matches!(self.survive, Survive::Seeded(_)) && self.chance.flip()
    }

    /// A page of a ruined block.
    pub(super) fn rubble(&mut self) -> Page {
        let mut page = [0; PAGE_LEN];
        page.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&self.chance.next().to_le_bytes()));
        Arc::new(page)
    }

    /// A page likewise, which may be torn between its sectors.
    pub(super) fn page(
        &mut self,
        media: Option<&Page>,
        versions: &[Option<Page>],
        sector: usize,
    ) -> Option<Page> {
        let whole = self.value(media.cloned(), versions);
        if matches!(self.survive, Survive::Seeded(_)) && self.chance.flip() {
            return torn(media, versions, sector, || self.chance.below(versions.len() + 1));
        }
        whole
    }
}
