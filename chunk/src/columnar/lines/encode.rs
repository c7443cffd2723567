//! Finds what lines have in common. Each is cut where digits are; a line whose skeleton few others have is cut
//! again, more coarsely; what is left then is kept as it is.

use super::gather::{Gathered, gather};
use super::{MAX_SKELETONS, MAX_VALUES};
use crate::columnar::column::Encoder;
use crate::columnar::profile::ColumnarOptions;
use crate::columnar::skeleton::{Part, Table, parts};
use crate::columnar::stream::{Kind, Streams};
use crate::columnar::tokenize::{LONGEST, Level, Lexer, Words};
use crate::columnar::tree::Tree;
use crate::columnar::{filter, raw};
use crate::loki::format::put_uvarint;

/// Rows that make a skeleton of digits worth its columns.
const LEAST_ROWS: u32 = 8;
/// The same where nothing but plain text is left as a choice.
const LEAST_ROWS_OF_FIELDS: u32 = 4;
/// A row without a skeleton.
const NONE: u32 = u32::MAX;

/// The skeleton and the values of every row.
pub(super) struct Rows {
    pub(super) skeletons: Table,
    /// The number of each row's skeleton.
    pub(super) of_row: Vec<u32>,
    /// Where each row's values start.
    pub(super) starts: Vec<u32>,
    pub(super) values: Vec<u64>,
}

/// Writes the streams of these lines, whose times are given, but for `Time`, and notes the words in them. `false`: they
/// have too little in common, and nothing was written.
///
/// Time is linear in the bytes of the lines; memory is eight bytes for each value in them.
pub(crate) fn encode(
    lines: &[&[u8]],
    times: &[i64],
    options: &ColumnarOptions,
    out: &mut Streams,
    words: &mut filter::Words,
) -> bool {
    let Some(mut rows) = cut(lines, options.relex) else { return false };
    let ranked =
        rows.skeletons.ranked(if options.relex { LEAST_ROWS_OF_FIELDS } else { LEAST_ROWS }, MAX_SKELETONS);
    let mut rank_of = vec![NONE; rows.skeletons.rows.len()];
    for (rank, &number) in (0..).zip(&ranked) {
        if let Some(place) = rank_of.get_mut(number as usize) {
            *place = rank;
        }
    }
    let mut raw = 0usize;
    for of_row in &mut rows.of_row {
        *of_row = rank_of.get(*of_row as usize).copied().unwrap_or(NONE);
        raw += usize::from(*of_row == NONE);
    }
    if lines.is_empty() || raw > lines.len() / 8 * 7 {
        return false;
    }
    let keys: Vec<&[u8]> = ranked.iter().map(|&number| rows.skeletons.key(number)).collect();
    let gathered = gather(&keys, &rows, lines, times);
    let columns = put_columns(&gathered, out);
    put_skeletons(&keys, &gathered, &columns, out);
    put_ids(&rows.of_row, ranked.len(), out);
    let raw = rows.of_row.iter().zip(lines).filter(|(of_row, _)| **of_row == NONE).map(|(_, line)| *line);
    raw.clone().for_each(|line| words.add(line));
    gathered.strings.keys().for_each(|text| words.add(text));
    keys.iter().flat_map(|key| parts(key)).for_each(|part| match part {
        Part::Literal(text) => words.add(text),
        Part::Slot(..) => {}
    });
    raw::encode(raw, out);
    true
}

/// Ways to cut lines that few others are like, from the one that leaves most of a line as it is to the one that
/// leaves least: a field, or with `false` each word in it, stays if one in so many lines has it.
const COARSER: [(bool, usize); 3] = [(false, 64), (true, 16), (true, 3)];
/// Lines that are looked at at most to learn which words are frequent, and which way to cut lines fits them.
const SAMPLE: usize = 64;
/// Lines after which it is known whether cutting at digits is of any use, and more than how many of them are like one
/// before then.
const HOPE: [(usize, usize); 2] = [(256, 50), (512, 256)];

/// Cuts all lines, those that few others are like then a second time; `None` if they have more values than a group may.
fn cut(lines: &[&[u8]], relex: bool) -> Option<Rows> {
    let mut rows = Rows {
        skeletons: Table::default(),
        of_row: vec![NONE; lines.len()],
        starts: vec![0; lines.len()],
        values: Vec::with_capacity(lines.len() * 8),
    };
    let mut lexer = Lexer::default();
    let mut words = Words::new();
    let mut tree = Tree::default();
    let (mut done, mut known, mut hopeless) = (0, 0, false);
    for (end, least) in HOPE.map(|(end, least)| (end.min(lines.len()), least)) {
        known += rows.cut(lines, done..end, Level::Digits, &mut tree, &mut lexer, &words)?;
        done = end;
        hopeless = relex && known <= least && end < lines.len();
        if hopeless {
            break;
        }
    }
    if !hopeless {
        rows.cut(lines, done..lines.len(), Level::Digits, &mut tree, &mut lexer, &words)?;
    }
    if !relex {
        return Some(rows);
    }
    let rare = rows.rare(LEAST_ROWS);
    if rows.choose(lines, &rare, &mut lexer, &mut words) {
        rows.forget_rare(&rare);
        let mut tree = Tree::default();
        rows.cut(lines, rare.iter().copied(), Level::Fields, &mut tree, &mut lexer, &words)?;
    }
    Some(rows)
}

impl Rows {
    /// Cuts some of the lines, and says how many were like one before. `None` if there are too many values then.
    fn cut(
        &mut self,
        lines: &[&[u8]],
        which: impl Iterator<Item = usize>,
        level: Level,
        tree: &mut Tree,
        lexer: &mut Lexer,
        words: &Words,
    ) -> Option<usize> {
        let mut known = 0;
        for row in which {
            let line = lines.get(row)?;
            let start = u32::try_from(self.values.len()).ok()?;
            let asks = line.len() <= LONGEST && tree.is_worth_asking();
            let found = if asks { tree.find(line, &mut self.values) } else { None };
            let number = match found {
                Some(number) => {
                    known += 1;
                    self.skeletons.count(number);
                    number
                }
                None if lexer.cut(line, level, words) => {
                    let number = self.skeletons.add(&lexer.key);
                    let rows = self.skeletons.rows.get(number as usize).copied().unwrap_or(0);
                    known += usize::from(rows > 1);
                    // Of what is cut at fields much never comes again.
                    if asks && (level == Level::Digits || rows == 2) {
                        tree.learn(&lexer.key, &lexer.extents, number);
                    }
                    self.values.extend_from_slice(&lexer.values);
                    number
                }
                None => NONE,
            };
            *self.of_row.get_mut(row)? = number;
            *self.starts.get_mut(row)? = start;
            if self.values.len() > MAX_VALUES {
                return None;
            }
        }
        Some(known)
    }

    /// Learns which words are frequent in some of these lines, and which of the coarser ways takes most of them as
    /// literal text that others have too. `false`: none takes any.
    fn choose(&self, lines: &[&[u8]], rare: &[usize], lexer: &mut Lexer, words: &mut Words) -> bool {
        // So few are not worth the work.
        if rare.len() < lines.len() / 16 {
            return false;
        }
        let size = (rare.len() / 12).clamp(SAMPLE / 2, SAMPLE);
        let sample =
            || rare.iter().step_by(rare.len().div_ceil(size).max(1)).filter_map(|&row| lines.get(row));
        sample().for_each(|line| words.count(line));
        let count = sample().count();
        let mut best = (0, None);
        for way @ (whole, share) in COARSER {
            words.require(whole, count / share);
            let literal = alike(sample(), lexer, words);
            if literal > best.0 {
                best = (literal, Some(way));
            }
        }
        let Some((whole, share)) = best.1 else { return false };
        words.require(whole, count / share);
        true
    }

    /// The rows whose skeleton has fewer rows than these, and those without one.
    fn rare(&self, least: u32) -> Vec<usize> {
        let is_rare =
            |skeleton: u32| self.skeletons.rows.get(skeleton as usize).is_none_or(|&rows| rows < least);
        (0..).zip(&self.of_row).filter(|&(_, &skeleton)| is_rare(skeleton)).map(|(row, _)| row).collect()
    }

    /// Takes rows from the count of their skeletons.
    fn forget_rare(&mut self, rare: &[usize]) {
        for row in rare {
            let skeleton = self.of_row.get(*row).copied().unwrap_or(NONE);
            if let Some(rows) = self.skeletons.rows.get_mut(skeleton as usize) {
                *rows = 0;
            }
        }
    }
}

/// Bytes of literal text in those of these lines that are like another one, when they are cut this way.
fn alike<'a>(sample: impl Iterator<Item = &'a &'a [u8]>, lexer: &mut Lexer, words: &Words) -> usize {
    let mut skeletons = Table::default();
    for line in sample {
        if lexer.cut(line, Level::Fields, words) {
            skeletons.add(&lexer.key);
        }
    }
    let literal = |number: u32| {
        let text = parts(skeletons.key(number)).map(|part| match part {
            Part::Literal(text) => text.len(),
            Part::Slot(..) => 0,
        });
        text.sum::<usize>()
    };
    let rows = (0..).zip(&skeletons.rows).filter(|&(_, &rows)| rows > 1);
    rows.map(|(number, &rows)| literal(number) * rows as usize).sum()
}

/// Writes the columns that have more than one value, and gives the number of each of all.
fn put_columns(gathered: &Gathered, out: &mut Streams) -> Vec<Option<u32>> {
    let mut encoder = Encoder::new(out);
    let mut numbers = Vec::with_capacity(gathered.columns.len());
    for column in &gathered.columns {
        if column.is_constant() {
            numbers.push(None);
            continue;
        }
        numbers.push(u32::try_from(encoder.columns()).ok());
        let values = gathered.values_of(column);
        if let Some(slot) = column.same_as() {
            encoder.same(column.class, values.len(), gathered.kept_before(column, slot));
        } else if let Some((exponent, delta)) = column.row_time() {
            encoder.row_time(column.class, values.len(), exponent, delta);
        } else if column.class.is_numeric() {
            encoder.numbers(column.class, values);
        } else {
            encoder.strings(column.class, values, &gathered.strings);
        }
    }
    encoder.finish();
    numbers
}

/// Writes the skeletons; a slot whose column has one value becomes literal text.
fn put_skeletons(keys: &[&[u8]], gathered: &Gathered, columns: &[Option<u32>], out: &mut Streams) {
    let out = out.out(Kind::Skeletons);
    put_uvarint(out, keys.len() as u64);
    let (mut literal, mut body) = (Vec::new(), Vec::new());
    for (rank, key) in keys.iter().enumerate() {
        let mut slots = gathered.columns_of(rank).iter();
        let mut count = 0u64;
        body.clear();
        for part in parts(key) {
            match part {
                Part::Literal(text) => literal.extend_from_slice(text),
                Part::Slot(..) => {
                    let Some(&number) = slots.next() else { break };
                    match columns.get(number as usize) {
                        Some(&Some(number)) => {
                            count += put_literal(&mut literal, &mut body) + 1;
                            put_uvarint(&mut body, u64::from(number) + 1);
                        }
                        _ => gathered.put_constant(number, &mut literal),
                    }
                }
            }
        }
        count += put_literal(&mut literal, &mut body);
        put_uvarint(out, count);
        out.extend_from_slice(&body);
    }
}

/// Writes a literal part and empties it. Gives the number of parts written.
fn put_literal(literal: &mut Vec<u8>, out: &mut Vec<u8>) -> u64 {
    if literal.is_empty() {
        return 0;
    }
    out.push(0);
    put_uvarint(out, literal.len() as u64);
    out.append(literal);
    1
}

/// Writes the number of each row's skeleton, 0 for none.
fn put_ids(of_row: &[u32], skeletons: usize, out: &mut Streams) {
    let out = out.out(Kind::SkeletonIds);
    let ids = || of_row.iter().map(|&rank| rank.wrapping_add(1).to_le_bytes());
    out.push(if skeletons < 256 { 1 } else { 2 });
    out.extend(ids().map(|bytes| bytes[0]));
    if skeletons >= 256 {
        out.extend(ids().map(|bytes| bytes[1]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree is asked about no more lines then, and it is still seen that each is like one before.
    #[test]
    fn lines_of_many_kinds_in_turn_are_all_cut_where_digits_are() {
        const KINDS: usize = 200;
        let lines: Vec<String> =
            (0..2048).map(|n| format!("kind{} took {n}", "y".repeat(n % KINDS))).collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let rows = cut(&lines, true).unwrap();
        assert_eq!(rows.skeletons.keys().count(), KINDS);
        assert!(rows.of_row.iter().zip(rows.of_row.iter().skip(KINDS)).all(|(row, later)| row == later));
    }
}
