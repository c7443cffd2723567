//! Bytes of a file to events: a line each, or, with an expression that first lines match, a line and those behind it
//! that do not match, as stack traces have them. Pure, and in bounded memory.
//!
//! E1: what is consumed ends where an event ends, so that the bytes of whole events, cut again with
//! [`End::Closed`], give the same events. A restart relies on it to repeat a batch.

use memchr::memchr;
use regex::bytes::Regex;

/// Cuts bytes into events.
#[derive(Debug, Clone)]
pub struct Joiner {
    first: Option<Regex>,
    max_bytes: usize,
}

/// What follows the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Perhaps more that belongs to the last event.
    Open,
    /// Nothing came for a while: the last event is over, unless its last line has no end.
    Due,
    /// Nothing: the last line is over too.
    Closed,
}

/// A line, or several that belong together, without the last line's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its bytes, at most as many as the joiner allows.
    pub text: &'a [u8],
    /// The line was longer.
    pub cut: bool,
}

/// How far the bytes were cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that are done with.
    pub consumed: usize,
    /// What comes next belongs to a line that was too long: it is skipped up to the line's end.
    pub within: bool,
}

impl Joiner {
    /// Events of at most `max_bytes`, at least 1; of several lines where `first` says how an event begins.
    pub fn new(first: Option<Regex>, max_bytes: usize) -> Self {
        Self { first, max_bytes: max_bytes.max(1) }
    }

    /// Bytes that have to be shown at once to be sure that something is consumed.
    pub fn window(&self) -> usize {
        2 * self.max_bytes + 2
    }

    /// Shows the events at the start of `bytes` to `event` until it says `false` or there are no more. `within` is
    /// what the last cut ended with.
    pub fn cut(&self, bytes: &[u8], within: bool, end: End, mut event: impl FnMut(Event<'_>) -> bool) -> Cut {
        let mut at = 0;
        if within {
            match memchr(b'\n', bytes) {
                Some(line_end) => at = line_end + 1,
                None => return Cut { consumed: bytes.len(), within: true },
            }
        }
        // Where the event under way starts and ends; `at` is behind its line end.
        let mut open: Option<(usize, usize)> = None;
        while at < bytes.len() {
            let line_end = memchr(b'\n', &bytes[at..]).map(|len| at + len);
            let text_end = line_end.unwrap_or(bytes.len());
            let next = line_end.map_or(bytes.len(), |end| end + 1);
            let too_long = text_end - at > self.max_bytes;
            if !too_long && line_end.is_none() && end != End::Closed {
                break;
            }
            if let Some((start, _)) = open
                && !too_long
                && text_end - start <= self.max_bytes
                && self.first.as_ref().is_some_and(|first| !first.is_match(&bytes[at..text_end]))
            {
                open = Some((start, text_end));
                at = next;
                continue;
            }
            if let Some((start, stop)) = open.take()
                && !event(Event { text: &bytes[start..stop], cut: false })
            {
                return Cut { consumed: at, within: false };
            }
            if too_long {
                let more = event(Event { text: &bytes[at..at + self.max_bytes], cut: true });
                let within = line_end.is_none();
                if within || !more {
                    return Cut { consumed: next, within };
                }
            } else if self.first.is_none() {
                if !event(Event { text: &bytes[at..text_end], cut: false }) {
                    return Cut { consumed: next, within: false };
                }
            } else {
                open = Some((at, text_end));
            }
            at = next;
        }
        if let Some((start, stop)) = open {
            if end == End::Open {
                return Cut { consumed: start, within: false };
            }
            event(Event { text: &bytes[start..stop], cut: false });
        }
        Cut { consumed: at, within: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joiner(first: Option<&str>, max_bytes: usize) -> Joiner {
        Joiner::new(first.map(|first| Regex::new(first).unwrap()), max_bytes)
    }

    fn events(joiner: &Joiner, bytes: &[u8], end: End) -> (Vec<String>, Cut) {
        let mut events = Vec::new();
        let cut = joiner.cut(bytes, false, end, |event| {
            events.push(String::from_utf8_lossy(event.text).into_owned());
            true
        });
        (events, cut)
    }

    #[test]
    fn a_last_line_without_a_line_end_waits_for_it_until_nothing_follows() {
        let lines = joiner(None, 100);
        for (end, expected, consumed) in [
            (End::Open, &["a", "", "b\r"][..], 6),
            (End::Due, &["a", "", "b\r"], 6),
            (End::Closed, &["a", "", "b\r", "c"], 7),
        ] {
            let (events, cut) = events(&lines, b"a\n\nb\r\nc", end);
            assert_eq!(
                (events.as_slice(), cut.consumed),
                (expected.map_owned().as_slice(), consumed),
                "{end:?}"
            );
        }
        assert_eq!(events(&lines, b"", End::Closed).0, [""; 0]);
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|&text| text.to_owned()).collect()
        }
    }

    #[test]
    fn lines_that_do_not_begin_an_event_belong_to_the_one_before() {
        let traces = joiner(Some(r"^\d{4}-"), 100);
        let text = b"  torn\n2026-1 failed\n  at a\n  at b\n2026-2 ok\n2026-3 failed\n  at";
        let (found, cut) = events(&traces, text, End::Open);
        assert_eq!(found, ["  torn", "2026-1 failed\n  at a\n  at b", "2026-2 ok"]);
        assert_eq!(&text[cut.consumed..], b"2026-3 failed\n  at");
        let (found, cut) = events(&traces, &text[cut.consumed..], End::Due);
        assert_eq!((found.as_slice(), cut.consumed), (&["2026-3 failed".to_owned()][..], 14));
        assert_eq!(events(&traces, b"2026-3 failed\n  at", End::Closed).0, ["2026-3 failed\n  at"]);
    }

    #[test]
    fn an_event_is_bounded_and_of_a_line_that_is_too_long_the_start_is_kept() {
        let traces = joiner(Some("^A"), 6);
        let (found, _) = events(&traces, b"A1\nb2\nc3\nA4\n", End::Closed);
        assert_eq!(found, ["A1\nb2", "c3", "A4"], "a trace that is too long goes on in another event");
        let (found, cut) = events(&traces, b"A1\n1234567890\nb\n1234567", End::Open);
        assert_eq!(found, ["A1", "123456", "b", "123456"]);
        assert_eq!(cut, Cut { consumed: 23, within: true });
        let mut rest = Vec::new();
        let keep = |event: Event<'_>| {
            rest.push(event.text.to_vec());
            true
        };
        assert_eq!(traces.cut(b"890\nA5\n", true, End::Closed, keep), Cut { consumed: 7, within: false });
        assert_eq!(rest, [b"A5"]);
        assert_eq!(traces.cut(b"still", true, End::Due, |_| panic!()), Cut { consumed: 5, within: true });
    }

    #[test]
    fn whoever_has_enough_is_shown_no_more() {
        for (first, text, consumed) in [(None, &b"a\nb\nc\n"[..], 4), (Some("^[a-c]"), b"a\nb\nc\n", 4)] {
            let mut left = 2;
            let cut = joiner(first, 100).cut(text, false, End::Closed, |_| {
                left -= 1;
                left > 0
            });
            assert_eq!(cut.consumed, consumed, "{first:?}");
        }
    }

    /// What events there are, said in another way: lines first, joined afterwards.
    fn naive(bytes: &[u8], first: Option<u8>, max: usize) -> Vec<Vec<u8>> {
        let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        let mut events: Vec<(Vec<u8>, bool)> = Vec::new();
        for line in lines {
            let starts = first.is_none_or(|first| line.first() == Some(&first));
            match events.last_mut() {
                Some((event, whole)) if *whole && !starts && event.len() + 1 + line.len() <= max => {
                    event.push(b'\n');
                    event.extend_from_slice(line);
                }
                _ => events.push((line[..line.len().min(max)].to_vec(), line.len() <= max)),
            }
        }
        events.into_iter().map(|(event, _)| event).collect()
    }

    proptest! {
        #[test]
        fn events_are_the_same_however_the_bytes_come_and_when_they_are_cut_again(
            input in prop::collection::vec(prop_oneof![2 => Just(b'\n'), 1 => Just(b'A'), 3 => Just(b'x')], 0..200),
            joins in any::<bool>(),
            max_bytes in 1_usize..12,
            step in 1_usize..30,
            per_batch in 1_usize..5,
        ) {
            let joiner = joiner(joins.then_some("^A"), max_bytes);
            let mut found: Vec<Vec<u8>> = Vec::new();
            let (mut at, mut shown, mut within) = (0, 0, false);
            while at < input.len() {
                shown = input.len().min((shown + step).max(at)).min(at + joiner.window());
                let end = if shown == input.len() { End::Closed } else { End::Open };
                let mut piece = Vec::new();
                let cut = joiner.cut(&input[at..shown], within, end, |event| {
                    piece.push(event.text.to_vec());
                    piece.len() < per_batch
                });
                if shown - at == joiner.window() {
                    prop_assert!(cut.consumed > 0, "a full window moves on");
                }
                let mut again = Vec::new();
                let repeated = joiner.cut(&input[at..at + cut.consumed], within, End::Closed, |event| {
                    again.push(event.text.to_vec());
                    true
                });
                prop_assert_eq!(&piece, &again);
                prop_assert_eq!(repeated.consumed, cut.consumed);
                prop_assert_eq!(repeated.within, cut.within);
                found.extend(piece);
                at += cut.consumed;
                within = cut.within;
            }
            prop_assert_eq!(found, naive(&input, joins.then_some(b'A'), max_bytes));
        }
    }
}
