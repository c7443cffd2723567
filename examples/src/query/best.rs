//! The first lines of many streams, read a few streams at a time: what is held is as many lines as are wanted, and
//! the blocks of a few streams.

use std::collections::HashSet;

use forebay_chunk::Direction;

use super::merge::{Found, Identity, order};
use crate::index::Span;

/// Streams whose blocks are open at the same time.
pub const GROUP: usize = 32;

/// The first `limit` entries of what was taken, by time and then by the number of their stream.
#[derive(Debug)]
pub struct Best {
    direction: Direction,
    limit: usize,
    entries: Vec<Found>,
}

impl Best {
    /// None yet.
    pub fn new(direction: Direction, limit: usize) -> Self {
        Self { direction, limit, entries: Vec::new() }
    }

    /// The part of `span` in which an entry of a stream with a higher number would still be one of the first; `None`
    /// where there is none.
    pub fn open(&self, span: Span) -> Option<Span> {
        if self.entries.len() < self.limit {
            return Some(span);
        }
        let last_ns = self.entries.last()?.timestamp_ns;
        match self.direction {
            Direction::Forward => self.up_to(last_ns.checked_sub(1)?, span),
            Direction::Backward => self.up_to(last_ns.checked_add(1)?, span),
        }
    }

    /// The same for an entry of any stream.
    pub fn open_to_any(&self, span: Span) -> Option<Span> {
        if self.entries.len() < self.limit {
            return Some(span);
        }
        self.up_to(self.entries.last()?.timestamp_ns, span)
    }

    fn up_to(&self, last_ns: i64, span: Span) -> Option<Span> {
        let Span { from_ns, through_ns } = span;
        let open = match self.direction {
            Direction::Forward => Span { from_ns, through_ns: through_ns.min(last_ns) },
            Direction::Backward => Span { from_ns: from_ns.max(last_ns), through_ns },
        };
        (open.from_ns <= open.through_ns).then_some(open)
    }

    /// Takes in the first entries of a group of streams, in order; each once, whatever was taken before.
    pub fn take(&mut self, found: Vec<Found>) {
        let direction = self.direction;
        self.entries.extend(found);
        let place = |found: &Found| (order(direction, found.timestamp_ns), found.stream);
        self.entries.sort_by_key(place);
        let (mut here, mut seen) = (None, HashSet::<Identity>::new());
        self.entries.retain(|found| {
            if here.replace(place(found)) != Some(place(found)) {
                seen.clear();
            }
            seen.insert(found.identity)
        });
        self.entries.truncate(self.limit);
    }

    /// The entries.
    pub fn into_entries(self) -> Vec<Found> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_of_all_are_the_first_of_groups_that_are_read_as_far_as_is_open(
            times in prop::collection::vec(prop::collection::vec(-9..9_i64, 0..6), 0..8),
            limit in 1..9_usize,
            back: bool,
        ) {
            let direction = if back { Direction::Backward } else { Direction::Forward };
            let found = |stream, timestamp_ns| {
                Found { stream, timestamp_ns, identity: 0, line_bytes: 0, line: Bytes::new(), metadata: Vec::new() }
            };
            let numbered = |found: Found, identity| Found { identity, ..found };
            let streams: Vec<Vec<Found>> = (0..).zip(&times).map(|(n, times)| {
                let mut stream: Vec<Found> = (0..).zip(times).map(|(i, t)| numbered(found(n, *t), i)).collect();
                stream.sort_by_key(|found| order(direction, found.timestamp_ns));
                stream
            }).collect();
            let within = |open: Span| move |found: &Found| {
                found.timestamp_ns >= open.from_ns && found.timestamp_ns <= open.through_ns
            };
            let mut best = Best::new(direction, limit);
            let mut all: Vec<Found> = streams.concat();
            for stream in streams.clone() {
                let Some(open) = best.open(Span::ALL) else { continue };
                best.take(stream.into_iter().filter(within(open)).take(limit).collect());
            }
            // From the last stream to the first one, none may be left out for having a higher number.
            let mut any = Best::new(direction, limit);
            for stream in streams.into_iter().rev() {
                if let Some(open) = any.open_to_any(Span::ALL) {
                    any.take(stream.into_iter().filter(within(open)).take(limit).collect());
                }
            }
            all.sort_by_key(|found| (order(direction, found.timestamp_ns), found.stream));
            all.truncate(limit);
            prop_assert_eq!(any.into_entries(), all.clone());
            prop_assert_eq!(best.into_entries(), all);
        }
    }

    #[test]
    fn nothing_is_open_behind_the_last_nanosecond() {
        for (direction, edge) in [(Direction::Forward, i64::MIN), (Direction::Backward, i64::MAX)] {
            let mut best = Best::new(direction, 1);
            let found = Found {
                stream: 0,
                timestamp_ns: edge,
                identity: 0,
                line_bytes: 0,
                line: Bytes::new(),
                metadata: Vec::new(),
            };
            best.take(vec![found]);
            assert_eq!(best.open(Span::ALL), None);
        }
    }
}
