//! What clients and operators write about tenants: a header, labels, a file of limits.

use std::sync::Arc;

use forebay_tenant::yaml::{self, Budget, Node, Value};
use forebay_tenant::{Limits, Org, Snapshot, Tenancy, labels};

/// The tenants of a request, `X-Scope-OrgID`.
pub fn tenant_org(data: &[u8]) {
    let Ok(org) = Tenancy::Multi.resolve(Some(data)) else { return };
    let tenants = org.tenants();
    assert!(!tenants.is_empty() && tenants.is_sorted_by(|a, b| a < b), "sorted and distinct");
    let printed = org.to_string();
    assert!(printed.len() <= data.len(), "the canonical form is no longer than what came");
    assert_eq!(Org::parse(&printed), Ok(org), "printed, it is the same");
}

/// A label set as text.
pub fn tenant_labels(data: &[u8]) {
    let Some(text) = crate::text(data) else { return };
    let (mut unescaped, mut again) = (String::new(), String::new());
    let Ok(pairs) = labels::parse(text, &mut unescaped) else { return };
    assert!(pairs.is_sorted_by_key(|(name, _)| *name));
    assert!(pairs.iter().all(|(_, value)| !value.is_empty()), "an empty value is no label");
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= text.len());
    let printed = labels::display(&pairs).to_string();
    if printed.len() <= labels::MAX_TEXT_BYTES {
        assert_eq!(labels::parse(&printed, &mut again), Ok(pairs), "printed as {printed}, it is the same");
    }
}

/// A file of limits: the tree, then limits for one and for many.
pub fn tenant_yaml(data: &[u8]) {
    let Some(text) = crate::text(data) else { return };
    // What is missing at the end may be said to be missing on the line behind it.
    let lines = 2 + text.matches(['\n', '\r']).count();
    let inside =
        |position: yaml::Position| (1..=lines).contains(&(position.line as usize)) && position.column > 0;
    let budget = Budget { depth: 64, nodes: 1 << 14, alias_nodes: 1 << 14, alias_bytes: 1 << 18 };
    let node = match yaml::parse_within(text, &budget) {
        Ok(node) => node,
        Err(error) => return assert!(inside(error.position()), "{error} in {lines} lines"),
    };
    assert!(depth(&node) <= budget.depth + 1);

    let (before, mut warnings) = (Limits::default(), Vec::new());
    let mut limits = before.clone();
    if let Err(error) = limits.apply(&node, &mut warnings) {
        assert!(inside(error.position()), "{error} in {lines} lines");
        assert!(limits == before && warnings.is_empty(), "what is refused changes nothing");
    }
    match Snapshot::read(&node, Arc::new(before), &mut warnings) {
        Ok(snapshot) => assert!(snapshot.tenants().len() <= text.len()),
        Err(error) => assert!(inside(error.position()), "{error} in {lines} lines"),
    }
    assert!(warnings.iter().all(|warning| inside(warning.position())));
}

fn depth(node: &Node) -> usize {
    match node.value() {
        Value::Scalar { .. } => 0,
        Value::Sequence(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Mapping(entries) => {
            1 + entries.iter().map(|entry| depth(entry.value())).max().unwrap_or_default()
        }
    }
}
