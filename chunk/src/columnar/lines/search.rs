//! Which rows of a group have lines that a filter wants, without making them: by the skeletons, and by the columns that
//! the text may lie in. What cannot be told so is left to be looked at.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use foldhash::fast::RandomState;

use super::decode::Decoder;
use super::demand::{Bits, Met, Wanted, ask, effort};
use super::place::{Demand, Places, Placing, Spot};
use super::template::Step;
use crate::columnar::column::{Column, Encoding};
use crate::columnar::fault::Fault;
use crate::columnar::stream::Streams;
use crate::filter::{Condition, LineFilter, Needle};

type Map<K, V> = hashbrown::HashMap<K, V, RandomState>;

/// What is known of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    No,
    Yes,
    /// The line has to be looked at.
    Maybe,
}

/// What columns and skeletons say of a filter.
#[derive(Debug)]
pub(crate) struct Search {
    /// Of each skeleton; but for those that decide by themselves, one for each condition.
    verdicts: Vec<Verdict>,
    sets: Vec<Bits>,
    /// Columns of which it has to be known which value a row has, and the place of each of them.
    columns: Vec<u32>,
    places: Map<u32, u32>,
    /// For each skeleton, places in `columns`: the slots that have values of these, in order.
    slots: Vec<Vec<u32>>,
}

#[derive(Debug)]
enum Verdict {
    Known(Answer),
    Conditions(Vec<State>),
}

/// What is known of a condition, of the lines of a skeleton.
#[derive(Debug)]
struct State {
    /// If no way is met.
    otherwise: Answer,
    ways: Vec<Way>,
    is_negated: bool,
}

/// Values that a line has to have, all of them, for a text to be in it.
#[derive(Debug)]
struct Way {
    tests: Vec<Test>,
    /// Whether there is nothing else to it.
    is_sure: bool,
}

/// Whether the value of a slot is in a set.
#[derive(Debug)]
struct Test {
    /// Place in the columns of the search.
    column: u32,
    /// How many slots of the line have values of the column before this one.
    nth: u32,
    /// The set.
    set: usize,
}

impl Answer {
    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Yes => Self::No,
            Self::Maybe => Self::Maybe,
        }
    }

    /// That of two, both of which have to hold.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }
}

/// What was asked of the columns so far.
struct Asked<'a> {
    streams: &'a Streams,
    /// Bytes of columns that may still be looked at.
    effort: usize,
    /// Of the needle at hand: what a column says of a demand.
    known: Map<(u32, Spot, Range<usize>), Known>,
    search: Search,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    None,
    All,
    Unknown,
    Set(usize),
}

impl Decoder {
    /// Asks skeletons and columns for what a filter wants. Columns are opened as far as their values may decide.
    pub(crate) fn search(&mut self, streams: &Streams, filter: &LineFilter) -> Result<Search, Fault> {
        let templates = self.templates.list().len();
        let search = Search {
            verdicts: (0..templates).map(|_| Verdict::Conditions(Vec::new())).collect(),
            sets: Vec::new(),
            columns: Vec::new(),
            places: Map::default(),
            slots: Vec::new(),
        };
        let effort = streams.plain_bytes().saturating_mul(4).saturating_add(1 << 20);
        let mut asked = Asked { streams, effort, known: Map::default(), search };
        for condition in filter.conditions() {
            let states = self.states(condition, &mut asked)?;
            for (verdict, state) in asked.search.verdicts.iter_mut().zip(states) {
                let Verdict::Conditions(states) = verdict else { continue };
                match state.known() {
                    Some(Answer::Yes) => {}
                    Some(Answer::No) => *verdict = Verdict::Known(Answer::No),
                    _ => states.push(state),
                }
            }
        }
        let mut search = asked.search;
        for verdict in &mut search.verdicts {
            if matches!(verdict, Verdict::Conditions(states) if states.is_empty()) {
                *verdict = Verdict::Known(Answer::Yes);
            }
        }
        search.slots = self.slots_of(&search.places);
        Ok(search)
    }

    /// What a condition comes to for each skeleton.
    fn states(&mut self, condition: &Condition, asked: &mut Asked<'_>) -> Result<Vec<State>, Fault> {
        let is_negated = condition.is_negated;
        let new = || State { otherwise: Answer::No, ways: Vec::new(), is_negated };
        let mut states: Vec<State> = (0..self.templates.list().len()).map(|_| new()).collect();
        for needle in &condition.needles {
            asked.known.clear();
            // Places are found for all skeletons first, since columns are opened for them then.
            let mut placing = Placing::new(&self.templates, &self.columns, needle);
            let places: Vec<Places> =
                self.templates.list().iter().map(|template| placing.of(template)).collect();
            for (template, (state, places)) in states.iter_mut().zip(places).enumerate() {
                if state.otherwise == Answer::Yes {
                    continue;
                }
                match places {
                    Places::Nowhere => {}
                    Places::Everywhere => state.otherwise = Answer::Yes,
                    Places::Unknown => state.otherwise = Answer::Maybe,
                    Places::Slots(ways) => {
                        let slots = self.slots(template);
                        for way in ways {
                            self.add(state, &slots, &way, needle, asked)?;
                        }
                    }
                }
            }
        }
        Ok(states)
    }

    /// Adds a way in which a text may lie in the lines of a skeleton.
    fn add(
        &mut self,
        state: &mut State,
        slots: &[(u32, u32)],
        demands: &[Demand],
        needle: &Needle,
        asked: &mut Asked<'_>,
    ) -> Result<(), Fault> {
        let mut way = Way { tests: Vec::new(), is_sure: true };
        for demand in demands {
            let Some(&(column, nth)) = slots.get(demand.slot) else { return Ok(()) };
            match self.known(column, demand, needle, asked)? {
                Known::None => return Ok(()),
                Known::All => {}
                Known::Unknown => way.is_sure = false,
                Known::Set(set) => {
                    let column = asked.search.place(column);
                    way.tests.push(Test { column, nth, set });
                }
            }
        }
        match (way.tests.is_empty(), way.is_sure) {
            (true, true) => state.otherwise = Answer::Yes,
            (true, false) if state.otherwise == Answer::No => state.otherwise = Answer::Maybe,
            (true, false) => {}
            _ => state.ways.push(way),
        }
        Ok(())
    }

    /// The column of each slot of a skeleton, and how many slots before it have values of the same. A slot that repeats
    /// another one has its values.
    fn slots(&self, template: usize) -> Vec<(u32, u32)> {
        let steps = self.templates.list().get(template).map_or(&[][..], |found| self.templates.steps(found));
        let mut taken = Map::<u32, u32>::default();
        let mut slots = Vec::<(u32, u32)>::new();
        for column in steps.iter().filter_map(Step::column) {
            let repeated = match self.columns.get(column as usize).map(|column| column.encoding) {
                Some(Encoding::Same { slot }) => slots.get(slot).copied(),
                _ => None,
            };
            let next = taken.entry(column).or_default();
            slots.push(repeated.unwrap_or((column, *next)));
            *next = next.saturating_add(1);
        }
        slots
    }

    /// What a column says of a demand.
    fn known(
        &mut self,
        column: u32,
        demand: &Demand,
        needle: &Needle,
        asked: &mut Asked<'_>,
    ) -> Result<Known, Fault> {
        let key = (column, demand.spot, demand.bytes.clone());
        if let Some(known) = asked.known.get(&key) {
            return Ok(*known);
        }
        let number = column as usize;
        let Some(of) = self.columns.get(number).cloned() else { return Ok(Known::Unknown) };
        let known = match asked.effort.checked_sub(effort(&of, asked.streams)?) {
            None => Known::Unknown,
            Some(left) => {
                asked.effort = left;
                self.open_column(number, asked.streams)?;
                self.asked(&of, number, demand, needle, asked)?
            }
        };
        asked.known.insert(key, known);
        Ok(known)
    }

    fn asked(
        &self,
        column: &Column,
        number: usize,
        demand: &Demand,
        needle: &Needle,
        asked: &mut Asked<'_>,
    ) -> Result<Known, Fault> {
        let Some(Some(open)) = self.open.get(number) else { return Ok(Known::Unknown) };
        let text = needle.text().get(demand.bytes.clone()).unwrap_or_default();
        // Of values that are pieces of text the longest is not known.
        if open.longest > 0 && text.len() > open.longest {
            return Ok(Known::None);
        }
        let wanted = Wanted { spot: demand.spot, text, needle };
        Ok(match ask(column, &open.values, asked.streams, &wanted)? {
            Met::None => Known::None,
            Met::All => Known::All,
            Met::Unknown => Known::Unknown,
            Met::Some(bits) => {
                asked.search.sets.push(bits);
                Known::Set(asked.search.sets.len().saturating_sub(1))
            }
        })
    }

    /// For each skeleton, the places of the columns that its slots have values of.
    fn slots_of(&self, places: &Map<u32, u32>) -> Vec<Vec<u32>> {
        let of = |template| {
            let columns = self.templates.steps(template).iter().filter_map(Step::column);
            columns.filter_map(|column| places.get(&column).copied()).collect()
        };
        self.templates.list().iter().map(of).collect()
    }

    /// Whether there may be a row that is wanted.
    pub(crate) fn is_hopeful(&self, search: &Search) -> bool {
        self.of_row.iter().any(|&skeleton| match usize::from(skeleton).checked_sub(1) {
            None => true,
            Some(template) => !matches!(search.verdicts.get(template), Some(Verdict::Known(Answer::No))),
        })
    }

    /// Shows what is known of each of these rows, in order. Of one without a skeleton that is what the filter says of
    /// its line; how many those are is given.
    pub(crate) fn answer(
        &mut self,
        search: &Search,
        streams: &Streams,
        rows: Range<usize>,
        filter: &LineFilter,
        mut show: impl FnMut(usize, Answer),
    ) -> Result<usize, Fault> {
        let mark = rows.start.checked_div(self.step).unwrap_or(0);
        let width = self.columns.len().saturating_add(1);
        let marks = self.marks.chunks_exact(width).nth(mark).unwrap_or_default();
        let value_of = |column: usize| marks.get(column).copied().unwrap_or(0);
        let mut counts: Vec<u32> = search.columns.iter().map(|column| value_of(*column as usize)).collect();
        let mut raw = value_of(self.columns.len()) as usize;
        let first = mark.saturating_mul(self.step);
        let mut tested = 0usize;
        if self.of_row.get(rows.clone()).unwrap_or_default().contains(&0) {
            self.open_raw(streams)?;
        }
        for (row, &skeleton) in (first..rows.end).zip(self.of_row.get(first..).unwrap_or_default()) {
            let is_asked = row >= rows.start;
            let Some(template) = usize::from(skeleton).checked_sub(1) else {
                if let Some(lines) = self.raw.as_ref().filter(|_| is_asked) {
                    let is_wanted = filter.matches(lines.line(streams, raw)?);
                    show(row, if is_wanted { Answer::Yes } else { Answer::No });
                    tested = tested.saturating_add(1);
                }
                raw = raw.saturating_add(1);
                continue;
            };
            if is_asked {
                show(row, search.answer(template, &counts));
            }
            for &place in search.slots.get(template).map_or(&[][..], Vec::as_slice) {
                if let Some(count) = counts.get_mut(place as usize) {
                    *count = count.saturating_add(1);
                }
            }
        }
        Ok(tested)
    }
}

impl Search {
    /// The place of a column among those that are counted.
    fn place(&mut self, column: u32) -> u32 {
        let Self { columns, places, .. } = self;
        *places.entry(column).or_insert_with(|| {
            columns.push(column);
            u32::try_from(columns.len().saturating_sub(1)).unwrap_or(u32::MAX)
        })
    }

    /// What is known of a line of a skeleton, where so many values of each column come before it.
    fn answer(&self, template: usize, counts: &[u32]) -> Answer {
        match self.verdicts.get(template) {
            None => Answer::Maybe,
            Some(Verdict::Known(answer)) => *answer,
            Some(Verdict::Conditions(states)) => {
                let of = |state: &State| state.answer(counts, &self.sets);
                states.iter().fold(Answer::Yes, |all, state| all.and(of(state)))
            }
        }
    }
}

impl State {
    /// What is known whatever the row.
    fn known(&self) -> Option<Answer> {
        if self.otherwise != Answer::Yes && !self.ways.is_empty() {
            return None;
        }
        Some(if self.is_negated { self.otherwise.not() } else { self.otherwise })
    }

    fn answer(&self, counts: &[u32], sets: &[Bits]) -> Answer {
        let mut has = self.otherwise;
        for way in &self.ways {
            if has == Answer::Yes {
                break;
            }
            let is_met = way.tests.iter().all(|test| {
                let before = counts.get(test.column as usize).copied().unwrap_or(0);
                let number = before.saturating_add(test.nth) as usize;
                sets.get(test.set).is_some_and(|set| set.has(number))
            });
            match (is_met, way.is_sure) {
                (true, true) => has = Answer::Yes,
                (true, false) => has = Answer::Maybe,
                (false, _) => {}
            }
        }
        if self.is_negated { has.not() } else { has }
    }
}
