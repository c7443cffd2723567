//! Finds the selectors that may match a stream without trying all of them. Each selector is anchored on one
//! requirement that a matching stream must meet: its rarest required value, else a required label; only
//! selectors without either are tried for every stream. Lookups never miss a match, they only skip misfits.

use std::collections::HashMap;

use crate::selector::{Requirement, Selector};

/// Positions of selectors in the list that the index was built from; every list is ascending.
type Positions = Vec<u32>;

/// Posting lists per required value, per required label, and of those that require nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    values: HashMap<String, HashMap<String, Positions>>,
    keys: HashMap<String, Positions>,
    always: Positions,
}

impl Index {
    /// O(total values).
    pub(crate) fn build<'s>(selectors: impl Iterator<Item = &'s Selector> + Clone) -> Self {
        let mut uses: HashMap<(&str, &str), usize> = HashMap::new();
        for selector in selectors.clone() {
            for requirement in selector.requirements() {
                for value in selector.required_values(requirement).into_iter().flatten() {
                    *uses.entry((&requirement.key, value)).or_default() += 1;
                }
            }
        }
        let weight = |selector: &Selector, requirement: &Requirement| {
            let values = selector.required_values(requirement)?;
            let uses = |value: &String| uses.get(&(requirement.key.as_str(), value.as_str())).copied();
            Some(values.iter().filter_map(uses).sum::<usize>())
        };
        let mut index = Self::default();
        for (position, selector) in (0..).zip(selectors) {
            let requirements = selector.requirements();
            let rarest = requirements
                .iter()
                .filter_map(|requirement| Some((weight(selector, requirement)?, requirement)))
                .min_by_key(|&(weight, _)| weight);
            if let Some((_, requirement)) = rarest {
                let values = index.values.entry(requirement.key.clone()).or_default();
                for value in selector.required_values(requirement).into_iter().flatten() {
                    values.entry(value.clone()).or_default().push(position);
                }
            } else if let Some(requirement) = requirements.iter().find(|r| selector.requires_key(r)) {
                index.keys.entry(requirement.key.clone()).or_default().push(position);
            } else {
                index.always.push(position);
            }
        }
        index
    }

    /// The lowest position that `accept` takes, among those that may match a stream with these labels.
    /// `accept` is called for few of them: in ascending order per list, and never above the best so far.
    pub(crate) fn lowest(&self, labels: &[(&str, &str)], accept: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        for list in self.lists(labels) {
            let better = |&position: &u32| best.is_none_or(|best| position < best);
            let found = list.iter().copied().take_while(better).find(|&position| accept(position as usize));
            best = found.or(best);
        }
        best.map(|position| position as usize)
    }

    /// Every position that `accept` takes, ascending.
    pub(crate) fn all(&self, labels: &[(&str, &str)], accept: impl Fn(usize) -> bool) -> Vec<usize> {
        let candidates = self.lists(labels).flatten().map(|&position| position as usize);
        let mut found: Vec<_> = candidates.filter(|&position| accept(position)).collect();
        found.sort_unstable();
        found
    }

    fn lists<'i>(&'i self, labels: &'i [(&str, &str)]) -> impl Iterator<Item = &'i Positions> {
        let of_label = |&(key, value): &(&str, &str)| {
            let of_value = self.values.get(key).and_then(|values| values.get(value));
            of_value.into_iter().chain(self.keys.get(key))
        };
        std::iter::once(&self.always).chain(labels.iter().flat_map(of_label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> (Vec<Selector>, Index) {
        let selectors: Vec<_> = texts.iter().map(|text| Selector::parse_loki(text).unwrap()).collect();
        let index = Index::build(selectors.iter());
        (selectors, index)
    }

    #[test]
    fn a_selector_is_anchored_on_its_rarest_value() {
        let (_, index) = index(&[r#"{env="prod", app="a"}"#, r#"{env="prod", app="b"}"#, r#"{env="prod"}"#]);
        assert_eq!(index.values["app"]["a"], [0]);
        assert_eq!(index.values["env"]["prod"], [2]);
    }

    #[test]
    fn selectors_that_require_no_value_are_anchored_on_a_label_or_always_tried() {
        let (_, index) = index(&[r#"{a=~".+"}"#, r#"{a!="x"}"#, r#"{a=""}"#, r#"{b!=""}"#, "{}"]);
        assert_eq!(index.keys["a"], [0]);
        assert_eq!(index.keys["b"], [3]);
        assert_eq!(index.always, [1, 2, 4]);
    }

    #[test]
    fn the_lowest_accepted_position_is_found_across_lists() {
        let (selectors, index) = index(&[r#"{a="2"}"#, r#"{b="1"}"#, r#"{a="1"}"#, "{}"]);
        let labels = [("a", "1"), ("b", "1")];
        assert_eq!(index.lowest(&labels, |n| selectors[n].matches(&labels)), Some(1));
        assert_eq!(index.lowest(&labels, |n| n > 1 && selectors[n].matches(&labels)), Some(2));
        assert_eq!(index.lowest(&[], |_| false), None);
        assert_eq!(index.all(&labels, |n| selectors[n].matches(&labels)), [1, 2, 3]);
    }
}
