//! Selectors of streams, on which it depends what is deleted.

use forebay_retention::Selector;
use forebay_retention::selector::{MAX_SELECTOR_BYTES, Operator};

/// A selector in Loki's form.
pub fn retention_selector(data: &[u8]) {
    let Some(text) = crate::text(data) else { return };
    let Ok(selector) = Selector::parse_loki(text) else { return };
    let printed = selector.to_string();
    if printed.len() <= MAX_SELECTOR_BYTES {
        let read =
            Selector::parse_loki(&printed).unwrap_or_else(|e| panic!("{printed} came out of {text}: {e}"));
        assert_eq!(read, selector, "printed, it is the same");
    }

    // A stream with the values that are asked for, and one without labels.
    let asked = selector.requirements().iter().map(|requirement| match &requirement.operator {
        Operator::In(values) => (requirement.key.as_str(), values.first().map_or("", String::as_str)),
        _ => (requirement.key.as_str(), "prod"),
    });
    let mut labels: Vec<(&str, &str)> = asked.collect();
    labels.sort_unstable();
    labels.dedup_by_key(|(name, _)| *name);
    for labels in [labels.as_slice(), &[]] {
        if selector.matches(labels) {
            assert!(
                !selector.is_disjoint(&selector),
                "{text} matches {labels:?}, so it is not disjoint with itself"
            );
        }
    }
}
