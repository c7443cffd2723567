//! Label sets of clients: any pairs survive printing and reading, and no text upsets the reader.

use forebay_tenant::labels;
use proptest::prelude::*;

proptest! {
    #[test]
    fn printed_labels_read_as_the_same(
        pairs in prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,6}", prop_oneof!["\\PC{1,8}", "(?s).{1,8}", "[\\x00-\\x7f]{1,8}"], 0..6),
    ) {
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let printed = labels::display(&pairs).to_string();
        let mut unescaped = String::new();
        prop_assert_eq!(labels::parse(&printed, &mut unescaped).unwrap(), pairs);
        prop_assert!(!printed.contains('\n'));
    }

    #[test]
    fn what_is_read_is_sorted_named_and_not_empty(text in prop_oneof![
        "(?s).{0,40}",
        r#"\{([ab=,{} "`\\xun0-9\n]|"x"|a=|,){0,20}\}"#,
        r#"\{(([a-c]{1,2} ?= ?("([a-z]|\\n|\\"|\\x41){0,3}"|`[a-z\\]{0,3}`)), ?){0,5}\}"#,
    ]) {
        let mut unescaped = String::new();
        if let Ok(pairs) = labels::parse(&text, &mut unescaped) {
            prop_assert!(pairs.is_sorted_by_key(|(name, _)| *name));
            prop_assert!(pairs.iter().all(|(name, value)| labels::is_name(name) && !value.is_empty()));
            let printed = labels::display(&pairs).to_string();
            let mut again = String::new();
            prop_assert_eq!(labels::parse(&printed, &mut again).unwrap(), pairs);
        }
    }
}

#[test]
fn a_text_of_escapes_is_read_in_time_proportional_to_it() {
    let text = format!("{{a=\"{}\"}}", r"\n".repeat(labels::MAX_TEXT_BYTES / 2 - 4));
    let mut unescaped = String::new();
    let pairs = labels::parse(&text, &mut unescaped).unwrap();
    assert_eq!(pairs[0].1.len(), labels::MAX_TEXT_BYTES / 2 - 4);
}
