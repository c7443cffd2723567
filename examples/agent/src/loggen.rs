//! Log lines as a small shop's services would write them, decided by a seed; and [a program's work](run): as many as
//! asked for, when they are due, to where they are wanted.
//!
//! The same seed, number of streams and times give the same lines on every machine. All of it is invented here: no
//! line is taken from anybody's logs.

mod kinds;
pub mod run;
pub mod schedule;
mod stamp;
mod text;

use crate::random::Random;
use kinds::Kind;
use stamp::Stamp;
use text::Text;

const APP_COUNT: u32 = 8;
/// Who writes logs, and of what kind.
const APPS: [(&str, Kind); APP_COUNT as usize] = [
    ("gateway", Kind::Access),
    ("checkout", Kind::Orders),
    ("payments", Kind::Payments),
    ("sessions", Kind::Sessions),
    ("kubelet", Kind::Node),
    ("inventory", Kind::Stock),
    ("mailer", Kind::Mail),
    ("search", Kind::Search),
];

/// What writes stack traces over several lines. Not among the others, whose lines a seed has decided for long.
const WORKER: (&str, Kind) = ("worker", Kind::Work);

/// Whose lines are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Choice {
    /// Those of all services.
    #[default]
    All,
    /// Access logs, in the combined format with time and id behind it.
    Access,
    /// logfmt, of orders and of database statements.
    Logfmt,
    /// JSON, of payments and of searches.
    Json,
    /// Lines of jobs, every fourth with a stack trace of 3 to 12 lines behind it.
    Trace,
    /// Key-value text, of sessions, a node and a mail server.
    Keyvalue,
}

impl Choice {
    fn services(self) -> Vec<(&'static str, Kind)> {
        let of = |kinds: &[Kind]| APPS.into_iter().filter(|(_, kind)| kinds.contains(kind)).collect();
        match self {
            Self::All => [&APPS[..], &[WORKER]].concat(),
            Self::Access => of(&[Kind::Access]),
            Self::Logfmt => of(&[Kind::Orders, Kind::Stock]),
            Self::Json => of(&[Kind::Payments, Kind::Search]),
            Self::Trace => vec![WORKER],
            Self::Keyvalue => of(&[Kind::Sessions, Kind::Node, Kind::Mail]),
        }
    }
}

/// Makes log lines.
///
/// ```
/// use forebay_agent::loggen::Generator;
///
/// let mut generator = Generator::new(1, 24);
/// let mut line = Vec::new();
/// let stream = generator.next_line(1_772_884_800_000_000_000, &mut line);
/// assert_eq!(generator.labels(stream)[0].0, "app");
/// assert!(line.is_ascii() && !line.contains(&b'\n'));
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    random: Random,
    streams: Vec<Stream>,
    /// Lines are made for every `shards`-th stream from number `shard` on.
    shard: u32,
    shards: u32,
    own: u32,
    stamp: Stamp,
}

#[derive(Debug, Clone)]
struct Stream {
    labels: Vec<(String, String)>,
    kind: Kind,
    host: String,
}

impl Generator {
    /// Lines of `streams` streams, at least 1; 24 make a small cluster of every kind of service.
    pub fn new(seed: u64, streams: u32) -> Self {
        Self::shard(seed, streams.max(1), 0, 1)
    }

    /// Lines of every `shards`-th stream alone, from number `shard` on, so that `shards` generators can be used at
    /// the same time and none writes to another's stream.
    ///
    /// # Panics
    /// Where the shard has no stream.
    pub fn shard(seed: u64, streams: u32, shard: u32, shards: u32) -> Self {
        assert!(shard < shards && shard < streams, "shard {shard} of {shards} has none of {streams} streams");
        let own = (streams - shard).div_ceil(shards);
        let mut random = Random::new(seed);
        for _ in 0..shard {
            random = Random::new(random.number());
        }
        Self {
            random,
            streams: (0..streams).map(|number| Stream::new(number, &APPS)).collect(),
            shard,
            shards,
            own,
            stamp: Stamp::new(0),
        }
    }

    /// Lines of `streams` streams, at least 1, of the services chosen.
    pub fn of(choice: Choice, seed: u64, streams: u32) -> Self {
        let services = choice.services();
        let mut generator = Self::new(seed, streams);
        generator.streams = (0..generator.own).map(|number| Stream::new(number, &services)).collect();
        generator
    }

    /// The same, and every stream has its number as a label more: `stream="s7"`.
    #[must_use]
    pub fn labelled(mut self) -> Self {
        for (number, stream) in self.streams.iter_mut().enumerate() {
            stream.labels.push(("stream".to_owned(), format!("s{number}")));
        }
        self
    }

    /// How many streams there are, those of other shards included.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// The labels of a stream, sorted by name.
    ///
    /// # Panics
    /// Where `stream` is not below [`streams`](Self::streams).
    pub fn labels(&self, stream: usize) -> &[(String, String)] {
        &self.streams[stream].labels
    }

    /// Replaces `line` by the next line, which is written at `now_ns` since 1970, and says whose it is.
    ///
    /// Low streams are busier than high ones, as they are in real clusters. Lines have 60 to 400 bytes and no `\n`, but
    /// for [stack traces](Choice::Trace), which have some within.
    pub fn next_line(&mut self, now_ns: i64, line: &mut Vec<u8>) -> usize {
        let nth = self.random.below(self.own).min(self.random.below(self.own));
        let stream = (self.shard + nth * self.shards) as usize;
        let Stream { kind, host, .. } = &self.streams[stream];
        self.stamp.advance(now_ns);
        line.clear();
        kind.write(&mut Text(line), &mut self.random, &self.stamp, host);
        stream
    }
}

impl Stream {
    fn new(number: u32, services: &[(&str, Kind)]) -> Self {
        let count = u32::try_from(services.len()).expect("a handful");
        let pods = number / count;
        let (app, kind) = services[(number % count) as usize];
        let labels = [
            ("app", app.to_owned()),
            ("cluster", if pods.is_multiple_of(2) { "eu-1" } else { "us-1" }.to_owned()),
            ("env", if pods % 3 == 2 { "staging" } else { "prod" }.to_owned()),
            ("pod", format!("{app}-{pods}")),
        ];
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { labels, kind, host: format!("node-{:02}", pods % 24) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const START_NS: i64 = 1_772_884_800_000_000_000;

    fn lines(generator: &mut Generator, count: i64) -> Vec<(usize, String)> {
        let mut line = Vec::new();
        let mut next = |i| {
            let stream = generator.next_line(START_NS + i * 3_600_000, &mut line);
            (stream, String::from_utf8(line.clone()).unwrap())
        };
        (0..count).map(&mut next).collect()
    }

    #[test]
    fn the_seed_decides_every_line() {
        let first = lines(&mut Generator::new(1, 24), 2_000);
        assert_eq!(first, lines(&mut Generator::new(1, 24), 2_000));
        assert_ne!(first, lines(&mut Generator::new(2, 24), 2_000));
    }

    #[test]
    fn lines_are_printable_and_of_ordinary_length() {
        let lines = lines(&mut Generator::new(3, 24), 20_000);
        for (stream, line) in &lines {
            assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "stream {stream}: {line:?}");
            assert!((60..=400).contains(&line.len()), "{} bytes: {line}", line.len());
        }
        let mean = lines.iter().map(|(_, line)| line.len()).sum::<usize>() / lines.len();
        assert!((120..=180).contains(&mean), "{mean} bytes a line");
        let different = lines.iter().map(|(_, line)| line).collect::<BTreeSet<_>>().len();
        assert!(different > 19_900, "{different} different lines");
    }

    #[test]
    fn every_stream_has_lines_and_labels_of_its_own_in_order() {
        let mut generator = Generator::new(4, 24);
        let mut counts = BTreeMap::new();
        for (stream, _) in lines(&mut generator, 20_000) {
            *counts.entry(stream).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), generator.streams());
        assert!(counts[&0] > 10 * counts[&23], "{counts:?}");
        let labels = (0..24).map(|stream| generator.labels(stream)).collect::<BTreeSet<_>>();
        assert_eq!(labels.len(), 24);
        assert!(labels.iter().all(|labels| labels.is_sorted() && labels.len() == 4));
    }

    #[test]
    fn json_is_json_and_every_kind_fails_now_and_then() {
        let mut generator = Generator::new(5, 8);
        let lines = lines(&mut generator, 50_000);
        let of = |app: &str| {
            let stream = (0..8).find(|&stream| generator.labels(stream)[0].1 == app).unwrap();
            lines.iter().filter(move |(of, _)| *of == stream).map(|(_, line)| line.as_str())
        };
        for line in of("payments").chain(of("search")) {
            let parsed: serde_json::Value = serde_json::from_str(line).expect(line);
            assert!(parsed["trace_id"].is_string());
        }
        for (app, needle) in [
            ("gateway", "\" 502 "),
            ("checkout", "level=error"),
            ("payments", "upstream timeout"),
            ("sessions", "; caused by: "),
            ("kubelet", "back-off restarting"),
            ("inventory", "level=warn"),
            ("mailer", "status=deferred"),
            ("search", "\"level\":\"warn\""),
        ] {
            assert!(of(app).any(|line| line.contains(needle)), "{app} never says {needle}");
        }
    }

    #[test]
    fn whoever_asks_for_one_kind_gets_it_alone() {
        for (choice, apps) in [
            (Choice::Access, &["gateway"][..]),
            (Choice::Logfmt, &["checkout", "inventory"]),
            (Choice::Json, &["payments", "search"]),
            (Choice::Trace, &["worker"]),
            (Choice::Keyvalue, &["kubelet", "mailer", "sessions"]),
        ] {
            let generator = Generator::of(choice, 1, 12);
            let found = (0..12).map(|stream| generator.labels(stream)[0].1.as_str()).collect::<BTreeSet<_>>();
            assert_eq!(found, apps.iter().copied().collect(), "{choice:?}");
        }
        let all = Generator::of(Choice::All, 1, 9).labelled();
        assert_eq!(all.labels(8)[0].1, "worker");
        assert_eq!(all.labels(7)[4], ("stream".to_owned(), "s7".to_owned()));
        assert!(all.labels(7).is_sorted());
        let same = |mut generator: Generator| lines(&mut generator, 500);
        assert_eq!(same(Generator::of(Choice::Json, 3, 5)), same(Generator::of(Choice::Json, 3, 5)));
    }

    #[test]
    fn stack_traces_have_3_to_12_lines_and_only_the_first_has_a_time() {
        let lines = lines(&mut Generator::of(Choice::Trace, 1, 4), 4_000);
        let mut lengths = BTreeMap::new();
        for (_, text) in &lines {
            let mut lines = text.lines();
            assert!(lines.next().unwrap().starts_with("2026-03-07 12:"), "{text}");
            let rest =
                lines.map(|line| assert!(!line.starts_with(|c: char| c.is_ascii_digit()), "{text}")).count();
            *lengths.entry(rest).or_insert(0) += 1;
        }
        let traces = lengths.iter().filter(|(rest, _)| **rest > 0).map(|(_, count)| count).sum::<i32>();
        assert!((800..1_200).contains(&traces), "{lengths:?}");
        assert_eq!(lengths.keys().copied().collect::<Vec<_>>(), [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn shards_share_no_stream_and_miss_none() {
        let mut seen = BTreeSet::new();
        for shard in 0..4 {
            let mut generator = Generator::shard(6, 10, shard, 4);
            let streams =
                lines(&mut generator, 1_000).into_iter().map(|(stream, _)| stream).collect::<BTreeSet<_>>();
            assert!(streams.iter().all(|stream| stream % 4 == shard as usize));
            seen.extend(streams);
        }
        assert_eq!(seen.len(), 10);
    }
}
