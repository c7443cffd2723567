//! Counters read from the text that `/metrics` answers, by name and labels.

use std::collections::BTreeMap;

use anyhow::Context;

use forebay_agent::http_client::HttpClient;

type Labels = Vec<(String, String)>;

/// The values of one scrape, or what they grew by between two.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape(BTreeMap<String, BTreeMap<Labels, f64>>);

/// A line is not in Prometheus' text format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics is not in Prometheus' text format: {text:?}")]
pub struct ScrapeError {
    /// Its number, from 1.
    pub line: usize,
    /// Itself.
    pub text: String,
}

impl Scrape {
    /// What the server shows now.
    ///
    /// # Errors
    /// Where it does not answer, or not with metrics.
    pub async fn fetch(client: &HttpClient) -> anyhow::Result<Self> {
        let answer = client.get("/metrics").await?.success().context("metrics")?;
        Ok(Self::parse(&answer.text())?)
    }

    /// The values in `text`.
    ///
    /// # Errors
    /// [`ScrapeError`] at the first line that is neither comment nor sample.
    pub fn parse(text: &str) -> Result<Self, ScrapeError> {
        let mut scrape = Self::default();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let sample = sample(line).ok_or_else(|| ScrapeError { line: i + 1, text: line.to_owned() });
            let (name, labels, value) = sample?;
            scrape.0.entry(name.to_owned()).or_default().insert(labels, value);
        }
        Ok(scrape)
    }

    /// What every value grew by since `before`; one that was not there grew from 0. Of use for counters only.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        for (name, samples) in &mut self.0 {
            for (labels, value) in samples {
                *value -= before.0.get(name).and_then(|samples| samples.get(labels)).unwrap_or(&0.0);
            }
        }
        self
    }

    /// The sum over all labels; `None` where the server has no such metric.
    pub fn total(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|samples| samples.values().sum())
    }

    /// The sums by the value of one label, without those that are 0.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<&str, f64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in self.0.get(name).into_iter().flatten().filter(|(_, value)| **value != 0.0) {
            let of = labels.iter().find(|(name, _)| name == label).map_or("", |(_, value)| value);
            *sums.entry(of).or_insert(0.0) += value;
        }
        sums
    }
}

/// `name{label="value",…} value`, with an optional time behind it.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let name_end = line.find(['{', ' ', '\t'])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, behind) = unquote(quoted)?;
            labels.push((label.trim().to_owned(), value));
            rest = behind.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        rest = &rest[1..];
    }
    labels.sort();
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some((name, labels, value))
}

/// The value before the closing quote, and what is behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE forebay_discarded_lines_total counter
forebay_discarded_lines_total{tenant="a",reason="greater_than_max_sample_age"} 12
forebay_discarded_lines_total{reason="line_too_long", tenant="a",} 1
forebay_discarded_lines_total{tenant="say \"b\"\n{},\\",reason="line_too_long"} 3 1772884800000

forebay_wal_syncs_total 7.5e2
forebay_request_duration_seconds_bucket{le="+Inf"} +Inf
"#;

    #[test]
    fn values_are_summed_whole_and_by_label() {
        let scrape = Scrape::parse(TEXT).unwrap();
        assert_eq!(scrape.total("forebay_discarded_lines_total"), Some(16.0));
        assert_eq!(scrape.total("forebay_wal_syncs_total"), Some(750.0));
        assert_eq!(scrape.total("forebay_wal"), None);
        let by_reason = scrape.by_label("forebay_discarded_lines_total", "reason");
        assert_eq!(by_reason, [("greater_than_max_sample_age", 12.0), ("line_too_long", 4.0)].into());
        let by_tenant = scrape.by_label("forebay_discarded_lines_total", "tenant");
        assert_eq!(by_tenant, [("a", 13.0), ("say \"b\"\n{},\\", 3.0)].into());
        assert!(scrape.by_label("forebay_nothing", "x").is_empty());
    }

    #[test]
    fn growth_is_what_a_later_scrape_has_more_whatever_the_order_of_labels() {
        let before = Scrape::parse("a{x=\"1\",y=\"2\"} 5\nb 1\n").unwrap();
        let after = Scrape::parse("a{y=\"2\",x=\"1\"} 7\na{x=\"2\",y=\"2\"} 1\nb 1\n").unwrap();
        let grown = after.since(&before);
        assert_eq!(grown.by_label("a", "x"), [("1", 2.0), ("2", 1.0)].into());
        assert_eq!(grown.by_label("b", "x"), [].into());
        assert_eq!(grown.total("b"), Some(0.0));
    }

    #[test]
    fn what_is_no_metric_is_named_by_its_line() {
        for (text, line) in [
            ("<html>", 1),
            ("a 1\nb", 2),
            ("a{x=\"1\" 1", 1),
            ("a{x=1} 1", 1),
            ("a{x=\"1} 1", 1),
            ("a one", 1),
            ("{x=\"1\"} 1", 1),
        ] {
            assert_eq!(Scrape::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
