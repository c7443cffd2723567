//! The demo's two queries, and what of their answers it shows.

use anyhow::Context;
use forebay_agent::clock::monotonic_ns;
use forebay_agent::http_client::{HttpClient, query_string};
use serde_json::Value;

use super::load::{APP, NEEDLE, Sent};

/// Stages of an answer, with a name for people.
pub(super) const STAGES: [(&str, &str); 5] = [
    ("ingesters", "ask ingesters"),
    ("index_lookup", "index lookup"),
    ("chunk_download", "chunk download"),
    ("chunk_decode", "chunk decode"),
    ("processing", "filter and merge"),
];

/// Most lines that are asked for.
pub(super) const LIMIT: usize = 100;
/// Wider than all lines of a run; the window and the step of the count.
const WINDOW_SECONDS: i64 = 3_600;

/// What a query cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Cost {
    /// As the client saw it.
    pub(super) wall_seconds: f64,
    /// By stage of [`STAGES`], as the server says; work done at the same time is added up.
    pub(super) stages: [Option<f64>; STAGES.len()],
    /// Bytes of chunks read.
    pub(super) bytes: Option<f64>,
    /// Chunks read.
    pub(super) chunks: Option<f64>,
    /// Lines read.
    pub(super) lines: Option<f64>,
}

/// Lines that matched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lines {
    /// How many came, at most [`LIMIT`].
    pub(super) lines: usize,
    /// The earliest.
    pub(super) first: Option<String>,
    /// What it cost.
    pub(super) cost: Cost,
}

/// How many lines matched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Count {
    /// Of all streams.
    pub(super) count: u64,
    /// What it cost.
    pub(super) cost: Cost,
}

/// The query for lines.
pub(super) fn lines_query() -> String {
    format!("{{app=\"{APP}\"}} |= \"{NEEDLE}\"")
}

/// The query for their number.
pub(super) fn count_query() -> String {
    format!("count_over_time({} [1h])", lines_query())
}

/// The earliest lines of the run that match.
pub(super) async fn lines(client: &HttpClient, sent: &Sent) -> anyhow::Result<Lines> {
    let (start, end, limit) = (sent.start_ns.to_string(), (sent.end_ns + 1).to_string(), LIMIT.to_string());
    let parameters = [("start", &*start), ("end", &*end), ("limit", &*limit), ("direction", "forward")];
    let (answer, seconds) = ask(client, &lines_query(), &parameters).await?;
    parse_lines(&answer, seconds).with_context(|| format!("answer is not one of lines: {answer}"))
}

/// The number of lines in the hour before the end of the run that match.
pub(super) async fn count(client: &HttpClient, sent: &Sent) -> anyhow::Result<Count> {
    let (at, step) = (sent.end_ns.to_string(), WINDOW_SECONDS.to_string());
    let (answer, seconds) =
        ask(client, &count_query(), &[("start", &at), ("end", &at), ("step", &step)]).await?;
    parse_count(&answer, seconds).with_context(|| format!("answer is not one of counts: {answer}"))
}

async fn ask(client: &HttpClient, query: &str, parameters: &[(&str, &str)]) -> anyhow::Result<(Value, f64)> {
    let mut all = vec![("query", query)];
    all.extend(parameters);
    let started_ns = monotonic_ns();
    let answer = client.get(&format!("/loki/api/v1/query_range?{}", query_string(&all))).await?;
    let seconds = (monotonic_ns() - started_ns) as f64 / 1e9;
    let answer = answer.success().with_context(|| format!("query {query}"))?;
    Ok((answer.json().with_context(|| format!("query {query}"))?, seconds))
}

fn parse_lines(answer: &Value, wall_seconds: f64) -> Option<Lines> {
    let mut lines = 0;
    let mut first: Option<(i64, &str)> = None;
    for stream in answer.pointer("/data/result")?.as_array()? {
        for value in stream.get("values")?.as_array()? {
            let timestamp_ns = value.get(0)?.as_str()?.parse().ok()?;
            let line = value.get(1)?.as_str()?;
            lines += 1;
            if first.is_none_or(|(earliest_ns, _)| timestamp_ns < earliest_ns) {
                first = Some((timestamp_ns, line));
            }
        }
    }
    Some(Lines {
        lines,
        first: first.map(|(_, line)| line.to_owned()),
        cost: parse_cost(answer, wall_seconds),
    })
}

fn parse_count(answer: &Value, wall_seconds: f64) -> Option<Count> {
    let mut count = 0;
    for series in answer.pointer("/data/result")?.as_array()? {
        for point in series.get("values")?.as_array()? {
            count += point.get(1)?.as_str()?.parse::<u64>().ok()?;
        }
    }
    Some(Count { count, cost: parse_cost(answer, wall_seconds) })
}

fn parse_cost(answer: &Value, wall_seconds: f64) -> Cost {
    let stages = answer.pointer("/data/stats/stages");
    let figure = |name: &str| stages.and_then(|stages| stages.get(name)).and_then(Value::as_f64);
    Cost {
        wall_seconds,
        stages: STAGES.map(|(name, _)| figure(name)),
        bytes: figure("bytes"),
        chunks: figure("chunks"),
        lines: figure("lines"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(result: &Value) -> Value {
        let stages =
            json!({"ingesters": 0.5, "index_lookup": 0.25, "chunk_decode": 0, "chunks": 3, "bytes": 1000});
        json!({"status": "success", "data": {"result": result, "stats": {"stages": stages}}})
    }

    #[test]
    fn the_earliest_line_of_all_streams_is_the_first() {
        let result = json!([
            {"stream": {"app": "a"}, "values": [["20", "later"], ["30", "last"]]},
            {"stream": {"app": "b"}, "values": [["3", "first"]]},
        ]);
        let lines = parse_lines(&answer(&result), 1.0).unwrap();
        assert_eq!((lines.lines, lines.first.as_deref()), (3, Some("first")));
        assert_eq!(lines.cost.stages, [Some(0.5), Some(0.25), None, Some(0.0), None]);
        assert_eq!((lines.cost.chunks, lines.cost.bytes, lines.cost.lines), (Some(3.0), Some(1000.0), None));
        let nothing = parse_lines(&answer(&json!([])), 1.0).unwrap();
        assert_eq!((nothing.lines, nothing.first), (0, None));
    }

    #[test]
    fn counts_of_all_streams_are_added() {
        let result = json!([
            {"metric": {"app": "a"}, "values": [[1772884800, "4000"]]},
            {"metric": {"app": "b"}, "values": [[1772884800.5, "1"]]},
        ]);
        assert_eq!(parse_count(&answer(&result), 1.0).unwrap().count, 4001);
    }

    #[test]
    fn other_answers_are_not_taken_for_nothing() {
        for wrong in [
            json!({}),
            json!([{"stream": {}}]),
            json!([{"values": [["x", "line"]]}]),
            json!([{"values": [[1]]}]),
        ] {
            assert_eq!(parse_lines(&answer(&wrong), 1.0), None, "{wrong}");
            assert_eq!(parse_count(&answer(&wrong), 1.0), None, "{wrong}");
        }
    }
}
