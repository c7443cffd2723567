//! The part of LogQL that the pipeline answers: stream selectors, line filters, and counts of lines and bytes over
//! time with aggregations over them.
//!
//! What is LogQL but not built is refused with its position and by its name, so that nobody takes half an answer
//! for a whole one.

mod lexer;
mod metric;
mod parser;

use std::fmt;

pub use lexer::duration_ns;
pub use metric::{Grouping, Metric, Operator, RangeAggregation, RangeFunction, VectorAggregation};
use regex::bytes::{Regex as BytesRegex, RegexBuilder as BytesRegexBuilder};
use regex::{Regex, RegexBuilder};

/// A regular expression that compiles to more than this is refused.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// A parsed query.
#[derive(Debug, Clone)]
pub enum Query {
    /// Log lines.
    Logs(Logs),
    /// Numbers over time.
    Metric(Metric),
}

/// A stream selector with its line filters.
#[derive(Debug, Clone)]
pub struct Logs {
    /// All must match a stream's labels.
    pub matchers: Vec<Matcher>,
    /// All must match a line.
    pub filters: Vec<LineFilter>,
}

/// A condition on one label; one that is missing counts as empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// The condition.
    pub op: MatchOp,
    /// What the value is compared with.
    pub value: String,
    regex: Option<Regex>,
}

/// How a [`Matcher`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends.
    Regex,
    /// `!~`, anchored at both ends.
    NotRegex,
}

/// A condition on the line: any of the patterns, or none of them.
#[derive(Debug, Clone)]
pub struct LineFilter {
    /// Lines that match are left out.
    pub negated: bool,
    /// The patterns are expressions, not texts.
    pub regex: bool,
    /// Any of them.
    pub patterns: Vec<String>,
    compiled: Vec<Pattern>,
}

#[derive(Debug, Clone)]
enum Pattern {
    Text(Box<memchr::memmem::Finder<'static>>),
    Regex(BytesRegex),
}

/// Why a query is not answered.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// It is not LogQL.
    Syntax {
        /// Byte offset in the query.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// It is LogQL that this pipeline does not answer.
    NotSupported {
        /// Byte offset in the query.
        at: usize,
        /// The construct, by its name.
        what: String,
    },
    /// No matcher excludes the empty value, so every stream would be read.
    MatchesEverything,
}

impl std::error::Error for QueryError {}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { at, what } => write!(f, "parse error at col {}: {what}", at + 1),
            Self::NotSupported { at, what } => write!(f, "col {}: {what} is not supported", at + 1),
            Self::MatchesEverything => f.write_str(
                "queries require at least one matcher that does not match the empty value, such as app=\"x\" or app=~\".+\"",
            ),
        }
    }
}

impl Query {
    /// Parses `text`.
    ///
    /// # Errors
    /// [`QueryError`] with the position of what is wrong or not supported.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parser::Parser::new(text)?.query()
    }

    /// The lines it reads.
    pub fn logs(&self) -> &Logs {
        match self {
            Self::Logs(logs) => logs,
            Self::Metric(metric) => &metric.range().logs,
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logs(logs) => logs.fmt(f),
            Self::Metric(metric) => metric.fmt(f),
        }
    }
}

impl fmt::Display for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, matcher) in self.matchers.iter().enumerate() {
            write!(f, "{}{matcher}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")?;
        self.filters.iter().try_for_each(|filter| write!(f, " {filter}"))
    }
}

impl fmt::Display for LineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.negated, self.regex) {
            (false, false) => "|=",
            (true, false) => "!=",
            (false, true) => "|~",
            (true, true) => "!~",
        })?;
        for (i, pattern) in self.patterns.iter().enumerate() {
            write!(f, "{} {}", if i == 0 { "" } else { " or" }, Quoted(pattern))?;
        }
        Ok(())
    }
}

/// A string as LogQL reads it.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

impl Logs {
    /// Parses a bare stream selector, as the `match[]` parameters hold.
    ///
    /// # Errors
    /// [`QueryError`] with the position of what is wrong or not supported.
    pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
        parser::Parser::new(text)?.bare_selector()
    }

    /// Whether every filter lets `line` pass.
    pub fn keeps(&self, line: &[u8]) -> bool {
        self.filters.iter().all(|filter| filter.keeps(line))
    }
}

/// Whether all `matchers` match the sorted `labels`.
pub fn all_match(matchers: &[Matcher], labels: &[(&str, &str)]) -> bool {
    matchers.iter().all(|matcher| {
        let value =
            labels.binary_search_by_key(&matcher.name.as_str(), |(name, _)| name).map(|i| labels[i].1);
        matcher.matches(value.unwrap_or_default())
    })
}

impl Matcher {
    /// A matcher; `None` with an error text where the expression does not compile.
    ///
    /// # Errors
    /// What the expression's parser said.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, String> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                let compile = |expression: &str| {
                    RegexBuilder::new(expression)
                        .size_limit(REGEX_SIZE_LIMIT)
                        .build()
                        .map_err(|e| e.to_string())
                };
                // Alone first: `a)|(b` is no expression, and within parentheses it would be one without anchors.
                compile(value)?;
                Some(compile(&format!("^(?s:{value})$"))?)
            }
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Whether it accepts `value`.
    pub fn matches(&self, value: &str) -> bool {
        match (&self.regex, self.op) {
            (Some(regex), MatchOp::NotRegex) => !regex.is_match(value),
            (Some(regex), _) => regex.is_match(value),
            (None, MatchOp::NotEqual) => self.value != value,
            (None, _) => self.value == value,
        }
    }

    /// Whether a stream without the label matches.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{}", self.name, Quoted(&self.value))
    }
}

impl LineFilter {
    /// A filter of any of `patterns`.
    ///
    /// # Errors
    /// What the expression's parser said.
    pub fn new(negated: bool, regex: bool, patterns: Vec<String>) -> Result<Self, String> {
        let compile = |text: &String| {
            if !regex {
                return Ok(Pattern::Text(Box::new(memchr::memmem::Finder::new(text).into_owned())));
            }
            let regex = BytesRegexBuilder::new(text).size_limit(REGEX_SIZE_LIMIT).build();
            regex.map(Pattern::Regex).map_err(|e| e.to_string())
        };
        let compiled = patterns.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { negated, regex, patterns, compiled })
    }

    /// Whether `line` passes.
    pub fn keeps(&self, line: &[u8]) -> bool {
        let any = self.compiled.iter().any(|pattern| match pattern {
            Pattern::Text(finder) => finder.find(line).is_some(),
            Pattern::Regex(regex) => regex.is_match(line),
        });
        any != self.negated
    }
}

#[cfg(test)]
mod tests;
