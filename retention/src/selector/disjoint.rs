//! Whether two selectors can be told apart on one label. Errs on the side of "they may overlap".

use super::{Operator, Requirement, Selector};

pub(super) fn disjoint(a: &Selector, b: &Selector) -> bool {
    pairs(a, b).any(|(ra, rb)| apart(a, ra, b, rb) || apart(b, rb, a, ra))
}

fn pairs<'s>(a: &'s Selector, b: &'s Selector) -> impl Iterator<Item = (&'s Requirement, &'s Requirement)> {
    a.requirements
        .iter()
        .flat_map(move |ra| b.requirements.iter().filter(move |rb| rb.key == ra.key).map(move |rb| (ra, rb)))
}

/// Whether nothing that satisfies `ra` satisfies `rb`.
fn apart(a: &Selector, ra: &Requirement, b: &Selector, rb: &Requirement) -> bool {
    match &ra.operator {
        // Finitely many values, so each can be tried; under Loki's rules "" also stands for an absent label.
        Operator::In(values) => {
            let absent = a.required_values(ra).is_none();
            let accepted = |value: Option<&str>| rb.operator.accepts(b.seen(value));
            !(values.iter().any(|value| accepted(Some(value))) || absent && accepted(None))
        }
        Operator::DoesNotExist => b.requires_key(rb),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disjoint(a: &str, b: &str) -> bool {
        let a = Selector::parse_loki(a).unwrap();
        let b = Selector::parse_loki(b).unwrap();
        assert_eq!(a.is_disjoint(&b), b.is_disjoint(&a));
        a.is_disjoint(&b)
    }

    #[test]
    fn selectors_apart_on_one_label_are_disjoint() {
        assert!(disjoint(r#"{app="a"}"#, r#"{app="b"}"#));
        assert!(disjoint(r#"{app="a"}"#, r#"{env="x", app!="a"}"#));
        assert!(disjoint(r#"{app="a"}"#, r#"{app=~"b|c"}"#));
        assert!(disjoint(r#"{app=""}"#, r#"{app=~".+"}"#));
    }

    #[test]
    fn what_may_overlap_is_not_called_disjoint() {
        assert!(!disjoint(r#"{app="a"}"#, r#"{env="b"}"#));
        assert!(!disjoint(r#"{app="a"}"#, r#"{app=~"a|b"}"#));
        assert!(!disjoint(r#"{app=~"a"}"#, r#"{app=~"b"}"#));
        assert!(!disjoint("{}", r#"{app="a"}"#));
    }

    #[test]
    fn absent_labels_count_by_the_rule_of_each_selector() {
        let absent = Selector::new([Requirement::new("app", Operator::DoesNotExist)]).unwrap();
        let exists = Selector::new([Requirement::new("app", Operator::Exists)]).unwrap();
        let empty = Selector::new([Requirement::equals("app", "")]).unwrap();
        let loki_empty = Selector::parse_loki(r#"{app=""}"#).unwrap();
        assert!(absent.is_disjoint(&exists));
        assert!(absent.is_disjoint(&empty));
        assert!(!absent.is_disjoint(&loki_empty));
        assert!(!loki_empty.is_disjoint(&empty));
        assert!(!loki_empty.is_disjoint(&exists), "a stream may have the label with an empty value");
    }
}
