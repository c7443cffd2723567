//! Conditions on labels and lines.

use prost::Message;

use super::WireError;
use crate::logql::{LineFilter, Logs, MatchOp, Matcher};

/// A condition on one label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelMatcher {
    /// The label.
    #[prost(string, tag = "1")]
    pub name: String,
    /// 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
    #[prost(uint32, tag = "2")]
    pub op: u32,
    /// The value or expression.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// A condition on the line.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Filter {
    /// Lines that match are left out.
    #[prost(bool, tag = "1")]
    pub negated: bool,
    /// The patterns are expressions.
    #[prost(bool, tag = "2")]
    pub regex: bool,
    /// Any of them.
    #[prost(string, repeated, tag = "3")]
    pub patterns: Vec<String>,
}

impl From<&Matcher> for LabelMatcher {
    fn from(matcher: &Matcher) -> Self {
        let op = match matcher.op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        Self { name: matcher.name.clone(), op, value: matcher.value.clone() }
    }
}

/// The matchers of a message.
///
/// # Errors
/// [`WireError`] for an unknown operator or an expression that does not compile.
pub fn matchers(messages: &[LabelMatcher]) -> Result<Vec<Matcher>, WireError> {
    let one = |m: &LabelMatcher| {
        let op = match m.op {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            other => return Err(WireError(format!("label operator {other}"))),
        };
        Matcher::new(&m.name, op, &m.value).map_err(WireError)
    };
    messages.iter().map(one).collect()
}

impl From<&LineFilter> for Filter {
    fn from(filter: &LineFilter) -> Self {
        Self { negated: filter.negated, regex: filter.regex, patterns: filter.patterns.clone() }
    }
}

/// The selector and the filters of a message.
pub(super) fn logs(selector: &[LabelMatcher], filters: &[Filter]) -> Result<Logs, WireError> {
    let filter = |f: &Filter| LineFilter::new(f.negated, f.regex, f.patterns.clone()).map_err(WireError);
    let filters = filters.iter().map(filter).collect::<Result<_, _>>()?;
    Ok(Logs { matchers: matchers(selector)?, filters })
}
