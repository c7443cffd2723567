use super::*;
use proptest::prelude::*;

fn logs(text: &str) -> Logs {
    match Query::parse(text).unwrap() {
        Query::Logs(logs) => logs,
        other => panic!("{other:?}"),
    }
}

fn metric(text: &str) -> Metric {
    match Query::parse(text).unwrap() {
        Query::Metric(metric) => metric,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_selector_matches_as_loki_has_it() {
    let labels = [("app", "api"), ("env", "prod")];
    for (selector, expected) in [
        (r#"{app="api"}"#, true),
        (r#"{app="api", env=~"pr.*",}"#, true),
        (r#"{app="api",env!~"pro"}"#, true),
        (r#"{app=~"ap"}"#, false),
        (r#"{app="api", missing=""}"#, true),
        (r#"{app="api", missing!="x"}"#, true),
        (r#"{app="api", missing=~".+"}"#, false),
        (r#"{app!="web", app=~".+"}"#, true),
        ("{app=`api`}", true),
        (r#"{app="\x61p\u0069"}"#, true),
    ] {
        assert_eq!(all_match(&logs(selector).matchers, &labels), expected, "{selector}");
    }
}

#[test]
fn line_filters_all_have_to_pass() {
    for (filters, line, expected) in [
        (r#"|= "err""#, "an error", true),
        (r#"|= "err" != "time""#, "error: timeout", false),
        (r#"|~ "e.r" !~ `t\d+`"#, "err t1", false),
        (r#"|~ "(?i)ERR""#, "error", true),
        (r#"|= "warn" or "error""#, "error", true),
        (r#"!= "warn" or "error""#, "error", false),
        (r#"|= """#, "anything", true),
    ] {
        let query = format!(r#"{{app="x"}} {filters}"#);
        assert_eq!(logs(&query).keeps(line.as_bytes()), expected, "{query} on {line}");
    }
}

#[test]
fn count_over_time_takes_its_range_before_or_behind_the_filters() {
    for text in [
        r#"count_over_time({app="x"} |= "e" [1h30m])"#,
        r#"count_over_time({app="x"}[90m] |= "e")"#,
        r#"(count_over_time({app="x"} |= "e" [5400s]))"#,
    ] {
        let metric = metric(text);
        let range = metric.range();
        assert_eq!(
            (range.logs.filters.len(), range.range_ns, range.offset_ns),
            (1, 5_400_000_000_000, 0),
            "{text}"
        );
    }
    let text = r#"count_over_time({app="x"}[5m] offset 1h)"#;
    assert_eq!(metric(text).range().offset_ns, 3_600_000_000_000);
}

#[test]
fn aggregations_nest_and_take_their_grouping_on_either_side() {
    for (text, expected) in [
        (r#"rate({app="x"}[5m])"#, r#"rate({app="x"} [5m])"#),
        (r#"sum(rate({app="x"}[5m]))"#, r#"sum(rate({app="x"} [5m]))"#),
        (
            r#"sum by (app,env,) ((bytes_rate({app="x"}[1s])))"#,
            r#"sum by (app, env) (bytes_rate({app="x"} [1s]))"#,
        ),
        (
            r#"avg(bytes_over_time({app="x"}[90s])) without(app)"#,
            r#"avg without (app) (bytes_over_time({app="x"} [90s]))"#,
        ),
        (
            r#"topk(3, sum by (app) (count_over_time({app="x"} |~ "a\"\n" or "b" [1h] offset -5ms))) by ()"#,
            r#"topk(3, sum by (app) (count_over_time({app="x"} |~ "a\"\n" or "b" [1h] offset -5ms)))"#,
        ),
        (r#"max(min(count(rate({app="x"}[1ns]))))"#, r#"max(min(count(rate({app="x"} [1ns]))))"#),
    ] {
        let query = Query::parse(text).unwrap();
        assert_eq!(query.to_string(), expected);
        assert_eq!(Query::parse(expected).unwrap().to_string(), expected);
    }
}

#[test]
fn groups_have_the_labels_that_are_asked_for() {
    let labels = [("app", "api"), ("env", "prod"), ("pod", "a")];
    for (grouping, expected) in [
        (Grouping::By(vec![]), "{}"),
        (Grouping::By(vec!["pod".into(), "app".into(), "none".into()]), r#"{app="api", pod="a"}"#),
        (Grouping::Without(vec!["pod".into()]), r#"{app="api", env="prod"}"#),
        (Grouping::Without(vec![]), r#"{app="api", env="prod", pod="a"}"#),
    ] {
        assert_eq!(grouping.group(&labels).to_string(), expected);
    }
}

#[test]
fn what_is_not_built_is_refused_by_name_and_position() {
    for (text, at, name) in [
        (r#"quantile_over_time(0.9, {app="x"} | unwrap a [5m])"#, 0, "quantile_over_time"),
        (r#"sum(rate({app="x"} | json [5m]))"#, 19, "| json"),
        (r#"sum by (app) (bottomk(2, rate({app="x"}[5m])))"#, 14, "bottomk"),
        (r#"rate({app="x"}[5m]) by (app)"#, 20, "grouping"),
        (r#"sum(rate({app="x"}[5m])) / 2"#, 25, "binary"),
        (r#"sum(rate({app="x"}[5m]) / 2)"#, 24, "binary"),
        (r#"{app="x"} | line_format "{{.a}}""#, 10, "| line_format"),
        (r#"{app="x"} | logfmt"#, 10, "| logfmt"),
        (r#"{app="x"} | json"#, 10, "| json"),
        (r#"{app="x"} |= "a" | level="e""#, 17, "label filter"),
        (r#"{app="x"} |> "<_> a""#, 10, "pattern filter"),
        (r#"{app="x"} |= ip("1.2.3.4")"#, 13, "ip filter"),
        (r#"count_over_time({app="x"}[5m]) > 1"#, 31, "binary"),
        ("1 + 1", 0, "arithmetic"),
    ] {
        match Query::parse(text) {
            Err(QueryError::NotSupported { at: found, what }) => {
                assert_eq!(found, at, "{text}");
                assert!(what.contains(name), "{text}: {what}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_logql_is_refused_with_its_position() {
    for (text, at) in [
        ("", 0),
        ("{", 1),
        (r#"{app}"#, 4),
        (r#"{app="x""#, 8),
        (r#"{app="x"} foo"#, 10),
        (r#"{app=~"("}"#, 6),
        (r#"{app=~"a)|(b"}"#, 6),
        (r#"{app="x"} |= err"#, 13),
        (r#"{app="x} "#, 5),
        (r#"{app="\q"}"#, 6),
        (r#"count_over_time({app="x"})"#, 25),
        (r#"count_over_time({app="x"}[0s])"#, 26),
        (r#"count_over_time({app="x"}[5q])"#, 26),
        ("{app=\"x\"} \u{fffd}", 10),
        (r#"sum({app="x"})"#, 4),
        (r#"topk(rate({app="x"}[5m]))"#, 5),
        (r#"topk(0, rate({app="x"}[5m]))"#, 5),
        (r#"sum by app (rate({app="x"}[5m]))"#, 7),
        (r#"sum by (app) (rate({app="x"}[5m])) by (app)"#, 35),
        (r#"rate({app="x"})"#, 14),
    ] {
        match Query::parse(text) {
            Err(QueryError::Syntax { at: found, .. }) => assert_eq!(found, at, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_selector_that_would_read_everything_is_refused() {
    for text in ["{}", r#"{app=""}"#, r#"{app=~".*"}"#, r#"{app!="x"}"#] {
        assert_eq!(Query::parse(text).unwrap_err(), QueryError::MatchesEverything, "{text}");
    }
    assert!(Logs::parse_selector("{}").unwrap().is_empty(), "series may list everything");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String) {
        drop(Query::parse(&text));
    }

    #[test]
    fn any_text_of_logql_pieces_is_parsed_or_refused(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "app", "=", "\"x\"", "|=", "|", "[", "5m", "]", "(", ")", "count_over_time", "or", ",", "!~",
                "offset", "-", "1", "`", "sum", "by", "topk", "rate", "\"", "\\", "json",
            ]),
            0..12,
        )
    ) {
        drop(Query::parse(&pieces.concat()));
    }

    #[test]
    fn what_is_printed_is_the_same_query(value: String, pattern: String, range in 1..i64::MAX / 2, negative: bool) {
        let (value, pattern) = (Quoted(&value).to_string(), Quoted(&pattern).to_string());
        let sign = if negative { "-" } else { "" };
        let text = format!("sum by (a) (rate({{app={value}, b=\"c\"}} != {pattern} [{range}ns] offset {sign}{range}ns))");
        let printed = Query::parse(&text).unwrap().to_string();
        prop_assert_eq!(Query::parse(&printed).unwrap().to_string(), printed);
    }

    #[test]
    fn nesting_is_bounded(depth in 0_usize..64, name in prop::sample::select(vec!["", "sum", "topk"])) {
        let (open, inner) = match name {
            "" => ("(", "{app=\"x\"}"),
            "sum" => ("sum(", "rate({app=\"x\"}[1s])"),
            _ => ("topk(1, ", "rate({app=\"x\"}[1s])"),
        };
        let text = format!("{}{inner}{}", open.repeat(depth), ")".repeat(depth));
        prop_assert_eq!(Query::parse(&text).is_ok(), depth <= 32);
    }
}
