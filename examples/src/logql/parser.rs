//! Recursive descent over the tokens.

mod metric;

use super::lexer::{Token, syntax, tokens};
use super::{LineFilter, Logs, MatchOp, Matcher, Metric, Query, QueryError, RangeFunction};
use crate::excerpt::Excerpt;
use metric::OPERATORS;

/// What may stand in front of a parenthesis in LogQL but is not answered here.
const FUNCTIONS: [&str; 30] = [
    "rate_counter",
    "absent_over_time",
    "sum_over_time",
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "first_over_time",
    "last_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "quantile_over_time",
    "stddev",
    "stdvar",
    "bottomk",
    "approx_topk",
    "sort",
    "sort_desc",
    "vector",
    "label_replace",
    "variants",
    "count_values",
    "group",
    "abs",
    "ceil",
    "floor",
    "round",
    "clamp",
    "time",
    "scalar",
    "quantile",
];
/// Parentheses and aggregations within each other.
const MAX_DEPTH: u32 = 32;

pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token)>,
    next: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, QueryError> {
        Ok(Self { text, tokens: tokens(text)?, next: 0 })
    }

    pub(super) fn query(mut self) -> Result<Query, QueryError> {
        let query = self.expression(0)?;
        self.end()?;
        if query.logs().matchers.iter().all(Matcher::matches_empty) {
            return Err(QueryError::MatchesEverything);
        }
        Ok(query)
    }

    pub(super) fn bare_selector(mut self) -> Result<Vec<Matcher>, QueryError> {
        let matchers = self.selector()?;
        self.end()?;
        Ok(matchers)
    }

    fn expression(&mut self, depth: u32) -> Result<Query, QueryError> {
        let query = self.operand(depth)?;
        match self.peek() {
            Some(Token::Punct("+" | "-" | "*" | "/" | "%" | "^" | "==" | "!=" | ">" | "<" | ">=" | "<=")) => {
                Err(self.not_supported("a binary operation"))
            }
            Some(Token::Ident(name)) if ["and", "or", "unless"].contains(&name.as_str()) => {
                Err(self.not_supported("a binary operation"))
            }
            _ => Ok(query),
        }
    }

    fn operand(&mut self, depth: u32) -> Result<Query, QueryError> {
        if depth > MAX_DEPTH {
            return Err(syntax(self.at(), format!("more than {MAX_DEPTH} parentheses within each other")));
        }
        if self.take("(") {
            let query = self.expression(depth + 1)?;
            self.expect(")")?;
            return Ok(query);
        }
        let name = match self.peek() {
            Some(Token::Ident(name)) => name.clone(),
            Some(Token::Number(_) | Token::Punct("-" | "+")) => return Err(self.not_supported("arithmetic")),
            _ => return Ok(Query::Logs(self.logs()?)),
        };
        if let Some(function) = RangeFunction::named(&name) {
            return Ok(Query::Metric(Metric::Range(self.range_aggregation(function)?)));
        }
        if OPERATORS.contains(&name.as_str()) {
            return Ok(Query::Metric(Metric::Vector(self.vector_aggregation(&name, depth)?)));
        }
        if FUNCTIONS.contains(&name.as_str()) {
            return Err(self.not_supported(name));
        }
        Ok(Query::Logs(self.logs()?))
    }

    fn logs(&mut self) -> Result<Logs, QueryError> {
        Ok(Logs { matchers: self.selector()?, filters: self.filters()? })
    }

    fn selector(&mut self) -> Result<Vec<Matcher>, QueryError> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        while !self.take("}") {
            matchers.push(self.matcher()?);
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Result<Matcher, QueryError> {
        let name = match self.peek() {
            Some(Token::Ident(name)) => name.clone(),
            _ => return Err(self.expected("a label name or }")),
        };
        self.next += 1;
        let op = match self.peek() {
            Some(Token::Punct("=")) => MatchOp::Equal,
            Some(Token::Punct("!=")) => MatchOp::NotEqual,
            Some(Token::Punct("=~")) => MatchOp::Regex,
            Some(Token::Punct("!~")) => MatchOp::NotRegex,
            _ => return Err(self.expected("one of = != =~ !~")),
        };
        self.next += 1;
        let at = self.at();
        let value = self.text_token()?;
        Matcher::new(&name, op, &value).map_err(|e| syntax(at, e))
    }

    fn filters(&mut self) -> Result<Vec<LineFilter>, QueryError> {
        let mut filters = Vec::new();
        loop {
            let (negated, is_regex) = match self.peek() {
                Some(Token::Punct("|=")) => (false, false),
                Some(Token::Punct("!=")) => (true, false),
                Some(Token::Punct("|~")) => (false, true),
                Some(Token::Punct("!~")) => (true, true),
                Some(Token::Punct("|>" | "!>")) => return Err(self.not_supported("pattern filter")),
                Some(Token::Punct("|")) => return Err(self.stage()),
                _ => return Ok(filters),
            };
            self.next += 1;
            let (at, mut patterns) = (self.at(), Vec::new());
            loop {
                if matches!(self.peek(), Some(Token::Ident(name)) if name == "ip") {
                    return Err(self.not_supported("ip filter"));
                }
                patterns.push(self.text_token()?);
                if !self.take_word("or") {
                    break;
                }
            }
            filters.push(LineFilter::new(negated, is_regex, patterns).map_err(|e| syntax(at, e))?);
        }
    }

    /// A `|` that is no line filter: say which stage it is.
    fn stage(&mut self) -> QueryError {
        let bar = self.at();
        self.next += 1;
        let what = match self.peek() {
            Some(Token::Ident(name)) => match self.tokens.get(self.next + 1) {
                Some((_, Token::Punct("=" | "!=" | "=~" | "!~" | ">" | "<" | ">=" | "<=" | "=="))) => {
                    format!("| {name}: a label filter")
                }
                _ => format!("| {name}"),
            },
            _ => return self.expected("a stage"),
        };
        QueryError::NotSupported { at: bar, what }
    }

    fn text_token(&mut self) -> Result<String, QueryError> {
        let Some(Token::Text(text)) = self.peek() else { return Err(self.expected("a quoted string")) };
        let text = text.clone();
        self.next += 1;
        Ok(text)
    }

    fn end(&self) -> Result<(), QueryError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end of the query")) }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    fn take(&mut self, punct: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Punct(p)) if *p == punct);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Ident(name)) if name == word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, punct: &str) -> Result<(), QueryError> {
        if self.take(punct) { Ok(()) } else { Err(self.expected(punct)) }
    }

    fn expected(&self, what: &str) -> QueryError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Token::Ident(name)) => format!("{:?}", Excerpt(name)),
            Some(Token::Text(text)) => format!("string {:?}", Excerpt(text)),
            Some(Token::Duration(_)) => "a duration".to_owned(),
            Some(Token::Number(number)) => format!("number {:?}", Excerpt(number)),
            Some(Token::Punct(punct)) => (*punct).to_owned(),
        };
        syntax(self.at(), format!("expected {what}, found {found}"))
    }

    fn not_supported(&self, what: impl Into<String>) -> QueryError {
        QueryError::NotSupported { at: self.at(), what: what.into() }
    }
}
