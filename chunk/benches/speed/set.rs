//! Lines with times.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::lines;

/// How times are spread over lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Regime {
    /// 5 ms apart, and some part of that.
    Jitter,
    /// Fifty in a second, all at its start.
    Second,
    /// Spread evenly over two hours.
    TwoHours,
}

/// Some lines, and when they came.
pub(crate) struct Set {
    pub(crate) name: String,
    /// Whether it is of the project's own making.
    pub(crate) is_own: bool,
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) times: Vec<i64>,
    pub(crate) blocks: OnceCell<Vec<Vec<u8>>>,
}

impl Set {
    /// The project's own sets, and those of the files of the directories in `FOREBAY_LINES`.
    pub(crate) fn all(regime: Regime) -> impl Iterator<Item = Self> {
        let own = lines::KINDS
            .into_iter()
            .map(move |(name, line)| Self { is_own: true, ..Self::new(name, lines::some(line), regime) });
        let directories = std::env::var("FOREBAY_LINES").unwrap_or_default();
        let directories: Vec<PathBuf> =
            directories.split(':').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
        own.chain(directories.into_iter().flat_map(move |directory| read(&directory, regime)))
    }

    /// The project's own sets, of as many lines as fill a chunk, over two hours.
    pub(crate) fn two_hours() -> impl Iterator<Item = Self> {
        let set = |(name, line)| Self::new(name, lines::many(line), Regime::TwoHours);
        lines::KINDS.into_iter().map(set).map(|set| Self { is_own: true, ..set })
    }

    fn new(name: &str, lines: Vec<Vec<u8>>, regime: Regime) -> Self {
        const START: i64 = 1_772_884_800_000_000_000;
        let gap = 7_200_000_000_000 / i64::try_from(lines.len().max(1)).unwrap();
        let time = |n: i64| match regime {
            Regime::Jitter => {
                START + 5_000_000 * n + (lines::mix(n.cast_unsigned()) % 5_000_000).cast_signed()
            }
            Regime::Second => START + 1_000_000_000 * (n / 50),
            Regime::TwoHours => START + gap * n,
        };
        Self {
            name: name.into(),
            is_own: false,
            times: (0..).take(lines.len()).map(time).collect(),
            lines,
            blocks: OnceCell::new(),
        }
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.lines.iter().map(Vec::len).sum()
    }
}

fn read(directory: &Path, regime: Regime) -> Vec<Set> {
    let mut paths: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let logs = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let set = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let lines = bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut lines: Vec<_> = lines.map(<[u8]>::to_vec).collect();
        // What is behind the last line feed is no line.
        lines.pop_if(|line| line.is_empty());
        Set::new(&path.file_stem().unwrap().to_string_lossy(), lines, regime)
    };
    logs.map(set).collect()
}
