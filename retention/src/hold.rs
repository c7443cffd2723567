//! Legal holds: while one is in force, no matching chunk is deleted, whatever the policies say. Holds are
//! never removed; they are released, with a reason, and stay as a record.

use std::collections::HashMap;

pub use place::{MAX_NAMED, MAX_TEXT_BYTES, Placed, place, release};

use crate::chunk::{ChunkMeta, TimeRange};
use crate::index::Index;
use crate::policy::Scope;
use crate::selector::Selector;

mod place;

/// An order to keep data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct Hold {
    /// Unique for all time.
    pub id: String,
    /// Whose chunks.
    pub scope: Scope,
    /// Which streams.
    pub selector: Selector,
    /// Which time: chunks that share an instant with this range. `None` holds all time.
    #[cfg_attr(feature = "serde", serde(default))]
    pub range: Option<TimeRange>,
    /// The matter it belongs to.
    pub case: String,
    /// Why it was placed.
    pub reason: String,
    /// When it was placed, wall nanoseconds since 1970.
    pub created_at_ns: i64,
    /// When and why it was released; `None` while it is in force.
    #[cfg_attr(feature = "serde", serde(default))]
    pub released: Option<Release>,
}

/// The end of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Release {
    /// When, wall nanoseconds since 1970.
    pub at_ns: i64,
    /// Why.
    pub reason: String,
}

impl Hold {
    /// A hold on all time. It is in force once [`place`] has returned.
    pub fn new(
        id: impl Into<String>,
        scope: Scope,
        selector: Selector,
        case: impl Into<String>,
        reason: impl Into<String>,
        created_at_ns: i64,
    ) -> Self {
        Self {
            id: id.into(),
            scope,
            selector,
            range: None,
            case: case.into(),
            reason: reason.into(),
            created_at_ns,
            released: None,
        }
    }

    /// On chunks that share an instant with `range` only.
    #[must_use]
    pub fn within(mut self, range: TimeRange) -> Self {
        self.range = Some(range);
        self
    }

    /// Whether it is in force.
    pub fn is_active(&self) -> bool {
        self.released.is_none()
    }

    /// Whether it concerns `chunk`, in force or not.
    pub fn matches(&self, chunk: &ChunkMeta<'_>) -> bool {
        self.scope.includes(chunk.tenant) && self.concerns(chunk)
    }

    fn concerns(&self, chunk: &ChunkMeta<'_>) -> bool {
        self.range.is_none_or(|range| range.overlaps(chunk.range)) && self.selector.matches(chunk.labels)
    }
}

/// The holds in force at one moment, indexed. A chunk is free only when none of them matches.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    tenants: HashMap<String, Group>,
    all: Group,
}

#[derive(Debug, Clone, Default)]
struct Group {
    holds: Vec<Hold>,
    index: Index,
}

impl Group {
    fn new(holds: Vec<Hold>) -> Self {
        let index = Index::build(holds.iter().map(|hold| &hold.selector));
        Self { holds, index }
    }

    fn concerns(&self, position: usize, chunk: &ChunkMeta<'_>) -> bool {
        self.holds.get(position).is_some_and(|hold| hold.concerns(chunk))
    }
}

impl Holds {
    /// Those of `holds` that are in force.
    pub fn new(holds: impl IntoIterator<Item = Hold>) -> Self {
        let mut tenants: HashMap<String, Vec<Hold>> = HashMap::new();
        let mut all = Vec::new();
        for hold in holds.into_iter().filter(Hold::is_active) {
            match &hold.scope {
                Scope::Tenant(tenant) => tenants.entry(tenant.clone()).or_default().push(hold),
                Scope::All => all.push(hold),
            }
        }
        let tenants = tenants.into_iter().map(|(tenant, holds)| (tenant, Group::new(holds))).collect();
        Self { tenants, all: Group::new(all) }
    }

    /// A hold that matches `chunk`, if any does: one for all tenants before one of its tenant.
    pub fn first_match(&self, chunk: &ChunkMeta<'_>) -> Option<&Hold> {
        self.groups(chunk).find_map(|group| {
            let position = group.index.lowest(chunk.labels, |position| group.concerns(position, chunk))?;
            group.holds.get(position)
        })
    }

    /// Every hold that matches `chunk`.
    pub fn matching<'h>(&'h self, chunk: &'h ChunkMeta<'_>) -> impl Iterator<Item = &'h Hold> {
        self.groups(chunk).flat_map(|group| {
            let positions = group.index.all(chunk.labels, |position| group.concerns(position, chunk));
            positions.into_iter().filter_map(|position| group.holds.get(position))
        })
    }

    fn groups(&self, chunk: &ChunkMeta<'_>) -> impl Iterator<Item = &Group> {
        std::iter::once(&self.all).chain(self.tenants.get(chunk.tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;

    fn chunk(tenant: &str, app: &str, min_ns: i64, max_ns: i64) -> Chunk {
        Chunk {
            tenant: tenant.into(),
            id: "c".into(),
            labels: vec![("app".into(), app.into())],
            range: TimeRange::covering(min_ns, max_ns),
            size_bytes: 1,
        }
    }

    fn hold(id: &str, scope: Scope, selector: &str) -> Hold {
        Hold::new(id, scope, Selector::parse_loki(selector).unwrap(), "case 7", "asked by the court", 0)
    }

    fn ids(holds: &Holds, chunk: &Chunk) -> Vec<String> {
        chunk.with_meta(|meta| {
            let all: Vec<_> = holds.matching(meta).map(|hold| hold.id.clone()).collect();
            assert_eq!(holds.first_match(meta).map(|hold| &hold.id), all.first());
            all
        })
    }

    #[test]
    fn a_hold_matches_by_scope_and_selector() {
        let t = Scope::Tenant("t".into());
        let holds = Holds::new([
            hold("of-t", t.clone(), r#"{app="a"}"#),
            hold("all", Scope::All, r#"{app=~"a|b"}"#),
            hold("also-t", t, "{}"),
        ]);
        assert_eq!(ids(&holds, &chunk("t", "a", 0, 1)), ["all", "of-t", "also-t"]);
        assert_eq!(ids(&holds, &chunk("t", "c", 0, 1)), ["also-t"]);
        assert_eq!(ids(&holds, &chunk("u", "b", 0, 1)), ["all"]);
        assert_eq!(ids(&holds, &chunk("u", "c", 0, 1)), [""; 0]);
    }

    #[test]
    fn a_range_holds_chunks_that_share_one_instant_with_it() {
        let ranged = hold("h", Scope::All, "{}").within(TimeRange::covering(10, 20));
        let holds = Holds::new([ranged]);
        for (min_ns, max_ns, held) in
            [(0, 9, false), (0, 10, true), (12, 13, true), (0, 99, true), (20, 30, true), (21, 30, false)]
        {
            assert_eq!(
                !ids(&holds, &chunk("t", "a", min_ns, max_ns)).is_empty(),
                held,
                "[{min_ns}, {max_ns}]"
            );
        }
    }

    #[test]
    fn a_chunk_is_free_only_when_all_holds_are_released() {
        let mut first = hold("1", Scope::All, "{}");
        let second = hold("2", Scope::All, "{}");
        first.released = Some(Release { at_ns: 5, reason: "settled".into() });
        let held = |holds: Vec<Hold>| !ids(&Holds::new(holds), &chunk("t", "a", 0, 1)).is_empty();
        assert!(held(vec![first.clone(), second.clone()]));
        let released = Hold { released: first.released.clone(), ..second };
        assert!(!held(vec![first, released]));
    }
}
