//! Which rows of a group have lines that a filter wants, without making them: by the skeletons, and by the columns that
//! the text may lie in. What cannot be told so is left to be looked at.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use foldhash::fast::RandomState;

use super::decode::Decoder;
use super::demand::{Bits, Met, Wanted, ask, effort};
use super::place::{Demand, Places, Placing, Sought, Spot, class_of, may_hold};
use super::template::{Step, Template};
use crate::columnar::column::{Column, Encoding};
use crate::columnar::fault::Fault;
use crate::columnar::stream::{Kind, Streams};
use crate::filter::{LineFilter, Needle};

type Map<K, V> = hashbrown::HashMap<K, V, RandomState>;

/// What is known of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    No,
    Yes,
    /// The line has to be looked at.
    Maybe,
}

/// For each condition of a filter, whether it is negated, and for each of its texts where it may lie in the lines of each
/// skeleton.
pub(crate) struct Found(Vec<(bool, Vec<Vec<Places>>)>);

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
    /// Whether lines without a skeleton may be wanted.
    has_raw: bool,
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
    /// Of the needle at hand: what a column says of a demand; and of all of it inside of a value, by column.
    known: Map<(u32, Spot, Range<usize>), Known>,
    inside: Vec<Option<Known>>,
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
    /// Whether skeletons and columns leave it open that a line has what a filter wants, as far as can be told without a look at
    /// which row has which. Lines without a skeleton are not asked.
    pub(crate) fn is_hopeful_at_all(&self, places: &Found) -> bool {
        let is_lost = |template: usize| {
            places.0.iter().any(|(is_negated, places)| {
                !is_negated && places.iter().all(|of| matches!(of.get(template), Some(Places::Nowhere)))
            })
        };
        (0..self.templates.list().len()).any(|template| !is_lost(template))
    }

    /// Where the texts of a filter may lie, by skeletons and what is written in columns.
    pub(crate) fn places(&self, streams: &Streams, filter: &LineFilter) -> Result<Found, Fault> {
        let mut found = Vec::with_capacity(filter.conditions().len());
        for condition in filter.conditions() {
            let mut places = Vec::with_capacity(condition.needles.len());
            for needle in &condition.needles {
                let sought = self.sought(streams, needle)?;
                let mut placing = Placing::new(&self.templates, &self.columns, sought);
                places.push(self.templates.list().iter().map(|template| placing.of(template)).collect());
            }
            found.push((condition.is_negated, places));
        }
        Ok(Found(found))
    }

    /// Whether a text may be in the values of each column, and in literals, by their bytes as they are written. No column is
    /// opened for it.
    fn sought<'a>(&self, streams: &Streams, needle: &'a Needle) -> Result<Sought<'a>, Fault> {
        let text = needle.text();
        let in_literals = needle.is_in(streams.get(Kind::Skeletons)?);
        let mut in_columns = Vec::with_capacity(self.columns.len());
        // Most texts are in none of the values; if one is, it is worth to know in which.
        let mut in_values = None;
        for column in &self.columns {
            in_columns.push(match column.encoding {
                Encoding::Const { .. } | Encoding::Dict { .. } => {
                    let in_some = match in_values {
                        Some(known) => known,
                        None => *in_values.insert(needle.is_in(streams.get(Kind::Values)?)),
                    };
                    in_some && needle.is_in(column.distinct_part(streams)?)
                }
                Encoding::Text { .. } => needle.is_in(column.part(streams)?),
                Encoding::Same { .. } => false,
                _ => {
                    column.longest().is_none_or(|longest| text.len() <= longest)
                        && may_hold(class_of(column), Spot::Inside, text, needle.case())
                }
            });
        }
        Ok(Sought { needle, in_columns, in_literals })
    }

    /// Asks columns for what a filter wants, whose texts may lie there. They are opened as far as their values may decide.
    /// `has_raw` says whether lines without a skeleton may be wanted.
    pub(crate) fn search(
        &mut self,
        streams: &Streams,
        filter: &LineFilter,
        places: Found,
        has_raw: bool,
    ) -> Result<Search, Fault> {
        let templates = self.templates.list().len();
        let search = Search {
            verdicts: (0..templates).map(|_| Verdict::Conditions(Vec::new())).collect(),
            sets: Vec::new(),
            columns: Vec::new(),
            places: Map::default(),
            slots: Vec::new(),
            has_raw,
        };
        let effort = streams.plain_bytes().saturating_mul(4).saturating_add(1 << 20);
        let mut asked = Asked { streams, effort, known: Map::default(), inside: Vec::new(), search };
        for (condition, (is_negated, places)) in filter.conditions().iter().zip(places.0) {
            let states = self.states(&condition.needles, is_negated, places, &mut asked)?;
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
    fn states(
        &mut self,
        needles: &[Needle],
        is_negated: bool,
        places: Vec<Vec<Places>>,
        asked: &mut Asked<'_>,
    ) -> Result<Vec<State>, Fault> {
        let new = || State { otherwise: Answer::No, ways: Vec::new(), is_negated };
        let mut states: Vec<State> = (0..self.templates.list().len()).map(|_| new()).collect();
        for (needle, places) in needles.iter().zip(places) {
            asked.known.clear();
            asked.inside.clear();
            asked.inside.resize(self.columns.len(), None);
            for (template, (state, places)) in states.iter_mut().zip(places).enumerate() {
                if state.otherwise == Answer::Yes {
                    continue;
                }
                match places {
                    Places::Nowhere => {}
                    Places::Everywhere => state.otherwise = Answer::Yes,
                    Places::Unknown => state.otherwise = Answer::Maybe,
                    Places::Slots(ways) => {
                        let template = self.templates.list().get(template).copied().unwrap_or_default();
                        for way in ways {
                            self.add(state, &template, &way, needle, asked)?;
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
        template: &Template,
        demands: &[Demand],
        needle: &Needle,
        asked: &mut Asked<'_>,
    ) -> Result<(), Fault> {
        let mut way = Way { tests: Vec::new(), is_sure: true };
        for demand in demands {
            match self.known(demand, needle, asked)? {
                Known::None => return Ok(()),
                Known::All => {}
                Known::Unknown => way.is_sure = false,
                Known::Set(set) => {
                    let column = asked.search.place(demand.column);
                    way.tests.push(Test { column, nth: self.nth(template, demand), set });
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

    /// How many slots of a skeleton before the one of a demand have values of the same column. A slot that repeats another one
    /// has its value.
    fn nth(&self, template: &Template, demand: &Demand) -> u32 {
        let columns = || self.templates.steps(template).iter().filter_map(Step::column);
        let encoding = |column: u32| self.columns.get(column as usize).map(|column| column.encoding);
        let slot = match columns().nth(demand.slot).and_then(encoding) {
            Some(Encoding::Same { slot }) => slot,
            _ => demand.slot,
        };
        let before = columns().take(slot).filter(|column| *column == demand.column).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    /// What a column says of a demand.
    fn known(&mut self, demand: &Demand, needle: &Needle, asked: &mut Asked<'_>) -> Result<Known, Fault> {
        let number = demand.column as usize;
        let is_inside = demand.spot == Spot::Inside;
        let key = (demand.column, demand.spot, demand.bytes.clone());
        let before = if is_inside {
            asked.inside.get(number).copied().flatten()
        } else {
            asked.known.get(&key).copied()
        };
        if let Some(known) = before {
            return Ok(known);
        }
        let Some(of) = self.columns.get(number).cloned() else { return Ok(Known::Unknown) };
        let known = match asked.effort.checked_sub(effort(&of, asked.streams)?) {
            None => Known::Unknown,
            Some(left) => {
                asked.effort = left;
                self.open_column(number, asked.streams)?;
                self.asked(&of, number, demand, needle, asked)?
            }
        };
        match asked.inside.get_mut(number).filter(|_| is_inside) {
            Some(place) => *place = Some(known),
            None => {
                asked.known.insert(key, known);
            }
        }
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
            None => search.has_raw,
            Some(template) => !matches!(search.verdicts.get(template), Some(Verdict::Known(Answer::No))),
        })
    }

    /// Shows what is known of each of these rows that may be wanted, in order. Of one without a skeleton that is what the filter
    /// says of its line; how many those are is given.
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
        let first = mark.saturating_mul(self.step);
        let is_raw = |skeleton: &&u16| **skeleton == 0;
        let raw_in =
            |rows: Range<usize>| self.of_row.get(rows).unwrap_or_default().iter().filter(is_raw).count();
        let raw = (value_of(self.columns.len()) as usize).saturating_add(raw_in(first..rows.start));
        let raw = raw..raw.saturating_add(if search.has_raw { raw_in(rows.clone()) } else { 0 });
        let tested = raw.len();
        let mut wanted = Vec::new();
        if tested > 0 {
            self.open_raw(streams)?;
            if let Some(lines) = &self.raw {
                wanted = lines.wanted(streams, raw.clone(), filter)?;
            }
        }
        let mut wanted = wanted.into_iter().peekable();
        let mut raw = raw.start;
        let is_idle =
            |skeleton: u16| usize::from(skeleton).checked_sub(1).is_some_and(|at| search.is_idle(at));
        let idle: Vec<bool> = (0..=self.templates.list().len())
            .map(|skeleton| u16::try_from(skeleton).is_ok_and(is_idle))
            .collect();
        for (row, &skeleton) in (first..rows.end).zip(self.of_row.get(first..).unwrap_or_default()) {
            if idle.get(usize::from(skeleton)) == Some(&true) {
                continue;
            }
            let is_asked = row >= rows.start;
            let Some(template) = usize::from(skeleton).checked_sub(1) else {
                if is_asked {
                    let is_wanted = wanted.next_if_eq(&raw).is_some();
                    show(row, if is_wanted { Answer::Yes } else { Answer::No });
                    raw = raw.saturating_add(1);
                }
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

    /// Whether no line of a skeleton is wanted, and none has values that are counted.
    fn is_idle(&self, template: usize) -> bool {
        matches!(self.verdicts.get(template), Some(Verdict::Known(Answer::No)))
            && self.slots.get(template).is_none_or(Vec::is_empty)
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
