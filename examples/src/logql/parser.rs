//! Recursive descent over the tokens.

use super::lexer::{Token, syntax, tokens};
use super::{LineFilter, Logs, MatchOp, Matcher, Query, QueryError};

/// What may stand in front of a parenthesis in LogQL but is not answered here.
const FUNCTIONS: [&str; 41] = [
    "rate",
    "rate_counter",
    "bytes_rate",
    "bytes_over_time",
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
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "stddev",
    "stdvar",
    "topk",
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
    "by",
    "without",
];

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
        let mut open = 0;
        while self.take("(") {
            open += 1;
        }
        let query = self.expression()?;
        for _ in 0..open {
            self.expect(")")?;
        }
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

    fn expression(&mut self) -> Result<Query, QueryError> {
        match self.peek() {
            Some(Token::Ident(name)) if name == "count_over_time" => self.count_over_time(),
            Some(Token::Ident(name)) if FUNCTIONS.contains(&name.as_str()) => {
                Err(self.not_supported(name.clone()))
            }
            Some(Token::Number(_) | Token::Punct("-" | "+")) => Err(self.not_supported("arithmetic")),
            _ => Ok(Query::Logs(self.logs()?)),
        }
    }

    fn count_over_time(&mut self) -> Result<Query, QueryError> {
        self.next += 1;
        self.expect("(")?;
        // LogQL takes the range behind the selector as well as behind the filters.
        let matchers = self.selector()?;
        let mut range_ns = self.range()?;
        let filters = self.filters()?;
        if range_ns.is_none() {
            range_ns = self.range()?;
        }
        let range_ns = range_ns.ok_or_else(|| self.expected("a range such as [5m]"))?;
        let offset_ns = self.offset()?;
        self.expect(")")?;
        if matches!(self.peek(), Some(Token::Ident(name)) if name == "by" || name == "without") {
            return Err(self.not_supported("grouping"));
        }
        Ok(Query::CountOverTime { logs: Logs { matchers, filters }, range_ns, offset_ns })
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

    fn range(&mut self) -> Result<Option<i64>, QueryError> {
        if !self.take("[") {
            return Ok(None);
        }
        let at = self.at();
        let Some(&Token::Duration(range_ns)) = self.peek() else {
            return Err(self.expected("a duration such as 5m"));
        };
        if range_ns == 0 {
            return Err(syntax(at, "a range of no width"));
        }
        self.next += 1;
        self.expect("]")?;
        Ok(Some(range_ns))
    }

    fn offset(&mut self) -> Result<i64, QueryError> {
        if !self.take_word("offset") {
            return Ok(0);
        }
        let negative = self.take("-");
        let Some(&Token::Duration(offset_ns)) = self.peek() else {
            return Err(self.expected("a duration such as 5m"));
        };
        self.next += 1;
        Ok(if negative { -offset_ns } else { offset_ns })
    }

    fn text_token(&mut self) -> Result<String, QueryError> {
        let Some(Token::Text(text)) = self.peek() else { return Err(self.expected("a quoted string")) };
        let text = text.clone();
        self.next += 1;
        Ok(text)
    }

    fn end(&self) -> Result<(), QueryError> {
        match self.peek() {
            None => Ok(()),
            Some(Token::Punct("+" | "-" | "*" | "/" | "%" | "^" | "==" | "!=" | ">" | "<" | ">=" | "<=")) => {
                Err(self.not_supported("a binary operation"))
            }
            Some(Token::Ident(name)) if ["and", "or", "unless"].contains(&name.as_str()) => {
                Err(self.not_supported("a binary operation"))
            }
            Some(_) => Err(self.expected("the end of the query")),
        }
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
            Some(Token::Ident(name)) => format!("{name:?}"),
            Some(Token::Text(text)) => format!("string {text:?}"),
            Some(Token::Duration(_)) => "a duration".to_owned(),
            Some(Token::Number(number)) => number.clone(),
            Some(Token::Punct(punct)) => (*punct).to_owned(),
        };
        syntax(self.at(), format!("expected {what}, found {found}"))
    }

    fn not_supported(&self, what: impl Into<String>) -> QueryError {
        QueryError::NotSupported { at: self.at(), what: what.into() }
    }
}
