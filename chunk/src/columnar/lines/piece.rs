//! Some rows in the order of their skeletons, and which values of its columns each of them has. Lines are then put
//! together skeleton by skeleton and part by part, so that each loop does one thing to many rows.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::slots::Printed;
use super::template::{Step, Templates};
use super::work::{bytes_of, taken};

/// Lines that were made, by row from the first.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Kept as it is from one piece to the next: only what lines name means anything.
    pub(in crate::columnar) text: Vec<u8>,
    /// Where each line starts, and its bytes.
    pub(in crate::columnar) lines: Vec<(u32, u32)>,
}

impl Made {
    /// The line of a row.
    #[inline]
    pub(crate) fn line(&self, row: usize) -> Option<&[u8]> {
        let (start, bytes) = *self.lines.get(row)?;
        self.text.get(start as usize..)?.get(..bytes as usize)
    }

    pub(super) fn clear(&mut self) {
        self.lines.clear();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        taken!(self.text, self.lines)
    }

    /// Bytes of all lines.
    pub(crate) fn bytes(&self) -> usize {
        self.lines.iter().fold(0, |sum, &(_, bytes)| sum.saturating_add(bytes as usize))
    }
}

/// Which values of its column a slot takes, for the rows of its skeleton in order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ordinals {
    /// All, one after the other.
    Own,
    /// Each row of the piece has the value of its own number.
    Row,
    /// Those of a list that starts there.
    List(usize),
}

/// How a column is used.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// Values that the rows of the piece take.
    count: u32,
    slots: u32,
    /// Which kinds use it: columns that the same ones do are of one class.
    class: u32,
    /// The last kind that uses it, plus one; and whether one does so twice.
    kind: u32,
    twice: bool,
    /// Whether it has a class of its own, since it is used twice.
    apart: bool,
    /// Where it is printed, if it is for several slots.
    printed: Option<Printed>,
}

/// Columns that the same kinds use. In each row they all have the value of the same number.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    /// The last kind that columns of it were found in, plus one, and the class that these are of since.
    kind: u32,
    next: u32,
    /// Values that rows so far have taken.
    taken: u32,
    /// The last kind that has a list of them, plus one, and where that starts.
    listed: u32,
    list: u32,
}

/// The rows of one piece, and what is kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// The skeletons of the rows, each once.
    kinds: Vec<u16>,
    /// Where the rows of each of them start in `order`, and the end.
    starts: Vec<usize>,
    /// Rows, counted from the first of the piece, by skeleton.
    pub(super) order: Vec<u16>,
    /// For each skeleton of the group: rows, and then the place of the next one, or the number of its kind.
    scratch: Vec<u32>,
    /// How many values of each column come before the piece, and at last raw lines.
    pub(super) next: Vec<u32>,
    /// The row that `next` is of.
    pub(super) at: Option<usize>,
    uses: Vec<Use>,
    used: Vec<u32>,
    /// For each slot of each kind, in order.
    ordinals: Vec<Ordinals>,
    /// Where those of each kind start.
    slots: Vec<usize>,
    pub(super) lists: Vec<u32>,
    classes: Vec<Class>,
    /// Of each kind: the classes of columns whose values have to be told one by one, and where in the list the next one
    /// goes.
    shared: Vec<(u32, u32)>,
    shared_of: Vec<(usize, usize)>,
}

impl Piece {
    /// What is kept for each column.
    pub(super) const COLUMN_BYTES: usize = size_of::<Use>() + 4;

    /// Forgets the group.
    pub(super) fn clear(&mut self) {
        self.uses.clear();
        self.used.clear();
        self.next.clear();
        self.at = None;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let sizes =
            taken!(self.kinds, self.starts, self.order, self.scratch, self.next, self.uses, self.used);
        let lists = taken!(self.ordinals, self.slots, self.lists, self.classes, self.shared, self.shared_of);
        sizes.saturating_add(lists)
    }

    /// Sorts rows by their skeletons.
    pub(super) fn sort(&mut self, of_row: &[u16], skeletons: usize) {
        let Self { kinds, starts, order, scratch, .. } = self;
        scratch.clear();
        scratch.resize(skeletons.saturating_add(1), 0);
        kinds.clear();
        for &skeleton in of_row {
            if let Some(count) = scratch.get_mut(usize::from(skeleton)) {
                if *count == 0 {
                    kinds.push(skeleton);
                }
                *count = count.wrapping_add(1);
            }
        }
        starts.clear();
        let mut end = 0u32;
        for &kind in &*kinds {
            starts.push(end as usize);
            if let Some(count) = scratch.get_mut(usize::from(kind)) {
                end = end.wrapping_add(std::mem::replace(count, end));
            }
        }
        starts.push(end as usize);
        order.clear();
        order.resize(of_row.len(), 0);
        for (row, &skeleton) in (0u16..).zip(of_row) {
            if let Some(next) = scratch.get_mut(usize::from(skeleton)) {
                if let Some(place) = order.get_mut(*next as usize) {
                    *place = row;
                }
                *next = next.wrapping_add(1);
            }
        }
    }

    /// The skeletons of the rows.
    pub(super) fn kinds(&self) -> &[u16] {
        &self.kinds
    }

    pub(super) fn has_raw(&self) -> bool {
        self.kinds.contains(&0)
    }

    /// The rows of a kind, as places in `order`.
    pub(super) fn rows_of(&self, kind: usize) -> Range<usize> {
        let start = self.starts.get(kind).copied().unwrap_or(0);
        start..self.starts.get(kind.saturating_add(1)).copied().unwrap_or(start)
    }

    /// The values of the slots of a kind.
    pub(super) fn ordinals_of(&self, kind: usize) -> &[Ordinals] {
        let start = self.slots.get(kind).copied().unwrap_or(0);
        self.ordinals.get(start..).unwrap_or_default()
    }

    /// How many values of a column the rows take.
    pub(super) fn count_of(&self, column: usize) -> usize {
        self.uses.get(column).map_or(0, |uses| uses.count as usize)
    }

    /// The columns that the rows take values of, and how many.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, usize)> {
        self.used.iter().map(|&column| (column, self.count_of(column as usize)))
    }

    /// How many values of a column come before the piece.
    pub(super) fn before(&self, column: usize) -> usize {
        self.next.get(column).map_or(0, |next| *next as usize)
    }

    /// Whether more than one slot has values of a column.
    pub(super) fn is_shared(&self, column: usize) -> bool {
        self.uses.get(column).is_some_and(|uses| uses.slots > 1)
    }

    /// Where a column is printed, once it was for several slots.
    pub(super) fn printed(&self, column: usize) -> Option<Printed> {
        self.uses.get(column).and_then(|uses| uses.printed)
    }

    pub(super) fn set_printed(&mut self, column: usize, printed: Printed) {
        if let Some(uses) = self.uses.get_mut(column) {
            uses.printed = Some(printed);
        }
    }

    /// Finds out which values the slots of each skeleton take.
    pub(super) fn number(&mut self, of_row: &[u16], templates: &Templates, columns: usize) {
        for &column in &self.used {
            if let Some(uses) = self.uses.get_mut(column as usize) {
                *uses = Use::default();
            }
        }
        self.used.clear();
        self.uses.resize(columns, Use::default());
        self.count(templates);
        self.ordinals.clear();
        self.slots.clear();
        self.lists.clear();
        let Self { kinds, starts, scratch, uses, ordinals, slots, lists, classes, shared, shared_of, .. } =
            self;
        let rows = u32::try_from(of_row.len()).unwrap_or(u32::MAX);
        shared.clear();
        shared_of.clear();
        for ((number, &kind), bounds) in (1u32..).zip(&*kinds).zip(starts.windows(2)) {
            slots.push(ordinals.len());
            if let Some(place) = scratch.get_mut(usize::from(kind)) {
                *place = number.wrapping_sub(1);
            }
            let count = rows_between(bounds);
            let first = shared.len();
            for column in columns_of(templates, kind) {
                let Some(uses) = uses.get_mut(column as usize) else { continue };
                if uses.slots == 1 {
                    ordinals.push(Ordinals::Own);
                    continue;
                }
                if uses.count == rows && !uses.twice {
                    ordinals.push(Ordinals::Row);
                    continue;
                }
                if uses.twice && !std::mem::replace(&mut uses.apart, true) {
                    uses.class = u32::try_from(classes.len()).unwrap_or(u32::MAX);
                    classes.push(Class::default());
                }
                let Some(class) = classes.get_mut(uses.class as usize) else { continue };
                if class.listed != number || uses.twice {
                    class.listed = number;
                    class.list = u32::try_from(lists.len()).unwrap_or(u32::MAX);
                    shared.push((uses.class, class.list));
                    lists.resize(lists.len().saturating_add(count), 0);
                }
                ordinals.push(Ordinals::List(class.list as usize));
            }
            shared_of.push((first, shared.len()));
        }
        if shared.is_empty() {
            return;
        }
        for &skeleton in of_row {
            let kind = scratch.get(usize::from(skeleton)).map_or(0, |kind| *kind as usize);
            let (first, end) = shared_of.get(kind).copied().unwrap_or_default();
            for (class, place) in shared.get_mut(first..end).unwrap_or_default() {
                let Some(class) = classes.get_mut(*class as usize) else { continue };
                if let Some(ordinal) = lists.get_mut(*place as usize) {
                    *ordinal = class.taken;
                }
                class.taken = class.taken.wrapping_add(1);
                *place = place.wrapping_add(1);
            }
        }
    }

    /// Counts who uses each column.
    fn count(&mut self, templates: &Templates) {
        let Self { kinds, starts, uses, used, classes, .. } = self;
        classes.clear();
        // That of columns nobody has used yet.
        classes.push(Class::default());
        for ((number, &kind), bounds) in (1u32..).zip(&*kinds).zip(starts.windows(2)) {
            let rows = u32::try_from(rows_between(bounds)).unwrap_or(0);
            for column in columns_of(templates, kind) {
                let Some(uses) = uses.get_mut(column as usize) else { continue };
                if uses.slots == 0 {
                    used.push(column);
                }
                uses.slots = uses.slots.saturating_add(1);
                uses.count = uses.count.saturating_add(rows);
                if uses.kind == number {
                    uses.twice = true;
                    continue;
                }
                uses.kind = number;
                let new = u32::try_from(classes.len()).unwrap_or(0);
                let Some(class) = classes.get_mut(uses.class as usize) else { continue };
                if class.kind != number {
                    (class.kind, class.next) = (number, new);
                    classes.push(Class::default());
                    uses.class = new;
                } else {
                    uses.class = class.next;
                }
            }
        }
    }

    /// Counts the values of the piece as taken.
    pub(super) fn advance(&mut self, raw: usize) {
        for &column in &self.used {
            if let (Some(next), Some(uses)) =
                (self.next.get_mut(column as usize), self.uses.get(column as usize))
            {
                *next = next.saturating_add(uses.count);
            }
        }
        if let Some(next) = self.next.last_mut() {
            *next = next.saturating_add(u32::try_from(raw).unwrap_or(u32::MAX));
        }
    }
}

fn rows_between(bounds: &[usize]) -> usize {
    match bounds {
        [start, end] => end.saturating_sub(*start),
        _ => 0,
    }
}

/// The columns of the slots of a skeleton, from 1; none of 0.
fn columns_of(templates: &Templates, kind: u16) -> impl Iterator<Item = u32> {
    let template = usize::from(kind).checked_sub(1).and_then(|at| templates.list().get(at));
    let steps = template.map_or(&[][..], |template| templates.steps(template));
    steps.iter().filter_map(Step::column)
}
