//! The time of a query in windows from the wanted end on, so that the first lines are found without reading all there
//! is. Each window is twice as long as the one before: what is read goes no further than about twice as far as the
//! lines that are found, and most chunks lie in no more than two.

use forebay_chunk::Direction;

use crate::index::{ChunkRef, Span};

/// The first window is no shorter.
const SHORTEST_NS: i64 = 1_000_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Windows {
    direction: Direction,
    rest: Option<Span>,
    /// Where the next one ends, unless nothing is stored beyond it.
    edge_ns: i64,
    length_ns: i64,
}

impl Windows {
    /// Windows over `span`, of which `chunks` are stored. The first begins with `span` and is as long as half of the
    /// chunks at the most, from where they begin; none begins where no chunk is.
    pub(super) fn new<'a>(
        direction: Direction,
        span: Span,
        chunks: impl Iterator<Item = &'a ChunkRef>,
    ) -> Self {
        let (mut lengths, mut from_ns, mut through_ns) = (Vec::new(), i64::MAX, i64::MIN);
        for chunk in chunks {
            let (first, last) = (chunk.from_ns.max(span.from_ns), chunk.through_ns.min(span.through_ns));
            lengths.push(last.saturating_sub(first));
            (from_ns, through_ns) = (from_ns.min(first), through_ns.max(last));
        }
        if lengths.is_empty() {
            let edge_ns = if direction == Direction::Forward { i64::MAX } else { i64::MIN };
            return Self { direction, rest: Some(span), edge_ns, length_ns: SHORTEST_NS };
        }
        let middle = lengths.len() / 2;
        let length_ns = (*lengths.select_nth_unstable(middle).1).max(SHORTEST_NS);
        let (rest, edge_ns) = match direction {
            Direction::Forward => (Span { through_ns, ..span }, from_ns.saturating_add(length_ns)),
            Direction::Backward => (Span { from_ns, ..span }, through_ns.saturating_sub(length_ns)),
        };
        Self { direction, rest: Some(rest), edge_ns, length_ns }
    }

    /// What the next ones are of.
    pub(super) fn rest(&self) -> Option<Span> {
        self.rest
    }
}

impl Iterator for Windows {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let (rest, edge_ns) = (self.rest.take()?, self.edge_ns);
        self.length_ns = self.length_ns.saturating_mul(2);
        match self.direction {
            Direction::Forward if edge_ns < rest.through_ns => {
                self.edge_ns = edge_ns.saturating_add(self.length_ns);
                self.rest = Some(Span { from_ns: edge_ns + 1, ..rest });
                Some(Span { through_ns: edge_ns, ..rest })
            }
            Direction::Backward if edge_ns > rest.from_ns => {
                self.edge_ns = edge_ns.saturating_sub(self.length_ns);
                self.rest = Some(Span { through_ns: edge_ns - 1, ..rest });
                Some(Span { from_ns: edge_ns, ..rest })
            }
            _ => Some(rest),
        }
    }
}
