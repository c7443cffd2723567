//! Lines that are stored as they are, in pages: whoever reads some of them decompresses the pages they are in.
//!
//! `FORMAT.md` draws both streams. A line never crosses the end of a page.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::fault::Fault;
use super::planes;
use super::stream::{Kind, Streams};
use crate::Limits;
use crate::filter::{Case, LineFilter, Needle};

/// A page ends with the first line that reaches this size: as much as one of Loki's blocks holds.
const PAGE: usize = 256 << 10;

/// Writes lines that have no skeleton, in the order of their rows.
///
/// Lines are shorter than 2^32 bytes.
pub(crate) fn encode<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Streams) {
    let length = |line: &[u8]| u32::try_from(line.len()).expect("a block has less than 2^32 bytes");
    planes::put(lines.clone().map(length), out.out(Kind::RawLengths));
    let mut page = Vec::new();
    for line in lines {
        page.extend_from_slice(line);
        if page.len() >= PAGE {
            out.push(Kind::RawLines, std::mem::take(&mut page));
        }
    }
    if !page.is_empty() {
        out.push(Kind::RawLines, page);
    }
}

/// Where the lines are that have no skeleton. Pages are decompressed only as their lines are asked for.
#[derive(Debug, Default)]
pub(crate) struct RawLines {
    /// Where each line ends, counted over all pages.
    ends: Vec<u32>,
    /// Where each page ends, counted so too.
    pages: Vec<u32>,
}

impl RawLines {
    /// Reads the lengths of the lines, of which there may be at most `max`.
    pub(crate) fn open(streams: &Streams, max: usize, limits: &Limits) -> Result<Self, Fault> {
        let corrupt = |what: String| Fault::corrupt(Kind::RawLengths, 0, what);
        let lens = streams.lens(Kind::RawLines).map(|len| u32::try_from(len).ok());
        let pages = running(lens)
            .ok_or_else(|| Fault::corrupt(Kind::RawLines, 0, "pages of more than 2^32 bytes"))?;
        let lengths = streams.get(Kind::RawLengths)?;
        let count = planes::count(lengths).filter(|count| *count <= max);
        let Some(lengths) = count.and_then(|_| planes::numbers(lengths)) else {
            return Err(corrupt(format!("{} bytes of lengths for {max} rows", lengths.len())));
        };
        let longest = usize::try_from(lengths.iter().max().copied().unwrap_or(0)).unwrap_or(usize::MAX);
        if longest > limits.max_line_bytes {
            return Err(Fault::limit("max_line_bytes", longest, limits.max_line_bytes));
        }
        let ends = running(lengths.into_iter().map(Some))
            .ok_or_else(|| corrupt("lines of more than 2^32 bytes".into()))?;
        let (lines, stored) = (ends.last().unwrap_or(&0), pages.last().unwrap_or(&0));
        if lines != stored {
            return Err(corrupt(format!("lines of {lines} bytes in pages of {stored}")));
        }
        Ok(Self { ends, pages })
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// What it takes in memory besides the lines.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of_val(&self.ends[..]).saturating_add(size_of_val(&self.pages[..]))
    }

    /// The bytes of all lines before this one.
    pub(crate) fn start(&self, number: usize) -> usize {
        let end = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        usize::try_from(end).unwrap_or(usize::MAX)
    }

    /// The line of that number.
    pub(crate) fn line<'a>(&self, streams: &'a Streams, number: usize) -> Result<&'a [u8], Fault> {
        let (start, end) = (self.start(number), self.start(number.saturating_add(1)));
        if start == end {
            return Ok(&[]);
        }
        let page = self.pages.partition_point(|page| usize::try_from(*page).is_ok_and(|page| page <= start));
        let before = page.checked_sub(1).and_then(|before| self.pages.get(before)).copied().unwrap_or(0);
        let within = |offset: usize| offset.checked_sub(usize::try_from(before).ok()?);
        let bytes = streams.nth(Kind::RawLines, page)?;
        let line = within(start).zip(within(end)).and_then(|(start, end)| bytes.get(start..end));
        line.ok_or_else(|| Fault::corrupt(Kind::RawLines, start, "a line that crosses the end of a page"))
    }
}

impl RawLines {
    /// The numbers of those of these lines that a filter wants, in order.
    ///
    /// Linear in their bytes for each text. Where all of them have to have one of some texts, they are looked through at once,
    /// and only those that have one are looked at.
    pub(crate) fn wanted(
        &self,
        streams: &Streams,
        numbers: Range<usize>,
        filter: &LineFilter,
    ) -> Result<Vec<usize>, Fault> {
        let needed = filter.conditions().iter().find(|condition| {
            let is_plain = |needle: &Needle| needle.case() == Case::Exact && !needle.text().is_empty();
            !condition.is_negated && condition.needles.iter().all(is_plain)
        });
        let some = match needed {
            Some(condition) => self.with_any(streams, numbers, &condition.needles)?,
            None => numbers.collect(),
        };
        let mut wanted = Vec::new();
        for number in some {
            if filter.matches(self.line(streams, number)?) {
                wanted.push(number);
            }
        }
        Ok(wanted)
    }

    /// Those of these lines that have one of these texts, none of which is empty.
    fn with_any(
        &self,
        streams: &Streams,
        numbers: Range<usize>,
        needles: &[Needle],
    ) -> Result<Vec<usize>, Fault> {
        let (first, end) = (self.start(numbers.start), self.start(numbers.end));
        let mut found = Vec::new();
        let mut before = 0usize;
        for (page, &page_end) in self.pages.iter().enumerate() {
            let page_end = page_end as usize;
            let page_start = std::mem::replace(&mut before, page_end);
            if page_end <= first || page_start >= end {
                continue;
            }
            let bytes = streams.nth(Kind::RawLines, page)?;
            let bytes = bytes.get(..end.min(page_end).saturating_sub(page_start)).unwrap_or_default();
            for needle in needles {
                let mut at = first.saturating_sub(page_start);
                while let Some(hit) = bytes.get(at..).and_then(|rest| needle.find(rest)) {
                    let start = page_start.saturating_add(at).saturating_add(hit);
                    // The line that its first byte is in: the first that ends behind it. If it does not end in it, nor does what
                    // starts later in it.
                    let number = self.ends.partition_point(|end| *end as usize <= start);
                    let line_end = self.start(number.saturating_add(1));
                    if start.saturating_add(needle.text().len()) <= line_end {
                        found.push(number);
                    }
                    at = line_end.saturating_sub(page_start);
                }
            }
        }
        if needles.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        Ok(found)
    }
}

/// The sums of all numbers up to each, if they stay below 2^32.
fn running(numbers: impl Iterator<Item = Option<u32>>) -> Option<Vec<u32>> {
    let mut sum = 0u32;
    let next = |number: Option<u32>| {
        sum = sum.checked_add(number?)?;
        Some(sum)
    };
    numbers.map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(streams: &Streams, rows: usize) -> Result<Vec<Vec<u8>>, Fault> {
        let lines = RawLines::open(streams, rows, &Limits::default())?;
        (0..lines.len()).map(|number| lines.line(streams, number).map(<[u8]>::to_vec)).collect()
    }

    fn written(lines: &[Vec<u8>]) -> Streams {
        let mut streams = Streams::default();
        encode(lines.iter().map(Vec::as_slice), &mut streams);
        streams
    }

    #[test]
    fn lines_come_back_whatever_their_lengths() {
        for lengths in
            [vec![], vec![0], vec![0, 1, 255, 0], vec![256, 65_535, 0, 3], vec![300_000, 1, 70_000, 0]]
        {
            let lines: Vec<Vec<u8>> =
                (0u8..).zip(&lengths).map(|(fill, length)| vec![fill; *length]).collect();
            let streams = written(&lines);
            assert_eq!(read(&streams, lines.len()), Ok(lines.clone()));
            assert_eq!(read(&streams, lines.len().wrapping_sub(1)).is_err(), !lines.is_empty());
        }
    }

    #[test]
    fn lines_that_have_a_text_are_found_where_it_does_not_go_on_in_the_next_line() {
        let mut lines: Vec<Vec<u8>> =
            (0..5000usize).map(|n| format!("{n} {}", "ab".repeat(n % 90)).into()).collect();
        lines.extend([b"aab".to_vec(), Vec::new(), b"b1".to_vec(), b"1ba".to_vec(), b"b1b".to_vec()]);
        let streams = written(&lines);
        assert!(streams.lens(Kind::RawLines).len() > 1);
        let raw = RawLines::open(&streams, lines.len(), &Limits::default()).unwrap();
        let filters = [
            LineFilter::new().any_of(["b1"]),
            LineFilter::new().any_of(["11", "aab", "99"]),
            LineFilter::new().any_of(["aba"]).none_of(["1", "2"]),
            LineFilter::new().any_of([""]),
            LineFilter::new().any_of_in_any_case(["BAB"]).any_of(["7"]),
            LineFilter::new().none_of(["a"]),
        ];
        for filter in filters {
            for numbers in [0..lines.len(), 17..4000, 4999..5003, 20..20] {
                let expected: Vec<usize> =
                    numbers.clone().filter(|number| filter.matches(lines.get(*number).unwrap())).collect();
                assert_eq!(raw.wanted(&streams, numbers, &filter), Ok(expected), "{filter:?}");
            }
        }
    }

    #[test]
    fn a_page_ends_with_the_line_that_fills_it() {
        let streams = written(&vec![vec![b'x'; 100_000]; 7]);
        assert_eq!(streams.lens(Kind::RawLines).collect::<Vec<_>>(), [300_000, 300_000, 100_000]);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let honest = written(&[b"one".to_vec(), b"three".to_vec()]);
        assert_eq!(honest.get(Kind::RawLengths).unwrap(), [1, 3, 5]);
        for lengths in
            [&[][..], &[0], &[1], &[1, 3], &[1, 3, 6], &[2, 3, 5], &[5, 0, 0, 0, 0, 0], &[1, 3, 5, 0]]
        {
            let mut streams = written(&[b"one".to_vec(), b"three".to_vec()]);
            *streams.out(Kind::RawLengths) = lengths.to_vec();
            assert!(read(&streams, 2).is_err(), "{lengths:?}");
        }
        let mut crossing = Streams::default();
        crossing.out(Kind::RawLengths).extend([1, 3, 5]);
        crossing.push(Kind::RawLines, b"onet".to_vec());
        crossing.push(Kind::RawLines, b"hree".to_vec());
        assert!(read(&crossing, 2).is_err());
        let mut long = Streams::default();
        long.out(Kind::RawLengths).extend([4, 255, 255, 255, 255]);
        assert!(matches!(read(&long, 1), Err(Fault::Limit { limit: "max_line_bytes", .. })));
    }
}
