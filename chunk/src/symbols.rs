//! The names and values of structured metadata, each kept once and numbered in the order it was first seen.
//! A table is a list of shared pages: cloning it copies no string, and pushing to a clone copies one page.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Symbols per page: a copy-on-write after a snapshot touches this many strings at most.
const PAGE: usize = 512;

/// Strings by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct SymbolTable {
    pages: Vec<Arc<Page>>,
    len: usize,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Page {
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl SymbolTable {
    /// How many symbols there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes of all symbols together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a symbol; its number is the length before.
    pub(crate) fn push(&mut self, symbol: &[u8]) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Arc::default());
        }
        let page =
            Arc::make_mut(self.pages.last_mut().expect("a page was pushed if there was none with room"));
        page.data.extend_from_slice(symbol);
        page.ends.push(page.data.len());
        self.len += 1;
        self.bytes += symbol.len();
    }

    /// The symbol of a number, or `None` past the end.
    pub(crate) fn lookup(&self, number: u32) -> Option<&[u8]> {
        let number = usize::try_from(number).ok()?;
        let page = self.pages.get(number / PAGE)?;
        let slot = number % PAGE;
        let end = *page.ends.get(slot)?;
        let start = if slot == 0 { 0 } else { *page.ends.get(slot - 1)? };
        page.data.get(start..end)
    }

    /// Every symbol in the order of its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0u32..).map_while(|number| self.lookup(number))
    }

    /// What the table takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let pages: usize =
            self.pages.iter().map(|page| page.data.capacity() + 8 * page.ends.capacity()).sum();
        pages + self.pages.capacity() * size_of::<Arc<Page>>()
    }
}

/// A table that finds the number of a string it has seen before.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    table: SymbolTable,
    index: HashTable<u32>,
    // Which seed the process drew changes how fast a symbol is found, never which number it has.
    hasher: RandomState,
}

impl Interner {
    /// One that knows all of a table; `None` if the table has a string twice.
    pub(crate) fn of(table: &SymbolTable) -> Option<Self> {
        let mut interner = Self::default();
        let distinct = table.iter().zip(0..).all(|(symbol, number)| interner.intern(symbol) == number);
        distinct.then_some(interner)
    }

    /// The strings interned so far.
    pub(crate) fn table(&self) -> &SymbolTable {
        &self.table
    }

    /// The number of a string, given one if it is new. The caller bounds the number of symbols.
    pub(crate) fn intern(&mut self, symbol: &[u8]) -> u32 {
        let Self { table, index, hasher } = self;
        let hash = hasher.hash_one(symbol);
        if let Some(&number) = index.find(hash, |&number| table.lookup(number) == Some(symbol)) {
            return number;
        }
        let number = u32::try_from(table.len()).expect("limits keep a table below 2^32 symbols");
        table.push(symbol);
        index
            .insert_unique(hash, number, |&number| hasher.hash_one(table.lookup(number).unwrap_or_default()));
        number
    }

    /// What table and index take in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.index.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_kept_once_and_numbered_by_first_sight() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = ["app", "", "app", "x", ""].map(|s| interner.intern(s.as_bytes())).to_vec();
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        assert_eq!(interner.table().iter().collect::<Vec<_>>(), [&b"app"[..], b"", b"x"]);
        assert_eq!(interner.table().bytes(), 4);
        assert_eq!(interner.table().lookup(3), None);
    }

    #[test]
    fn a_clone_does_not_see_what_is_pushed_later() {
        let mut interner = Interner::default();
        for n in 0..3 * PAGE + 7 {
            assert_eq!(interner.intern(n.to_string().as_bytes()) as usize, n);
        }
        let before = interner.table().clone();
        interner.intern(b"later");
        assert_eq!(before.len(), 3 * PAGE + 7);
        assert_eq!(before.iter().count(), before.len());
        assert_eq!(interner.table().lookup(3 * 512 + 7), Some(&b"later"[..]));
        assert_eq!(interner.intern(b"600"), 600);
    }
}
