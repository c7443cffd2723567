//! Tables of known names, and the walk of a mapping against one.
//! Invariant: names in a table are sorted and distinct, which the compiler checks for a `static` table.

use super::error::excerpt;
use super::{Error, Node, Problem, Warning, WarningKind};

/// The names that a mapping may have, each with what becomes of it.
///
/// `T` says what a used name stands for: an enum to match on, or a function that sets a field.
#[derive(Debug)]
pub struct Table<T: 'static> {
    names: &'static [(&'static str, Status<T>)],
}

/// What becomes of a known name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status<T> {
    /// It is read.
    Used(T),
    /// It has a meaning elsewhere; it loads with a warning.
    Recognised,
    /// Older versions had it; it loads with a warning.
    Removed,
}

impl<T> Table<T> {
    /// A table of names in ascending order.
    ///
    /// # Panics
    /// If the names are not in strictly ascending order; in a `static`, that is an error of compilation.
    #[must_use]
    pub const fn new(names: &'static [(&'static str, Status<T>)]) -> Self {
        let mut rest: &[(&'static str, Status<T>)] = names;
        while let [first, tail @ ..] = rest {
            if let [second, ..] = tail {
                assert!(
                    precedes(first.0.as_bytes(), second.0.as_bytes()),
                    "names must be sorted and distinct"
                );
            }
            rest = tail;
        }
        Self { names }
    }

    /// The names with their status, in ascending order.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &Status<T>)> {
        self.names.iter().map(|(name, status)| (*name, status))
    }

    /// What becomes of `name`, if it is known. O(log n).
    #[must_use]
    pub fn status(&self, name: &str) -> Option<&Status<T>> {
        let at = self.names.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        self.names.get(at).map(|(_, status)| status)
    }

    /// The known name that the fewest edits lead to (insert, delete, replace a character, swap two
    /// neighbours), if they are few enough to have been a slip: a third of the name, and at least one.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&'static str> {
        // No known name is near a longer one, and the distance costs the product of the lengths.
        let name: Vec<char> = name.chars().take(128).collect();
        let reach = (name.len() / 3).max(1);
        self.names
            .iter()
            .map(|(known, _)| (distance(&name, known), *known))
            .filter(|(edits, _)| *edits <= reach)
            .min_by_key(|(edits, _)| *edits)
            .map(|(_, known)| known)
    }
}

impl Node {
    /// Reads a mapping whose keys are those of a table: `read` sees each used value, recognised and removed
    /// names become warnings, an unknown one is an error that names the nearest known. Null has no fields.
    /// Errors and warnings get the key as a part of their path.
    ///
    /// # Errors
    /// The node is no mapping, a key is unknown, or what `read` answers.
    pub fn fields<T: Copy>(
        &self,
        table: &Table<T>,
        warnings: &mut Vec<Warning>,
        mut read: impl FnMut(T, &Node, &mut Vec<Warning>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for entry in self.mapping()? {
            let kind = match table.status(entry.key()) {
                Some(Status::Used(field)) => {
                    let mark = warnings.len();
                    read(*field, entry.value(), warnings).map_err(|e| e.in_field(entry.key()))?;
                    warnings.iter_mut().skip(mark).for_each(|warning| warning.enter_field(entry.key()));
                    continue;
                }
                Some(Status::Recognised) => WarningKind::Recognised,
                Some(Status::Removed) => WarningKind::Removed,
                // Its mapping is the path of an unknown key: the key stands in the message.
                None => {
                    let key = excerpt(entry.key()).into_owned();
                    let nearest = table.nearest(entry.key());
                    return Err(Error::new(entry.position(), Problem::UnknownKey { key, nearest }));
                }
            };
            warnings.push(Warning::at(entry.position(), kind).in_field(entry.key()));
        }
        Ok(())
    }
}

const fn precedes(first: &[u8], second: &[u8]) -> bool {
    match (first, second) {
        (_, []) => false,
        ([], _) => true,
        ([a, left @ ..], [b, right @ ..]) => *a < *b || (*a == *b && precedes(left, right)),
    }
}

/// Optimal string alignment: Levenshtein's distance with swaps of neighbours.
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = Vec::with_capacity(above.len());
        row.push(i + 1);
        for (j, b) in to.iter().enumerate() {
            let mut edits = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i - 1] == *b && to[j - 1] == *a {
                edits = edits.min(before[j - 1] + 1);
            }
            row.push(edits);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    static TABLE: Table<u8> = Table::new(&[
        ("burst", Status::Used(1)),
        ("old", Status::Removed),
        ("rate", Status::Used(2)),
        ("window", Status::Recognised),
    ]);

    #[test]
    fn used_names_are_read_and_the_others_become_warnings() {
        let (mut seen, mut warnings) = (Vec::new(), Vec::new());
        let root = yaml::parse("rate: 1\nold: 2\nwindow: {any: thing}\nburst: 3").unwrap();
        root.fields(&TABLE, &mut warnings, |field, value, _| {
            seen.push((field, value.u64()?));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(2, 1), (1, 3)]);
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            ["line 2 column 1: old: removed, not used", "line 3 column 1: window: recognised, not used"]
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_known() {
        for (name, nearest) in [
            ("brust", Some("burst")),
            ("bursts", Some("burst")),
            ("rat", Some("rate")),
            ("windwo", Some("window")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(TABLE.nearest(name), nearest, "{name}");
        }
        assert_eq!(TABLE.nearest(&"rate".repeat(1000)), None);
    }

    #[test]
    fn edits_are_counted_with_swaps() {
        let edits = |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("ab", "ba"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("ca", "abc"), 3, "a swapped pair is not edited again");
    }

    #[test]
    #[should_panic(expected = "sorted")]
    fn a_table_out_of_order_is_refused() {
        let _ = Table::<u8>::new(&[("b", Status::Removed), ("a", Status::Removed)]);
    }
}
