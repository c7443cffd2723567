//! Anchored regular expressions with RE2's meaning. What RE2 and the `regex` crate both accept but read
//! differently is rewritten (`\d` is ASCII) or refused (`[a&&b]`); a pattern never changes its meaning silently.

use std::fmt;
use std::ops::Range;

use regex::{Regex, RegexBuilder};
use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{self, Ast};

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 4096;
/// The largest compiled pattern, in bytes.
pub const MAX_COMPILED_BYTES: usize = 1 << 20;
const MAX_NESTING: u32 = 64;

/// A regular expression that must match a whole label value. `.` matches line feeds too, as in Prometheus.
/// Two patterns are equal when their texts are.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
    matches_empty: bool,
}

/// Why a pattern was refused; `at` is a byte offset into the pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It does not parse.
    #[error("pattern is malformed at byte {at}: {what}")]
    Syntax {
        /// Where.
        at: usize,
        /// The parser's own words.
        what: String,
    },
    /// It parses, but RE2 would refuse it or read it differently.
    #[error("pattern uses {what} at byte {at}, which is not supported")]
    Unsupported {
        /// Where.
        at: usize,
        /// Which construct.
        what: &'static str,
    },
    /// It is longer than [`MAX_PATTERN_BYTES`].
    #[error("pattern of {bytes} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Compiled it would exceed [`MAX_COMPILED_BYTES`].
    #[error("pattern exceeds the limit of {limit} bytes when compiled")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl Pattern {
    /// Compiles `source`, to be matched against whole values.
    ///
    /// # Errors
    /// Any [`PatternError`]. Time and memory are bounded by [`MAX_PATTERN_BYTES`] and [`MAX_COMPILED_BYTES`].
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let bytes = source.len();
        if bytes > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong { bytes, limit: MAX_PATTERN_BYTES });
        }
        let syntax = |at: &ast::Span, what: &dyn fmt::Display| PatternError::Syntax {
            at: at.start.offset,
            what: what.to_string(),
        };
        let tree = ParserBuilder::new()
            .nest_limit(MAX_NESTING)
            .build()
            .parse(source)
            .map_err(|error| syntax(error.span(), error.kind()))?;
        let edits = ast::visit(&tree, Dialect::default())?;
        // The group keeps an alternation inside the anchors, and the flag inside the group.
        let anchored = format!("^(?s:{})$", rewrite(source, &edits));
        let regex =
            RegexBuilder::new(&anchored).size_limit(MAX_COMPILED_BYTES).build().map_err(
                |error| match error {
                    regex::Error::CompiledTooBig(limit) => PatternError::TooLarge { limit },
                    other => PatternError::Syntax { at: 0, what: other.to_string() },
                },
            )?;
        let matches_empty = regex.is_match("");
        Ok(Self { source: source.to_owned(), regex, matches_empty })
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `value` matches. Linear in its length.
    pub fn is_match(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }

    /// Whether the empty value matches, which under Loki's rules means that a missing label does.
    pub fn matches_empty(&self) -> bool {
        self.matches_empty
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

type Edit = (Range<usize>, &'static str);

fn rewrite(source: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(source.len() + edits.len() * 16);
    let mut done = 0;
    for (span, with) in edits {
        out.push_str(&source[done..span.start]);
        out.push_str(with);
        done = span.end;
    }
    out.push_str(&source[done..]);
    out
}

/// Walks a pattern in reading order and collects where RE2 reads it differently.
#[derive(Default)]
struct Dialect {
    edits: Vec<Edit>,
}

impl Dialect {
    fn replace(&mut self, span: &ast::Span, with: &'static str) {
        self.edits.push((span.start.offset..span.end.offset, with));
    }

    /// RE2's `\d`, `\s` and `\w` are ASCII. A bracketed class stands for them inside and outside of brackets.
    fn perl(&mut self, class: &ast::ClassPerl) {
        use ast::ClassPerlKind::{Digit, Space, Word};
        let with = match (&class.kind, class.negated) {
            (Digit, false) => "[0-9]",
            (Digit, true) => "[^0-9]",
            (Space, false) => r"[\t\n\x0C\r ]",
            (Space, true) => r"[^\t\n\x0C\r ]",
            (Word, false) => "[0-9A-Za-z_]",
            (Word, true) => "[^0-9A-Za-z_]",
        };
        self.replace(&class.span, with);
    }

    fn assertion(&mut self, assertion: &ast::Assertion) -> Result<(), PatternError> {
        use ast::AssertionKind::{EndLine, EndText, NotWordBoundary, StartLine, StartText, WordBoundary};
        match assertion.kind {
            StartLine | EndLine | StartText | EndText => {}
            WordBoundary => self.replace(&assertion.span, r"(?-u:\b)"),
            NotWordBoundary => self.replace(&assertion.span, r"(?-u:\B)"),
            _ => return refuse(&assertion.span, "a one-sided word boundary"),
        }
        Ok(())
    }

    fn flags(flags: &ast::Flags) -> Result<(), PatternError> {
        use ast::Flag::{CaseInsensitive, DotMatchesNewLine, MultiLine, SwapGreed};
        for item in &flags.items {
            match item.kind {
                ast::FlagsItemKind::Negation
                | ast::FlagsItemKind::Flag(CaseInsensitive | MultiLine | DotMatchesNewLine | SwapGreed) => {}
                ast::FlagsItemKind::Flag(_) => return refuse(&item.span, "a flag other than i, m, s and U"),
            }
        }
        Ok(())
    }
}

fn refuse(span: &ast::Span, what: &'static str) -> Result<(), PatternError> {
    Err(PatternError::Unsupported { at: span.start.offset, what })
}

impl ast::Visitor for Dialect {
    type Output = Vec<Edit>;
    type Err = PatternError;

    fn finish(self) -> Result<Vec<Edit>, PatternError> {
        Ok(self.edits)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), PatternError> {
        match ast {
            Ast::ClassPerl(class) => self.perl(class),
            Ast::Assertion(assertion) => self.assertion(assertion)?,
            Ast::Flags(set) => Self::flags(&set.flags)?,
            Ast::Group(group) => {
                if let ast::GroupKind::NonCapturing(flags) = &group.kind {
                    Self::flags(flags)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), PatternError> {
        match item {
            ast::ClassSetItem::Perl(class) => self.perl(class),
            ast::ClassSetItem::Bracketed(class) => return refuse(&class.span, "a class inside a class"),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, op: &ast::ClassSetBinaryOp) -> Result<(), PatternError> {
        refuse(&op.span, "a class set operation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Pattern::new(pattern).unwrap().is_match(value)
    }

    #[test]
    fn the_whole_value_must_match() {
        assert!(matches("dev|test", "test"));
        assert!(!matches("dev|test", "tester"));
        assert!(!matches("dev|test", "xdev"));
        assert!(matches("a.b", "a\nb"));
        assert!(Pattern::new(".*").unwrap().matches_empty());
        assert!(!Pattern::new(".+").unwrap().matches_empty());
    }

    #[test]
    fn perl_classes_are_ascii_inside_and_outside_of_brackets() {
        for (pattern, yes, no) in [
            (r"\d+", "42", "٤٢"),
            (r"[\d.]+", "4.2", "٤"),
            (r"\w", "x", "ä"),
            (r"\D", "٤", "4"),
            (r"[\D]", "٤", "4"),
            (r"[^\W]", "x", "ä"),
            (r"\s", "\t", "\u{b}"),
            (r"\S", "\u{a0}", " "),
            (r"a\b.*", "aä", "ab"),
            (r"a\B.*", "ab", "aä"),
        ] {
            assert!(matches(pattern, yes), "{pattern} should match {yes}");
            assert!(!matches(pattern, no), "{pattern} should not match {no}");
        }
    }

    #[test]
    fn what_would_change_its_meaning_is_refused_with_its_place() {
        for (pattern, offset) in
            [("x[a&&b]", 2), ("[a[b]]", 2), ("a(?x)b", 3), (r"a\<", 1), ("(?-u:a)", 3), ("[a--b]", 1)]
        {
            match Pattern::new(pattern) {
                Err(PatternError::Unsupported { at, .. }) => assert_eq!(at, offset, "{pattern}"),
                other => panic!("{pattern}: {other:?}"),
            }
        }
    }

    #[test]
    fn malformed_and_oversized_patterns_are_refused() {
        assert!(matches!(Pattern::new("a)|(b"), Err(PatternError::Syntax { at: 1, .. })));
        assert!(matches!(Pattern::new(r"(a)\1"), Err(PatternError::Syntax { at: 3, .. })));
        let long = "a".repeat(MAX_PATTERN_BYTES + 1);
        assert!(matches!(Pattern::new(&long), Err(PatternError::TooLong { bytes: 4097, limit: 4096 })));
        assert!(matches!(Pattern::new(r"\pL{1000}{1000}"), Err(PatternError::TooLarge { .. })));
        assert!(Pattern::new(&"(".repeat(200)).is_err());
    }
}
