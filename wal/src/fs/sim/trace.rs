//! The last operations of a disk, for the message of a test that fails.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Fault, Op};

/// Operations that are kept.
const KEPT: usize = 64;

/// What an operation is about.
#[derive(Debug, Default)]
pub(super) enum Subject {
    #[default]
    Nothing,
    Name(PathBuf),
    Names(PathBuf, PathBuf),
    File(u64, Range<u64>),
}

impl From<&Path> for Subject {
    fn from(path: &Path) -> Self {
        Self::Name(path.to_path_buf())
    }
}

#[derive(Debug)]
struct Line {
    number: u64,
    op: Op,
    subject: Subject,
    fault: Option<Fault>,
}

#[derive(Debug, Default)]
pub(super) struct Trace {
    lines: VecDeque<Line>,
    next: Subject,
}

impl Trace {
    /// What the next operation is about.
    pub(super) fn about(&mut self, subject: Subject) {
        self.next = subject;
    }

    pub(super) fn add(&mut self, number: u64, op: Op, fault: Option<Fault>) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { number, op, subject: std::mem::take(&mut self.next), fault });
    }

    /// One line an operation; `name` knows what a file is called now.
    pub(super) fn render(&self, name: impl Fn(u64) -> Option<PathBuf>) -> String {
        self.lines.iter().map(|line| format!("{}\n", Named { line, name: &name })).collect()
    }
}

struct Named<'a, N> {
    line: &'a Line,
    name: &'a N,
}

impl<N: Fn(u64) -> Option<PathBuf>> fmt::Display for Named<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { number, op, subject, fault } = self.line;
        write!(f, "{number:>6} {op:?}")?;
        match subject {
            Subject::Nothing => {}
            Subject::Name(path) => write!(f, " {}", path.display())?,
            Subject::Names(from, to) => write!(f, " {} to {}", from.display(), to.display())?,
            Subject::File(inode, range) => {
                match (self.name)(*inode) {
                    Some(path) => write!(f, " {}", path.display())?,
                    None => write!(f, " nameless file {inode}")?,
                }
                if !range.is_empty() {
                    write!(f, " at {}..{}", range.start, range.end)?;
                }
            }
        }
        fault.map_or(Ok(()), |fault| write!(f, ": {fault:?}"))
    }
}
