//! Up to where each stream has records, as a walk over a log sees them; 0 stands for the records of no stream.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::control::StreamDef;

/// The LSN after the last record of each stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lasts {
    ends: BTreeMap<u32, u64>,
    /// Of the group that is being walked.
    open: BTreeMap<u32, u64>,
    /// The stream of the record that was seen last, and where that ends.
    run: Option<(u32, u64)>,
    /// After the last record of streams that were not known when it was seen: a segment that was made anew names them
    /// behind their records.
    nobody: u64,
    /// As that, of the group that is being walked.
    open_nobody: u64,
    /// The highest id that a stream has, or had.
    highest: u32,
}

impl Lasts {
    /// LSN after the last record; 0 where there is none.
    pub(crate) fn end(&self, stream: u32) -> u64 {
        self.ends.get(&stream).copied().unwrap_or(0)
    }

    pub(crate) fn highest(&self) -> u32 {
        self.highest
    }

    /// The group has a record of this stream. Those that are not `known` are nobody's, and there may be any number.
    #[inline]
    pub(crate) fn saw(&mut self, (stream, end): (u32, u64), known: impl Fn(u32) -> bool) {
        match &mut self.run {
            Some((same, last)) if *same == stream => *last = end,
            _ => {
                self.end_run(known);
                self.run = Some((stream, end));
            }
        }
    }

    fn end_run(&mut self, known: impl Fn(u32) -> bool) {
        if let Some((stream, end)) = self.run.take() {
            self.named(stream);
            if stream == 0 || known(stream) {
                self.open.insert(stream, end);
            } else {
                self.open_nobody = end;
            }
        }
    }

    /// The group is over, and all of it is there.
    pub(crate) fn group(&mut self, known: impl Fn(u32) -> bool) {
        // Nearly all groups are of one stream.
        if self.open.is_empty()
            && let Some((stream, end)) = self.run.take_if(|(stream, _)| *stream == 0 || known(*stream))
        {
            self.named(stream);
            self.ends.insert(stream, end);
        }
        self.end_run(known);
        while let Some((stream, end)) = self.open.pop_first() {
            self.ends.insert(stream, end);
        }
        self.nobody = self.nobody.max(self.open_nobody);
    }

    /// There is, or was, a stream of this id.
    pub(crate) fn named(&mut self, stream: u32) {
        self.highest = self.highest.max(stream);
    }

    /// A stream is known from here on. Which of the records before are its own is not: it may hold more than it has.
    pub(crate) fn known(&mut self, def: &StreamDef) {
        if self.nobody > def.low {
            self.ends.entry(def.id).or_insert(self.nobody);
        }
    }

    /// The stream is gone with its records.
    pub(crate) fn gone(&mut self, stream: u32) {
        self.ends.remove(&stream);
    }

    /// Takes in what an earlier segment says of these streams, which there still are, and of those it does not know.
    pub(crate) fn earlier(&mut self, other: &Self, streams: &BTreeMap<u32, StreamDef>) {
        self.named(other.highest);
        for (&stream, &end) in &other.ends {
            if stream == 0 || streams.contains_key(&stream) {
                self.ends.entry(stream).or_insert(end);
            }
        }
        if other.nobody > 0 {
            self.nobody = self.nobody.max(other.nobody);
            streams.values().for_each(|def| self.known(def));
        }
    }
}

/// After the last record of a stream, of which the newest may be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastEnd {
    end: u64,
    /// The first record that was not written when it was last looked, and the end before it.
    unwritten: (u64, u64),
}

impl LastEnd {
    pub(crate) fn new(end: u64) -> Self {
        Self { end, unwritten: (end, end) }
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.end
    }

    /// These came, when all below `written` was.
    #[inline]
    pub(crate) fn came(&mut self, lsns: &Range<u64>, written: u64) {
        if self.end <= written {
            self.unwritten = (lsns.start, self.end);
        }
        self.end = lsns.end;
    }

    /// Numbers from `next` on were taken back: where that is not all that came since, what is left may end anywhere
    /// before.
    pub(crate) fn took_back(&mut self, next: u64) {
        let (from, before) = self.unwritten;
        self.end = self.end.min(if next <= from { before } else { next });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_last_record_of_a_group_that_is_whole() {
        let known = |stream| stream < 5;
        let mut lasts = Lasts::default();
        for saw in [(1, 2), (1, 3), (0, 4), (2, 5), (7, 6), (1, 7)] {
            lasts.saw(saw, known);
        }
        lasts.group(known);
        lasts.saw((2, 8), known);
        lasts.saw((3, 9), known);
        assert_eq!([0, 1, 2, 3, 7].map(|stream| lasts.end(stream)), [4, 7, 5, 0, 0]);
        lasts.gone(2);
        assert_eq!((lasts.end(2), lasts.highest()), (0, 7));
    }

    #[test]
    fn the_last_end_is_what_it_was_where_all_that_came_is_taken_back() {
        let mut end = LastEnd::new(3);
        end.came(&(7..8), 7);
        end.came(&(9..12), 7);
        let refused = |next| {
            let mut end = end;
            end.took_back(next);
            end.get()
        };
        assert_eq!([7, 8, 9, 12, 20].map(refused), [3, 8, 9, 12, 12]);
        end.came(&(14..15), 12);
        end.took_back(14);
        assert_eq!(end.get(), 12);
    }

    #[test]
    fn an_earlier_segment_tells_of_streams_that_have_no_later_record() {
        let def = |id| StreamDef { id, flags: 0, low: 1, name: "s".to_owned() };
        let streams = [1, 2].map(|id| (id, def(id))).into();
        let [mut last, mut before] = [Lasts::default(), Lasts::default()];
        for (lasts, saw) in
            [(&mut before, [(1, 2), (2, 3), (3, 4)]), (&mut last, [(0, 10), (1, 11), (1, 12)])]
        {
            saw.into_iter().for_each(|saw| lasts.saw(saw, |_| true));
            lasts.group(|_| true);
        }
        last.earlier(&before, &streams);
        assert_eq!([0, 1, 2, 3].map(|stream| last.end(stream)), [10, 12, 3, 0]);
        assert_eq!(last.highest(), 3);
    }

    #[test]
    fn a_stream_that_is_named_behind_its_records_has_as_many_as_there_may_be() {
        let def = |id, low| StreamDef { id, flags: 0, low, name: "s".to_owned() };
        let mut lasts = Lasts::default();
        lasts.saw((1, 5), |_| false);
        lasts.group(|_| false);
        lasts.saw((2, 9), |_| false);
        lasts.known(&def(1, 4));
        lasts.known(&def(2, 5));
        assert_eq!([1, 2].map(|stream| lasts.end(stream)), [5, 0], "of groups that are over, above its low");
        let mut later = Lasts::default();
        later.earlier(&lasts, &[1, 2, 3].map(|id| (id, def(id, 6 - u64::from(id)))).into());
        assert_eq!([1, 2, 3].map(|stream| later.end(stream)), [5, 5, 5]);
    }
}
