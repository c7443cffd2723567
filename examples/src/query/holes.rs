//! Lines that a query did not read because what is stored is damaged. They are told in its answer, so that nobody takes
//! the rest for all; the rest is answered, so that one bad sector is no reason to see nothing.

use std::collections::BTreeMap;

use forebay_chunk::{Damage, DamageKind};

use crate::index::{ChunkRef, Span};

/// Most holes that are kept apart, and of them those that are told one by one.
const MOST: usize = 1000;
const TOLD: usize = 20;

/// What is missing. The same hole is noted once, however often it is met.
#[derive(Debug, Clone, Default)]
pub struct Holes {
    /// By the key of the chunk and the number of its block; without one it is all of the chunk.
    found: BTreeMap<(String, Option<usize>), Hole>,
    /// Those that there was no room for; the same one may be among them more than once.
    more: usize,
}

/// What one of them may have held.
#[derive(Debug, Clone)]
struct Hole {
    entries: u64,
    first_ns: i64,
    last_ns: i64,
    cause: String,
}

impl Holes {
    /// Notes that nothing of `chunk` can be read.
    pub fn add_chunk(&mut self, chunk: &ChunkRef, cause: &forebay_chunk::Error) {
        let (first_ns, last_ns) = (chunk.from_ns, chunk.through_ns);
        let hole = Hole { entries: chunk.entries, first_ns, last_ns, cause: cause.to_string() };
        self.add(&chunk.key, None, hole);
    }

    /// Notes damage of a block of the chunk with `key`, if lines of `span` are lost by it.
    pub fn add_block(&mut self, key: &str, damage: &Damage, span: Span) {
        let Damage { block, min_ns: first_ns, max_ns: last_ns, .. } = *damage;
        let cause = match &damage.kind {
            DamageKind::Lost { cause, .. } => cause.to_string(),
            // Nothing is lost, or it is a kind that only comes where somebody salvages.
            _ => return,
        };
        if first_ns <= span.through_ns && last_ns >= span.from_ns {
            let hole = Hole { entries: damage.entries_lost(), first_ns, last_ns, cause };
            self.add(key, Some(block), hole);
        }
    }

    fn add(&mut self, key: &str, block: Option<usize>, hole: Hole) {
        let place = (key.to_owned(), block);
        if let Some(known) = self.found.get_mut(&place) {
            // A block that breaks off half-way is lost from there on; read from the other end, it is more.
            if known.entries < hole.entries {
                *known = hole;
            }
            return;
        }
        metrics::counter!("forebay_query_holes_total").increment(1);
        if self.found.len() >= MOST {
            self.more += 1;
            return;
        }
        tracing::warn!(key, block, entries = hole.entries, cause = hole.cause, "damaged chunk");
        self.found.insert(place, hole);
    }

    /// Notes what a part of the query met.
    pub(super) fn join(&mut self, part: &Self) {
        for (place, hole) in &part.found {
            if let Some(known) = self.found.get_mut(place) {
                if known.entries < hole.entries {
                    *known = hole.clone();
                }
            } else if self.found.len() < MOST {
                self.found.insert(place.clone(), hole.clone());
            } else {
                self.more += 1;
            }
        }
        self.more += part.more;
    }

    /// A sentence for each, and one for those that are too many.
    pub fn warnings(&self) -> Vec<String> {
        let told = self.found.iter().take(TOLD).map(|((key, block), hole)| {
            let what = block.map_or_else(String::new, |block| format!("block {block} of "));
            let Hole { entries, first_ns, last_ns, cause } = hole;
            format!(
                "{what}chunk {key} is damaged: up to {entries} lines from {} to {} are missing: {cause}",
                time(*first_ns),
                time(*last_ns)
            )
        });
        let rest = self.found.len().saturating_sub(TOLD) + self.more;
        let rest =
            (rest > 0).then(|| format!("{rest} more chunks or blocks are damaged, and their lines missing"));
        told.chain(rest).collect()
    }
}

fn time(unix_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(unix_ns.into()).map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use forebay_chunk::{Error, Section};

    use super::*;
    use crate::labels::Labels;

    const CAUSE: Error =
        Error::ChecksumMismatch { section: Section::Block(3), offset: 5, expected: 1, found: 2 };

    fn damage(block: usize, kind: DamageKind) -> Damage {
        Damage {
            block,
            offset: 5,
            size_bytes: 9,
            min_ns: 1_700_000_000_000_000_000,
            max_ns: 1_700_000_001_000_000_000,
            kind,
        }
    }

    fn lost(block: usize) -> Damage {
        damage(block, DamageKind::Lost { entries: 7, cause: CAUSE })
    }

    fn chunk(key: &str) -> ChunkRef {
        ChunkRef {
            key: key.to_owned(),
            labels: Labels::from_sorted(&[("app", "a")]),
            fingerprint: 1,
            from_ns: 0,
            through_ns: 1_000_000_000,
            entries: 12,
            raw_bytes: 1,
            stored_bytes: 1,
            ingested_at_ns: 1,
            tally: None,
        }
    }

    #[test]
    fn a_hole_is_told_once_with_what_is_missing_and_why() {
        let mut holes = Holes::default();
        for _ in 0..2 {
            holes.add_block("t/k", &lost(3), Span::ALL);
            holes.add_chunk(&chunk("t/l"), &Error::Empty);
        }
        assert_eq!(
            holes.warnings(),
            [
                "block 3 of chunk t/k is damaged: up to 7 lines from 2023-11-14T22:13:20Z to 2023-11-14T22:13:21Z are missing: \
                 block 3 at byte 5 has checksum 00000002, expected 00000001",
                "chunk t/l is damaged: up to 12 lines from 1970-01-01T00:00:00Z to 1970-01-01T00:00:01Z are missing: \
                 object is empty",
            ]
        );
    }

    #[test]
    fn what_is_missing_of_another_time_or_not_missing_at_all_is_none() {
        let mut holes = Holes::default();
        holes.add_block("k", &damage(0, DamageKind::Moved { found_offset: 1 }), Span::ALL);
        holes.add_block("k", &lost(0), Span { from_ns: 0, through_ns: 1_699_999_999_999_999_999 });
        holes.add_block("k", &lost(0), Span { from_ns: 1_700_000_001_000_000_001, through_ns: i64::MAX });
        assert_eq!(holes.warnings(), [""; 0]);
        holes.add_block("k", &lost(0), Span { from_ns: 1_700_000_001_000_000_000, through_ns: i64::MAX });
        assert_eq!(holes.warnings().len(), 1);
    }

    #[test]
    fn however_many_there_are_some_are_told_and_all_are_counted() {
        let mut holes = Holes::default();
        for number in 0..1100 {
            holes.add_chunk(&chunk(&number.to_string()), &Error::Empty);
        }
        let warnings = holes.warnings();
        assert_eq!(warnings.len(), 21);
        assert_eq!(warnings[20], "1080 more chunks or blocks are damaged, and their lines missing");
        assert_eq!(holes.found.len(), 1000);
    }
}
