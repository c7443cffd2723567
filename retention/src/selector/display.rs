//! Selectors as text for people. What came from Loki's text goes back to it, and parses to the same.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use super::{Missing, Operator, Requirement, Selector};

/// Loki's selectors in Loki's form, which parses back to the same; native ones in Kubernetes' manner.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.missing == Missing::Empty || self.requirements.is_empty() {
            f.write_str("{")?;
            for (n, Requirement { key, operator }) in self.requirements.iter().enumerate() {
                let comma = if n == 0 { "" } else { ", " };
                let (sign, value): (_, Cow<'_, str>) = match operator {
                    Operator::In(values) => ("=", Cow::Borrowed(values.first().map_or("", String::as_str))),
                    Operator::NotIn(values) => {
                        ("!=", Cow::Borrowed(values.first().map_or("", String::as_str)))
                    }
                    Operator::Matches(pattern) => ("=~", Cow::Borrowed(pattern.as_str())),
                    Operator::NotMatches(pattern) => ("!~", Cow::Borrowed(pattern.as_str())),
                    // Loki has no such operators; a Loki selector is only ever made from text.
                    Operator::Exists | Operator::DoesNotExist => ("?", Cow::Borrowed("")),
                };
                write!(f, "{comma}{key}{sign}{}", Quoted(&value))?;
            }
            return f.write_str("}");
        }
        for (n, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            match operator {
                Operator::In(values) => write!(f, "{comma}{key} in {}", List(values))?,
                Operator::NotIn(values) => write!(f, "{comma}{key} notin {}", List(values))?,
                Operator::Exists => write!(f, "{comma}{key}")?,
                Operator::DoesNotExist => write!(f, "{comma}!{key}")?,
                Operator::Matches(pattern) => write!(f, "{comma}{key} matches {}", Quoted(pattern.as_str()))?,
                Operator::NotMatches(pattern) => {
                    write!(f, "{comma}{key} notmatches {}", Quoted(pattern.as_str()))?
                }
            }
        }
        Ok(())
    }
}

/// A string in double quotes, escaped as Go reads it.
struct Quoted<'s>(&'s str);

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

struct List<'s>(&'s BTreeSet<String>);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, value) in self.0.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "(" } else { ", " }, Quoted(value))?;
        }
        f.write_str(")")
    }
}
