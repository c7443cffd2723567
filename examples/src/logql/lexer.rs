//! Tokens of a query, each with its byte offset.

use super::QueryError;
use crate::excerpt::Excerpt;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or keyword.
    Ident(String),
    /// A string, quotes and escapes resolved.
    Text(String),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A bare number, which no supported construct takes.
    Number(String),
    /// Punctuation and operators.
    Punct(&'static str),
}

/// Longest first, so that `!=` is not read as `!`.
const PUNCT: [&str; 32] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")", "[", "]", ",", "=", "|",
    ">", "<", "+", "-", "*", "/", "%", "^", "@", ":", "!", ".", ";",
];

/// Splits `text`.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, QueryError> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let start = at;
        let token = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '#' => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '"' => quoted(text, &mut at)?,
            '`' => raw(text, &mut at)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                at += len;
                Token::Ident(rest[..len].to_owned())
            }
            '0'..='9' => number(text, &mut at)?,
            _ => {
                let found = PUNCT.iter().find(|p| rest.starts_with(**p));
                let punct = found.ok_or_else(|| syntax(at, format!("unexpected character {c:?}")))?;
                at += punct.len();
                Token::Punct(punct)
            }
        };
        out.push((start, token));
    }
    Ok(out)
}

pub(super) fn syntax(at: usize, what: impl Into<String>) -> QueryError {
    QueryError::Syntax { at, what: what.into() }
}

fn raw(text: &str, at: &mut usize) -> Result<Token, QueryError> {
    let start = *at;
    let body = &text[start + 1..];
    let len = body.find('`').ok_or_else(|| syntax(start, "string is not closed"))?;
    *at += len + 2;
    Ok(Token::Text(body[..len].to_owned()))
}

fn quoted(text: &str, at: &mut usize) -> Result<Token, QueryError> {
    let start = *at;
    let mut out = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => {
                *at = start + 1 + i + 1;
                return Ok(Token::Text(out));
            }
            '\n' => break,
            '\\' => {
                let escape = chars.next().map(|(_, c)| c);
                let c = escape.and_then(|c| unescape(c, &mut chars));
                out.push(c.ok_or_else(|| syntax(start + 1 + i, "escape is not known"))?);
            }
            c => out.push(c),
        }
    }
    Err(syntax(start, "string is not closed"))
}

fn unescape(c: char, chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let mut hex = |digits: u32| {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + chars.next()?.1.to_digit(16)?;
        }
        char::from_u32(code)
    };
    Some(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        '\\' | '"' | '\'' => c,
        'x' => hex(2).filter(char::is_ascii)?,
        'u' => hex(4)?,
        'U' => hex(8)?,
        _ => return None,
    })
}

/// A number, or a run of numbers with units: `1h30m`, `1.5s`, `7d`.
fn number(text: &str, at: &mut usize) -> Result<Token, QueryError> {
    let start = *at;
    let rest = &text[start..];
    let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
    let word = &rest[..len];
    *at += len;
    if word.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Ok(Token::Number(word.to_owned()));
    }
    duration_ns(word)
        .map(Token::Duration)
        .ok_or_else(|| syntax(start, format!("{:?} is not a duration", Excerpt(word))))
}

/// Nanoseconds of a duration such as `5m`, `1h30m`, `1.5s`, `7d`; `None` where it is none or over 292 years.
pub fn duration_ns(word: &str) -> Option<i64> {
    let mut rest = word;
    let mut total = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += value
            * match &rest[..unit] {
                "ns" => 1.0,
                "us" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3_600e9,
                "d" => 86_400e9,
                "w" => 604_800e9,
                "y" => 31_536_000e9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 2^63, checked here")]
    (word.len() > 1 && total < 9.2e18).then_some(total.round() as i64)
}
