//! Sorts the values of lines into columns. A slot belongs to the column of all text before it, so that lines
//! which begin alike share columns whatever they end in; times of one format, and UUIDs, share one column
//! wherever they stand.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::encode::Rows;
use crate::columnar::class::{Class, digits_of_code};
use crate::columnar::skeleton::{Part, Table, parts};
use crate::columnar::tokenize::spanned;

/// Slots that are watched for repeating each other.
const WATCHED: usize = 64;

/// The columns of a group while they fill.
pub(super) struct Gathered {
    pub(super) columns: Vec<Gathering>,
    /// The bytes that values of classes without numbers stand for.
    pub(super) strings: Table,
    values: Vec<u64>,
    /// The columns of all skeletons' slots, and where those of each end.
    slots: Vec<u32>,
    ends: Vec<usize>,
}

/// One column while it fills.
pub(super) struct Gathering {
    pub(super) class: Class,
    /// A skeleton that has it.
    skeleton: usize,
    /// How long the text before it is in that skeleton's key, if the column is that text's own.
    prefix: Option<usize>,
    start: usize,
    filled: usize,
    /// The string that it had last.
    last: Option<u32>,
    /// Nothing is left that another value could say of it.
    settled: bool,
    constant: bool,
    /// The earlier slots that had the same value so far.
    same: u64,
    clock: Option<Clock>,
}

/// The distance to the row's time, while it is the same in all rows.
struct Clock {
    exponent: u8,
    unit_ns: i64,
    delta: i64,
}

impl Gathering {
    pub(super) fn is_constant(&self) -> bool {
        self.constant
    }

    /// The first of the slots that it repeats in every row.
    pub(super) fn same_as(&self) -> Option<usize> {
        (self.same != 0).then(|| self.same.trailing_zeros() as usize)
    }

    pub(super) fn row_time(&self) -> Option<(u8, i64)> {
        self.clock.as_ref().map(|clock| (clock.exponent, clock.delta))
    }
}

impl Gathered {
    pub(super) fn values_of(&self, column: &Gathering) -> &[u64] {
        self.values.get(column.start..column.start + column.filled).unwrap_or_default()
    }

    /// The columns of the slots of a skeleton.
    pub(super) fn columns_of(&self, skeleton: usize) -> &[u32] {
        let start = skeleton.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(skeleton).copied().unwrap_or(start);
        self.slots.get(start..end).unwrap_or_default()
    }

    /// The number of a slot of the column's skeleton, not counting those whose column is constant.
    pub(super) fn kept_before(&self, column: &Gathering, slot: usize) -> usize {
        let before = self.columns_of(column.skeleton).iter().take(slot);
        before
            .filter(|&&number| self.columns.get(number as usize).is_some_and(|other| !other.constant))
            .count()
    }

    /// Appends the one value that a column has.
    pub(super) fn put_constant(&self, column: u32, out: &mut Vec<u8>) {
        let Some(column) = self.columns.get(column as usize) else { return };
        let Some(&value) = self.values_of(column).first() else { return };
        if column.class.is_numeric() {
            let mut text = [0; 40];
            let width = column.class.print(value, &mut text);
            out.extend_from_slice(text.get(..width).unwrap_or_default());
        } else {
            out.extend_from_slice(self.strings.key(u32::try_from(value).unwrap_or(u32::MAX)));
        }
    }
}

/// Sorts the values of all rows, whose skeletons are the numbers of `keys`, into columns.
pub(super) fn gather(keys: &[&[u8]], rows: &Rows, lines: &[&[u8]], times: &[i64]) -> Gathered {
    let mut gathered = assign(keys);
    let mut counts = vec![0usize; keys.len()];
    for &of_row in &rows.of_row {
        if let Some(count) = counts.get_mut(of_row as usize) {
            *count += 1;
        }
    }
    let mut sizes = vec![0usize; gathered.columns.len()];
    for (skeleton, count) in counts.into_iter().enumerate() {
        for &column in gathered.columns_of(skeleton) {
            if let Some(size) = sizes.get_mut(column as usize) {
                *size += count;
            }
        }
    }
    let mut start = 0;
    for (column, size) in gathered.columns.iter_mut().zip(sizes) {
        column.start = start;
        start += size;
    }
    gathered.values = vec![0; start];
    let mut row_values = [0u64; 256];
    for (((&of_row, &start), line), &time) in rows.of_row.iter().zip(&rows.starts).zip(lines).zip(times) {
        let skeleton = of_row as usize;
        if skeleton >= keys.len() {
            continue;
        }
        let values = rows.values.get(start as usize..).unwrap_or_default();
        gathered.add(skeleton, line, time, values, &mut row_values);
    }
    gathered
}

impl Gathered {
    /// Adds the values of a row.
    fn add(&mut self, skeleton: usize, line: &[u8], time: i64, values: &[u64], row: &mut [u64; 256]) {
        let start = skeleton.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(skeleton).copied().unwrap_or(start);
        let slots = self.slots.get(start..end).unwrap_or_default();
        for (slot, (&number, &value)) in slots.iter().zip(values).enumerate() {
            let Some(column) = self.columns.get_mut(number as usize) else { continue };
            let value = if column.class.is_numeric() {
                value
            } else {
                let text = spanned(line, value);
                let again = column.last.filter(|&last| self.strings.key(last) == text);
                let string = again.unwrap_or_else(|| self.strings.add(text));
                column.last = Some(string);
                u64::from(string)
            };
            if let Some(place) = row.get_mut(slot) {
                *place = value;
            }
            if !column.settled {
                column.watch(value, self.values.get(column.start).copied(), time, row);
            }
            if let Some(place) = self.values.get_mut(column.start + column.filled) {
                *place = value;
                column.filled += 1;
            }
        }
    }
}

impl Gathering {
    /// Sees what its next value leaves of all that it could be. `first` is the first one, and `row` has the values before
    /// it in its line.
    fn watch(&mut self, value: u64, first: Option<u64>, time: i64, row: &[u64; 256]) {
        if self.filled == 0 {
            self.clock = Clock::start(self.class, value, time);
        } else {
            self.constant &= first == Some(value);
            if self.clock.as_ref().is_some_and(|clock| !clock.holds(value, time)) {
                self.clock = None;
            }
        }
        let mut left = self.same;
        while left != 0 {
            let other = left.trailing_zeros();
            left &= left - 1;
            if row.get(other as usize) != Some(&value) {
                self.same &= !(1 << other);
            }
        }
        self.settled = self.same == 0 && self.clock.is_none() && !self.constant;
    }
}

impl Clock {
    fn start(class: Class, value: u64, time: i64) -> Option<Self> {
        let exponents: &[u8] = match class {
            Class::Time(format) => match format.unit_ns() {
                1_000_000_000 => &[9],
                1_000_000 => &[6],
                1_000 => &[3],
                _ => &[0],
            },
            // Seconds since 1970 and finer units, within some days of the row.
            Class::Digits if value > 1_000_000_000 => &[9, 6, 3, 0],
            _ => return None,
        };
        let number = if class == Class::Digits { digits_of_code(value)?.0 } else { value };
        exponents.iter().find_map(|&exponent| {
            let unit_ns = 10i64.pow(u32::from(exponent));
            let units = time.div_euclid(unit_ns);
            let far = number.cast_signed().wrapping_sub(units).unsigned_abs();
            let near = far < 1_000_000 * (1_000_000_000 / unit_ns).unsigned_abs();
            let delta = value.cast_signed().wrapping_sub(units);
            (near || class != Class::Digits).then_some(Self { exponent, unit_ns, delta })
        })
    }

    fn holds(&self, value: u64, time: i64) -> bool {
        time.div_euclid(self.unit_ns).wrapping_add(self.delta) == value.cast_signed()
    }
}

/// Gives each slot of each skeleton its column.
fn assign(keys: &[&[u8]]) -> Gathered {
    let hasher = RandomState::default();
    let mut gathered = Gathered {
        columns: Vec::new(),
        strings: Table::default(),
        values: Vec::new(),
        slots: Vec::new(),
        ends: Vec::with_capacity(keys.len()),
    };
    let mut places: HashTable<(u64, u32)> = HashTable::new();
    let mut classes: Vec<Class> = Vec::new();
    for (skeleton, key) in keys.iter().enumerate() {
        classes.clear();
        let mut running = hasher.build_hasher();
        for part in parts(key) {
            let (class, end) = match part {
                Part::Literal(text) => {
                    running.write(text);
                    continue;
                }
                Part::Slot(class, end) => (class, end),
            };
            let mark = class.to_bytes();
            running.write(&mark);
            let everywhere = matches!(class, Class::Time(_) | Class::Uuid);
            let prefix = (!everywhere).then_some(end);
            let hash = if everywhere { hasher.hash_one(mark) } else { running.finish() };
            let columns = &gathered.columns;
            let found = places.find(hash, |&(_, number)| {
                columns.get(number as usize).is_some_and(|column: &Gathering| {
                    column.class == class
                        && column.prefix == prefix
                        && (everywhere
                            || keys.get(column.skeleton).and_then(|other| other.get(..end)) == key.get(..end))
                })
            });
            let number = match found {
                Some(&(_, number)) => number,
                None => {
                    let number = u32::try_from(gathered.columns.len()).expect("fewer columns than values");
                    places.insert_unique(hash, (hash, number), |&(hash, _)| hash);
                    let same = if everywhere { 0 } else { watch(&classes, class) };
                    gathered.columns.push(Gathering {
                        class,
                        skeleton,
                        prefix,
                        start: 0,
                        filled: 0,
                        last: None,
                        settled: false,
                        constant: true,
                        same,
                        clock: None,
                    });
                    number
                }
            };
            gathered.slots.push(number);
            classes.push(class);
        }
        gathered.ends.push(gathered.slots.len());
    }
    gathered
}

/// The earlier slots that a slot of this class may repeat.
fn watch(before: &[Class], class: Class) -> u64 {
    let watched = before.iter().take(WATCHED).enumerate();
    watched.filter(|(_, other)| **other == class).fold(0, |same, (slot, _)| same | 1 << slot)
}
