//! The tables that a demo or a shipping ends with.

use forebay_agent::figures::{UNKNOWN, count, grouped, seconds, size, table};
use forebay_agent::ship::Shipped;

use super::ask::{Cost, Count, LIMIT, Lines, STAGES, count_query, lines_query};
use super::load::Sent;
use super::scrape::Scrape;

/// Longer lines are shown no further.
const SHOWN_CHARACTERS: usize = 160;

/// What the demo sent, and what the server says it did with it.
pub(super) fn sent(sent: &Sent, grown: &Scrape) -> String {
    let elapsed = sent.elapsed_ns as f64 / 1e9;
    let mut rows = intake(sent.lines, sent.bytes, sent.pushes, sent.retries, elapsed);
    rows.push(row("refused, as the answers say", grouped(sent.refused)));
    render("sent", rows, grown)
}

/// What was shipped, and what the server says it did with it.
pub(super) fn shipped(shipped: &Shipped, grown: &Scrape) -> String {
    let elapsed = shipped.elapsed.as_secs_f64();
    let mut rows = vec![row("files", grouped(shipped.files))];
    rows.extend(intake(shipped.lines, shipped.bytes, shipped.batches, shipped.retries, elapsed));
    rows.push(row("refused, as the answers say", grouped(shipped.refused_lines)));
    if shipped.cut_lines > 0 {
        rows.push(row("cut, because too long", grouped(shipped.cut_lines)));
    }
    let mut out = render("shipped", rows, grown);
    if let Some(refusal) = &shipped.first_refusal {
        out.push_str("\nfirst refusal: ");
        out.push_str(refusal);
    }
    out
}

/// What was asked, what came, and where the time went.
pub(super) fn asked(lines: &Lines, counted: &Count, sent: &Sent) -> String {
    let more = if lines.lines == LIMIT { " (the limit)" } else { "" };
    let both = |name: &str, of: fn(&Cost) -> String| [name.to_owned(), of(&lines.cost), of(&counted.cost)];
    let mut rows = vec![
        ["answer".to_owned(), format!("{}{more}", lines.lines), grouped(counted.count)],
        ["sent by this run".to_owned(), grouped(sent.matching), grouped(sent.matching)],
        both("time until answered", |cost| seconds(cost.wall_seconds)),
    ];
    for (i, (_, stage)) in STAGES.iter().enumerate() {
        let figure = |cost: &Cost| cost.stages[i].map_or_else(|| UNKNOWN.to_owned(), seconds);
        rows.push([format!("  {stage}"), figure(&lines.cost), figure(&counted.cost)]);
    }
    rows.push(both("chunks read", |cost| count(cost.chunks)));
    rows.push(both("bytes of chunks read", |cost| cost.bytes.map_or_else(|| UNKNOWN.to_owned(), size)));
    rows.push(both("lines read", |cost| count(cost.lines)));
    let first = lines.first.as_deref().unwrap_or("no line");
    let mut shown = first.chars().take(SHOWN_CHARACTERS).collect::<String>();
    if shown.len() < first.len() {
        shown.push('…');
    }
    let (lines_query, count_query) = (lines_query(), count_query());
    let table = table(["query", "lines", "count"], rows);
    format!("lines: {lines_query}\ncount: {count_query}\n{table}\nfirst line: {shown}")
}

fn intake(lines: u64, bytes: u64, pushes: u64, retries: u64, elapsed: f64) -> Vec<[String; 2]> {
    let per_second = |n: u64| n as f64 / elapsed.max(1e-9);
    vec![
        row("lines", grouped(lines)),
        row("bytes of lines", size(bytes as f64)),
        row("pushes", grouped(pushes)),
        row("pushes sent again", grouped(retries)),
        row("time", seconds(elapsed)),
        row("lines a second", count(Some(per_second(lines)))),
        row("bytes a second", size(per_second(bytes))),
    ]
}

fn render(title: &str, intake: Vec<[String; 2]>, grown: &Scrape) -> String {
    let tables = [table([title, ""], intake), refused(grown), table(["stored", ""], stored(grown))];
    tables.map(|table| table.to_string()).join("\n")
}

fn refused(grown: &Scrape) -> comfy_table::Table {
    let lines = grown.by_label("forebay_discarded_lines_total", "reason");
    let bytes = grown.by_label("forebay_discarded_bytes_total", "reason");
    let rows = lines.iter().map(|(reason, lines)| {
        let bytes = bytes.get(reason).map_or_else(|| UNKNOWN.to_owned(), |&bytes| size(bytes));
        [(*reason).to_owned(), count(Some(*lines)), bytes]
    });
    let nothing = lines.is_empty().then(|| ["nothing".to_owned(), grouped(0), size(0.0)]);
    table(["refused because of", "lines", "bytes"], rows.chain(nothing))
}

fn stored(grown: &Scrape) -> Vec<[String; 2]> {
    let total = |name| grown.total(name);
    let bytes = |name| total(name).map_or_else(|| UNKNOWN.to_owned(), size);
    let lines = total("forebay_received_lines_total");
    let syncs = total("forebay_wal_syncs_total");
    let (raw, kept) = (total("forebay_chunk_raw_bytes_total"), total("forebay_chunk_stored_bytes_total"));
    let reasons = grown.by_label("forebay_chunks_flushed_total", "reason");
    let reasons = reasons
        .iter()
        .map(|(reason, chunks)| format!("{reason} {}", count(Some(*chunks))))
        .collect::<Vec<_>>();
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    vec![
        row("lines accepted", count(lines)),
        row("bytes accepted", bytes("forebay_received_bytes_total")),
        row("log (WAL) bytes written", bytes("forebay_wal_physical_bytes_total")),
        row("log (WAL) syncs", count(syncs)),
        row("lines a sync", ratio(lines, syncs)),
        row("chunks", count(total("forebay_chunks_flushed_total")) + &reasons),
        row("bytes in chunks, before", bytes("forebay_chunk_raw_bytes_total")),
        row("bytes in chunks, compressed", bytes("forebay_chunk_stored_bytes_total")),
        row("compression ratio", ratio(raw, kept)),
    ]
}

fn row(name: &str, figure: String) -> [String; 2] {
    [name.to_owned(), figure]
}

fn ratio(of: Option<f64>, to: Option<f64>) -> String {
    match (of, to) {
        (Some(of), Some(to)) if to > 0.0 => format!("{:.1}", of / to),
        _ => UNKNOWN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const METRICS: &str = r#"
forebay_discarded_lines_total{tenant="fake",reason="greater_than_max_sample_age"} 1000
forebay_discarded_lines_total{tenant="fake",reason="line_too_long"} 1
forebay_discarded_bytes_total{tenant="fake",reason="line_too_long"} 307200
forebay_received_lines_total{tenant="fake"} 998999
forebay_received_bytes_total{tenant="fake"} 150000000
forebay_chunk_raw_bytes_total 150000000
forebay_chunk_stored_bytes_total 20000000
forebay_chunks_flushed_total{reason="forced"} 24
forebay_chunks_flushed_total{reason="size"} 70
forebay_wal_physical_bytes_total 180000000
forebay_wal_syncs_total 500
"#;

    /// The figures of a table by the name before them.
    fn figure<'a>(text: &'a str, name: &str) -> &'a str {
        let line = text.lines().find(|line| line.trim_start_matches('│').trim_start().starts_with(name));
        line.and_then(|line| line.split('┆').nth(1)).expect(name).trim_matches([' ', '│'])
    }

    #[test]
    fn a_shipping_shows_what_went_in_what_was_refused_and_what_is_stored() {
        let done = Shipped {
            files: 2,
            lines: 1_000_000,
            bytes: 151_000_000,
            batches: 144,
            refused_lines: 1_001,
            first_refusal: Some("400 Bad Request: 2 of 9 lines were refused".to_owned()),
            elapsed: Duration::from_millis(2_500),
            ..Shipped::default()
        };
        let text = shipped(&done, &Scrape::parse(METRICS).unwrap());
        for (name, expected) in [
            ("files", "2"),
            ("lines a second", "400,000"),
            ("bytes a second", "60.4 MB"),
            ("greater_than_max_sample_age", "1,000"),
            ("line_too_long", "1"),
            ("lines accepted", "998,999"),
            ("log (WAL) syncs", "500"),
            ("lines a sync", "1998.0"),
            ("chunks", "94 (forced 24, size 70)"),
            ("compression ratio", "7.5"),
        ] {
            assert_eq!(figure(&text, name), expected, "{name} in\n{text}");
        }
        assert!(text.ends_with("first refusal: 400 Bad Request: 2 of 9 lines were refused"), "{text}");
    }

    #[test]
    fn what_the_server_does_not_show_is_not_known_rather_than_zero() {
        let text = shipped(&Shipped::default(), &Scrape::default());
        assert_eq!(figure(&text, "log (WAL) syncs"), "-");
        assert_eq!(figure(&text, "compression ratio"), "-");
        assert_eq!(figure(&text, "nothing"), "0");
    }

    #[test]
    fn a_query_shows_where_its_time_went() {
        let cost = Cost {
            wall_seconds: 0.0123,
            stages: [Some(0.001), Some(0.0002), None, Some(0.5), Some(2.0)],
            chunks: Some(12.0),
            bytes: Some(3_400_000.0),
            lines: Some(125_000.0),
        };
        let lines = Lines { lines: LIMIT, first: Some("é".repeat(500)), cost: cost.clone() };
        let asked =
            asked(&lines, &Count { count: 2_501, cost }, &Sent { matching: 2_501, ..Sent::default() });
        for (name, expected) in [
            ("answer", "100 (the limit)"),
            ("sent by this run", "2,501"),
            ("time until answered", "12.3 ms"),
            ("index lookup", "200 us"),
            ("chunk download", "-"),
            ("filter and merge", "2.00 s"),
            ("bytes of chunks read", "3.4 MB"),
        ] {
            assert_eq!(figure(&asked, name), expected, "{name} in\n{asked}");
        }
        assert!(asked.ends_with(&format!("first line: {}…", "é".repeat(SHOWN_CHARACTERS))), "{asked}");
    }
}
