//! Tenants as labels. Each name is a series that is kept for ever, and anybody can make up names: the first ones get a
//! series of their own, and all others share one.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use metrics::SharedString;
use parking_lot::{Mutex, RwLock};

/// Tenants with a series of their own.
pub const MOST_TENANTS: usize = 1000;
/// The label of all others.
const OTHER: &str = "other";

static KNOWN: LazyLock<Names> = LazyLock::new(|| Names::new(MOST_TENANTS));

/// The label of `tenant`.
pub fn tenant(tenant: &str) -> SharedString {
    KNOWN.label(tenant)
}

#[derive(Debug)]
struct Names {
    most: usize,
    known: RwLock<HashSet<Arc<str>, foldhash::quality::RandomState>>,
}

impl Names {
    fn new(most: usize) -> Self {
        Self { most, known: RwLock::default() }
    }

    fn label(&self, tenant: &str) -> SharedString {
        let full = {
            let known = self.known.read();
            if let Some(name) = known.get(tenant) {
                return Arc::clone(name).into();
            }
            known.len() >= self.most
        };
        if full {
            return OTHER.into();
        }
        let mut known = self.known.write();
        if known.len() >= self.most && !known.contains(tenant) {
            return OTHER.into();
        }
        let name: Arc<str> = tenant.into();
        known.insert(Arc::clone(&name));
        name.into()
    }
}

/// How many streams the tenants of an ingester have, as it is shown.
#[derive(Debug, Default)]
pub struct Streams {
    shown: Mutex<BTreeMap<SharedString, usize>>,
}

impl Streams {
    /// Shows `counts`, and none for those that were shown before and have none.
    pub fn show(&self, counts: &[(Arc<str>, usize)]) {
        for (label, count) in self.next(counts, &KNOWN) {
            metrics::gauge!("forebay_ingester_streams", "tenant" => label).set(count as f64);
        }
    }

    fn next(&self, counts: &[(Arc<str>, usize)], names: &Names) -> BTreeMap<SharedString, usize> {
        let mut shown = self.shown.lock();
        let mut next: BTreeMap<SharedString, usize> = shown.keys().map(|label| (label.clone(), 0)).collect();
        for (tenant, count) in counts {
            *next.entry(names.label(tenant)).or_default() += count;
        }
        *shown = next.clone();
        shown.retain(|_, count| *count > 0);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tenants_have_their_names_and_all_others_share_one() {
        let names = Names::new(2);
        let labels = ["a", "b", "a", "c", "b", "d"].map(|tenant| names.label(tenant).into_owned());
        assert_eq!(labels, ["a", "b", "a", OTHER, "b", OTHER]);
    }

    #[test]
    fn streams_of_others_are_added_up_and_who_has_none_any_more_is_shown_once_more() {
        let (streams, names) = (Streams::default(), Names::new(1));
        let next = |counts: &[(&str, usize)]| {
            let counts: Vec<(Arc<str>, usize)> = counts.iter().map(|(t, n)| ((*t).into(), *n)).collect();
            let next = streams.next(&counts, &names).into_iter();
            next.map(|(label, count)| (label.into_owned(), count)).collect::<Vec<_>>()
        };
        let row = |label: &str, count| (label.to_owned(), count);
        assert_eq!(next(&[("a", 1), ("b", 2), ("c", 3)]), [row("a", 1), row(OTHER, 5)]);
        assert_eq!(next(&[("b", 2)]), [row("a", 0), row(OTHER, 2)]);
        assert_eq!(next(&[]), [row(OTHER, 0)]);
        assert_eq!(next(&[]), []);
    }
}
