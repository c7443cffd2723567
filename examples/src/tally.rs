//! How many lines a chunk has in each second, and their bytes: what counts it without reading it, where windows end with
//! whole seconds. As windows do, a second has its end and not its beginning: second n is `((n - 1) s, n s]`.

use bytes::Bytes;

use crate::varint;

const SECOND_NS: i64 = 1_000_000_000;
/// Seconds that a tally has at the most; to read a chunk that has lines in more is soon done.
const MOST_RUNS: usize = 512;

/// The lines of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its end, since 1970.
    pub second: i64,
    /// Lines, at least one.
    pub lines: u64,
    /// Their bytes, without metadata.
    pub bytes: u64,
}

impl Run {
    /// The end of the second, or the end of time.
    pub fn at_ns(&self) -> i64 {
        self.second.saturating_mul(SECOND_NS)
    }
}

/// The lines of a chunk that has none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Drawn when the chunk was begun: tells it from every other one, wherever it is.
    pub id: u64,
    /// By time.
    pub runs: Vec<Run>,
}

/// The second that has a time.
fn second(at_ns: i64) -> i64 {
    at_ns.saturating_sub(1).div_euclid(SECOND_NS) + 1
}

/// Whether a time is the end of a second.
pub fn is_whole(at_ns: i64) -> bool {
    at_ns % SECOND_NS == 0
}

/// A tally of a chunk that is being built.
#[derive(Debug, Default)]
pub struct Tallying {
    runs: Vec<Run>,
    lines: u64,
    has_more: bool,
}

impl Tallying {
    /// Counts a line.
    pub fn add(&mut self, at_ns: i64, line_bytes: usize) {
        self.lines += 1;
        let (second, bytes) = (second(at_ns), line_bytes as u64);
        if let Some(run) = self.runs.last_mut().filter(|run| run.second == second) {
            run.lines += 1;
            run.bytes += bytes;
            return;
        }
        match self.runs.binary_search_by_key(&second, |run| run.second) {
            Ok(place) => {
                self.runs[place].lines += 1;
                self.runs[place].bytes += bytes;
            }
            Err(_) if self.runs.len() == MOST_RUNS => self.has_more = true,
            Err(place) => self.runs.insert(place, Run { second, lines: 1, bytes }),
        }
    }

    /// The tally of a chunk of `lines` lines; none where it could not count all.
    pub fn tally(&self, id: u64, lines: u64) -> Option<Tally> {
        (!self.has_more && self.lines == lines).then(|| Tally { id, runs: self.runs.clone() })
    }
}

/// Runs as they are sent and stored.
pub fn encode(runs: &[Run]) -> Bytes {
    let mut out = Vec::with_capacity(runs.len() * 6);
    let mut before = 0_i64;
    for run in runs {
        varint::write_signed(&mut out, run.second.wrapping_sub(before));
        varint::write(&mut out, run.lines);
        varint::write(&mut out, run.bytes);
        before = run.second;
    }
    out.into()
}

/// Runs as they were written; `None` where they are none.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Run>> {
    let (mut runs, mut before) = (Vec::new(), 0_i64);
    while !bytes.is_empty() {
        let second = before.wrapping_add(varint::read_signed(&mut bytes)?);
        let (lines, size) = (varint::read(&mut bytes)?, varint::read(&mut bytes)?);
        let is_next = runs.last().is_none_or(|last: &Run| last.second < second);
        if !is_next || lines == 0 || runs.len() == MOST_RUNS {
            return None;
        }
        runs.push(Run { second, lines, bytes: size });
        before = second;
    }
    Some(runs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time() -> impl Strategy<Value = i64> {
        let edge = prop::sample::select(vec![0, 1, -1]);
        prop_oneof![
            4 => (-3..3_i64, edge).prop_map(|(second, edge)| second * SECOND_NS + edge),
            4 => -3 * SECOND_NS..3 * SECOND_NS,
            1 => any::<i64>(),
        ]
    }

    proptest! {
        #[test]
        fn a_window_of_whole_seconds_has_the_lines_that_its_seconds_have(
            lines in prop::collection::vec((time(), 0..9_usize), 0..50),
            end in -4..4_i64,
            range in 1..5_i64,
        ) {
            let mut tallying = Tallying::default();
            lines.iter().for_each(|(at, bytes)| tallying.add(*at, *bytes));
            let tally = tallying.tally(7, lines.len() as u64).unwrap();
            prop_assert_eq!(decode(&encode(&tally.runs)), Some(tally.runs.clone()));
            let (after_ns, end_ns) = ((end - range) * SECOND_NS, end * SECOND_NS);
            let within = |at: i64| at > after_ns && at <= end_ns;
            let own = tally.runs.iter().filter(|run| within(run.at_ns()));
            let found = own.fold((0, 0), |sum, run| (sum.0 + run.lines, sum.1 + run.bytes));
            let expected = lines.iter().filter(|(at, _)| within(*at));
            let expected = expected.fold((0, 0), |sum, (_, bytes)| (sum.0 + 1, sum.1 + *bytes as u64));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn bytes_that_are_no_runs_are_refused(bytes: Vec<u8>) {
            if let Some(runs) = decode(&bytes) {
                prop_assert_eq!(encode(&runs), bytes);
            }
        }
    }

    #[test]
    fn what_could_not_be_counted_has_no_tally() {
        let mut tallying = Tallying::default();
        for second in 0..512 {
            tallying.add(second * SECOND_NS, 1);
        }
        assert_eq!(tallying.tally(1, 512).unwrap().runs.len(), 512);
        assert_eq!(tallying.tally(1, 511), None, "of a line it is not known whether it is there");
        tallying.add(7 * SECOND_NS, 1);
        assert!(tallying.tally(1, 513).is_some());
        tallying.add(512 * SECOND_NS, 1);
        assert_eq!(tallying.tally(1, 514), None);
    }
}
