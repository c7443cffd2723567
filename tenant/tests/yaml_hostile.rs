//! Documents that are broken, or made to exhaust whoever reads them.

use forebay_tenant::yaml::{self, Budget, Error, Node, Problem, Value};
use proptest::prelude::*;

fn problem(text: &str) -> Problem {
    yaml::parse(text).expect_err(text).problem().clone()
}

/// Ten aliases of ten aliases of ten…
fn laughs(levels: usize) -> String {
    let mut text = String::from("l0: &l0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..levels {
        let aliases = vec![format!("*l{}", level - 1); 10].join(", ");
        text += &format!("l{level}: &l{level} [{aliases}]\n");
    }
    text
}

#[test]
fn a_billion_laughs_are_refused_at_once() {
    assert!(yaml::parse(&laughs(3)).is_ok());
    let error = yaml::parse(&laughs(10)).unwrap_err();
    assert_eq!(error.to_string(), "line 6 column 50: aliases repeat more than the limit of 1048576 nodes");
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(17));
    assert_eq!(problem(&text), Problem::TooMuchRepeated { limit: 16 << 20, unit: "bytes" });
}

#[test]
fn merges_are_counted_like_aliases() {
    let mut text = String::from("m0: &m0 {a: 1, b: 2, c: 3, d: 4}\n");
    for level in 1..20 {
        let before = level - 1;
        text += &format!(
            "m{level}: &m{level} {{<<: [*m{before}, *m{before}, *m{before}, *m{before}], k{level}: 1}}\n"
        );
    }
    assert!(matches!(problem(&text), Problem::TooMuchRepeated { unit: "nodes", .. }));
}

#[test]
fn depth_is_bounded_in_every_notation() {
    let deep = Problem::TooDeep { limit: 64 };
    let flow = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(yaml::parse(&flow(64)).is_ok());
    assert_eq!(problem(&flow(65)), deep);
    for unit in ["[", "{a: ", "- ", "[\n"] {
        // Within a line the parser looks ahead, and may come to a limit of its own first.
        let found = problem(&unit.repeat(100_000)).to_string();
        assert!(found.contains("limit"), "{unit}: {found}");
    }
    let block: String = (0..1000).map(|n| format!("{}k:\n", " ".repeat(n))).collect();
    assert_eq!(problem(&block), deep);
}

/// Each level is two deep where it is written, and one deeper than the last where it is walked.
#[test]
fn depth_is_counted_through_aliases() {
    let chain = |levels: usize| {
        let mut text = String::from("l0: &l0 [x]\n");
        for level in 1..levels {
            text += &format!("l{level}: &l{level} [*l{}]\n", level - 1);
        }
        text
    };
    assert!(yaml::parse(&chain(63)).is_ok());
    assert_eq!(problem(&chain(64)), Problem::TooDeep { limit: 64 });
    assert_eq!(problem(&chain(50_000)), Problem::TooDeep { limit: 64 });
}

#[test]
fn an_alias_inside_what_it_names_is_refused() {
    assert_eq!(problem("&a [*a]"), Problem::Recursion);
    assert_eq!(problem("&a {b: {c: *a}}"), Problem::Recursion);
    assert_eq!(problem("&a {<<: *a}"), Problem::Recursion);
    assert!(matches!(problem("[*nobody]"), Problem::Syntax { .. }));
    // A name that is taken again stands for the newer node.
    let root = yaml::parse("[&a 1, *a, &a 2, *a]").unwrap();
    assert_eq!(root.items(&mut Vec::new(), |n, _| n.i64()), Ok(vec![1, 1, 2, 2]));
}

#[test]
fn nodes_are_bounded() {
    let budget = Budget { nodes: 10, ..Budget::default() };
    assert!(yaml::parse_within("[1, 2, 3, 4, 5, 6, 7, 8, 9]", &budget).is_ok());
    let error = yaml::parse_within("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", &budget).unwrap_err();
    assert_eq!(error.to_string(), "line 1 column 29: more nodes than the limit of 10");
}

#[test]
fn broken_documents_are_refused_with_their_place() {
    for (text, line) in [
        ("a: [1, 2", 2),
        ("a: b: c", 1),
        ("a: 1\n  b: 2", 2),
        ("a: \"x", 1),
        ("a:\n\tb: 1", 2),
        ("a: 'x'y", 1),
        ("}", 1),
    ] {
        let error = yaml::parse(text).expect_err(text);
        assert!(matches!(error.problem(), Problem::Syntax { .. }), "{text}: {error}");
        assert_eq!(error.position().line, line, "{text}: {error}");
    }
}

#[test]
fn complex_keys_and_second_documents_are_refused() {
    assert_eq!(problem("? [a, b]\n: c"), Problem::ComplexKey { found: "a sequence" });
    assert_eq!(problem("{{a: b}: c}"), Problem::ComplexKey { found: "a mapping" });
    assert_eq!(problem("x: &x [a]\n*x : c"), Problem::ComplexKey { found: "a sequence" });
    assert_eq!(problem("a: 1\n---\nb: 2"), Problem::SeveralDocuments);
    assert_eq!(problem("a: 1\n---\n[]"), Problem::SeveralDocuments);
    assert!(yaml::parse("---\na: 1\n...\n---\n").is_ok());
}

#[test]
fn an_error_says_the_way_to_its_place() {
    let root = yaml::parse("outer:\n  \"team.a\":\n    - 1\n    - [2, x]\n").unwrap();
    let mut none = Vec::new();
    let error = root
        .entries(&mut none, |entry, warnings| {
            entry.value().entries(warnings, |entry, warnings| {
                entry.value().items(warnings, |item, warnings| match item.value() {
                    Value::Sequence(_) => item.items(warnings, |n, _| n.i64()).map(drop),
                    _ => item.i64().map(drop),
                })?;
                Ok(())
            })
        })
        .unwrap_err();
    assert_eq!(error.path(), "outer.\"team.a\"[1][1]");
    assert_eq!(error.to_string(), "line 4 column 11: outer.\"team.a\"[1][1]: expected an integer, found `x`");
}

#[test]
fn long_texts_are_cut_in_messages() {
    let root = yaml::parse(&format!("a: {}", "é".repeat(100_000))).unwrap();
    let message = root.get("a").unwrap().i64().unwrap_err().to_string();
    assert!(message.len() < 200, "{message}");
    let key = "k".repeat(1000);
    let message = yaml::parse(&format!("{key}: 1\n{key}: 2")).unwrap_err().to_string();
    assert!(message.len() < 200, "{message}");
}

fn read_all_ways(node: &Node) {
    let _ = (node.bool(), node.i64(), node.u64(), node.f64().is_ok(), node.size(), node.str());
    let _ = (node.duration(), node.go_duration(), node.is_null());
    let _: Result<Vec<()>, Error> = node.items(&mut Vec::new(), |item, _| {
        read_all_ways(item);
        Ok(())
    });
    let _ = node.entries(&mut Vec::new(), |entry, _| {
        read_all_ways(entry.value());
        Ok(())
    });
}

proptest! {
    #[test]
    fn no_text_upsets_the_reader(text in prop_oneof![
        ".{0,40}",
        r#"[\[\]{}:,&*a<!?|>'"\-#%~0-9. \n\t]{0,60}"#,
        r"([ ]{0,4}(- |a: |\? |b: |&a |\*a|<<: |\[|\]|\{|\}|x|, |! |!!str |---|\.\.\.|[|>][+-]?|'|%TAG ! a|\n)){0,16}",
    ]) {
        if let Ok(root) = yaml::parse(&text) {
            read_all_ways(&root);
        }
    }
}
