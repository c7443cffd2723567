//! The ring as a page for people: one table, a form for a key, and a button for each ingester that may be forgotten.

use std::fmt::Write;

use super::{Explained, MemberView, View};

const STYLE: &str = "\
body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:90em;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35em .7em;border-bottom:1px solid #ddd;white-space:nowrap}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
tr.silent{background:#fdecea}tr.passing{background:#fff7e0}tr.left{color:#888}
form{margin:0}input{font:inherit;width:30em;max-width:60%}.note{color:#a33;white-space:normal}";

const HEADS: &[(&str, bool)] = &[
    ("Instance", false),
    ("Zone", false),
    ("State", false),
    ("Address", false),
    ("Registered", false),
    ("Last heard of", true),
    ("Version", true),
    ("Tokens", true),
    ("Owns", true),
    ("Streams", true),
    ("Memory", true),
    ("Log", true),
    ("", false),
];

/// Texts of others, which may be anything.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn html(view: &View) -> String {
    let mut out = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Ring</title><style>{STYLE}</style>\n<h1>Ring</h1>\n"
    );
    let store = view.store.map(|store| format!("{store:?}").to_lowercase()).unwrap_or_default();
    let View { healthy, replication_factor, tolerated_failures, heartbeat_timeout_seconds, members, .. } =
        view;
    let present = members.iter().filter(|member| member.state != "LEFT").count();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<p>{healthy} of {present} get writes. Each key has {replication_factor} copies, of which {tolerated_failures} may be \
         missing. Who was not heard of for {heartbeat_timeout_seconds} s is silent, and may be forgotten. Store: \
         {store}.</p>\n<table><tr>"
    );
    for (head, is_number) in HEADS {
        let class = if *is_number { " class=number" } else { "" };
        let _ = write!(out, "<th{class}>{head}</th>");
    }
    out.push_str("</tr>\n");
    members.iter().for_each(|member| row(&mut out, member));
    out.push_str("</table>\n<h2>Where does a key go?</h2>\n<form method=get action=/ring><input name=key ");
    out.push_str("placeholder='{app=\"x\"} or a number'> <input name=tenant placeholder=tenant> <button>Explain</button></form>\n");
    if let Some(explain) = &view.explain {
        explained(&mut out, explain);
    }
    out.push_str("</html>\n");
    out
}

fn row(out: &mut String, member: &MemberView) {
    let (class, state) = match &*member.state {
        "LEFT" => ("left", "LEFT".to_owned()),
        state if member.silent => ("silent", format!("{state}, silent")),
        state if member.healthy => ("", state.to_owned()),
        state => ("passing", state.to_owned()),
    };
    let _ = write!(out, "<tr class='{class}'>");
    let texts = [&member.id, &member.zone, &state, &member.addr, &member.registered];
    for text in texts {
        let _ = write!(out, "<td>{}</td>", escaped(text));
    }
    let numbers = [
        format!("{:.0} s ago", member.heartbeat_age_seconds),
        format!("{}.{}", member.incarnation, member.sequence),
        member.tokens.to_string(),
        format!("{:.2} %", member.ownership * 100.0),
        member.streams.to_string(),
        mebibytes(member.memory_bytes),
        mebibytes(member.wal_bytes),
    ];
    for number in numbers {
        let _ = write!(out, "<td class=number>{number}</td>");
    }
    out.push_str("<td>");
    if member.silent {
        let id = escaped(&member.id);
        let _ = write!(
            out,
            "<form method=post action=/ring/forget><button name=forget value=\"{id}\">Forget</button></form>"
        );
    }
    out.push_str("</td></tr>\n");
    if !member.failure.is_empty() {
        let _ = writeln!(
            out,
            "<tr><td colspan={} class=note>{}</td></tr>",
            HEADS.len(),
            escaped(&member.failure)
        );
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn explained(out: &mut String, explain: &Explained) {
    let Explained { key, operation, selected, healthy, needed, .. } = explain;
    let stream =
        explain.stream.as_deref().map(|stream| format!(" of {}", escaped(stream))).unwrap_or_default();
    let verdict = match (&explain.may_fail, &explain.error) {
        (Some(may_fail), _) => format!("{may_fail} may fail"),
        (None, error) => escaped(error.as_deref().unwrap_or_default()),
    };
    let _ = writeln!(
        out,
        "<p>Key {key}{stream}, to {operation}: {selected} selected, {healthy} serve, {needed} must succeed: \
         {verdict}.</p>\n<table><tr><th class=number>Token</th><th>Instance</th><th>Zone</th><th>Verdict</th></tr>"
    );
    for step in &explain.steps {
        let extends = if step.extends { ", and one more is selected" } else { "" };
        let (instance, zone) = (escaped(&step.instance), escaped(&step.zone));
        let _ = writeln!(
            out,
            "<tr><td class=number>{}</td><td>{instance}</td><td>{zone}</td><td>{}{extends}</td></tr>",
            step.token,
            escaped(&step.verdict)
        );
    }
    out.push_str("</table>\n");
    if explain.unlisted > 0 {
        let _ = writeln!(out, "<p>And {} more tokens.</p>", explain.unlisted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_gets_out_of_its_place() {
        let name = "<script>'\"&";
        let member = MemberView {
            id: name.to_owned(),
            addr: name.to_owned(),
            zone: name.to_owned(),
            state: "ACTIVE".to_owned(),
            healthy: false,
            silent: true,
            heartbeat_age_seconds: 70.0,
            incarnation: 3,
            sequence: 17,
            registered: String::new(),
            tokens: 128,
            ownership: 0.25,
            streams: 0,
            memory_bytes: 0,
            wal_bytes: 0,
            failure: name.to_owned(),
        };
        let mut out = String::new();
        row(&mut out, &member);
        assert!(!out.contains("<script") && !out.contains(name), "{out}");
        assert_eq!(out.matches("&lt;script&gt;&#39;&quot;&amp;").count(), 5, "{out}");
        for shown in ["ACTIVE, silent", "70 s ago", "3.17", "25.00 %", "name=forget"] {
            assert!(out.contains(shown), "{shown} in {out}");
        }
    }
}
