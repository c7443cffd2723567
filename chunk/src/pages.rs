//! Items in pages that clones share: a clone copies a kibibyte, and what is pushed to it, or to what it was cloned from,
//! copies one page. A part that is pushed at once lies in one page as a whole. The last items wait outside of their page
//! until they are some: whether somebody shares it is asked once for all of them.

use std::sync::Arc;

/// Items by the place of their part. A page has `2^BITS` items, or one part that is longer.
#[derive(Debug, Clone)]
pub(crate) struct Pages<T, const BITS: u32> {
    pages: Vec<Arc<Page<T, BITS>>>,
    /// The last items of the last page, behind those that are in it.
    tail: Vec<T>,
    /// How many of the last page are in it.
    filled: usize,
    /// What all pages have taken.
    bytes: usize,
}

#[derive(Debug)]
struct Page<T, const BITS: u32>(Vec<T>);

/// A page is copied when it is written to, so the copy has room for as much.
impl<T: Copy, const BITS: u32> Clone for Page<T, BITS> {
    fn clone(&self) -> Self {
        let mut items = Vec::with_capacity(self.0.capacity());
        items.extend_from_slice(&self.0);
        Self(items)
    }
}

impl<T, const BITS: u32> Default for Pages<T, BITS> {
    fn default() -> Self {
        Self { pages: Vec::new(), tail: Vec::new(), filled: 0, bytes: 0 }
    }
}

impl<T: Copy, const BITS: u32> Pages<T, BITS> {
    const PAGE: usize = 1 << BITS;
    /// As many as places of 32 bits reach.
    const MAX_PAGES: usize = 1 << (u32::BITS - BITS);
    /// The first page of an idle stream is small.
    const LEAST: usize = Self::PAGE / 64;
    /// Items that wait at most: a kibibyte, and less than a page.
    const TAIL: usize = {
        let kibibyte = (1 << 10) / size_of::<T>();
        if kibibyte < Self::PAGE / 4 { kibibyte } else { Self::PAGE / 4 }
    };

    /// Adds a part in amortised constant time for each item; its place. Parts of one item have the places 0, 1, 2 and
    /// so on.
    ///
    /// The caller stops when it is [full](Self::is_full).
    #[inline]
    pub(crate) fn push(&mut self, part: &[T]) -> u32 {
        if part.is_empty() {
            return 0;
        }
        let start = self.filled + self.tail.len();
        if self.pages.is_empty()
            || self.tail.len() + part.len() > Self::TAIL
            || start + part.len() > Self::PAGE
        {
            return self.push_behind(part);
        }
        self.tail.extend_from_slice(part);
        self.place(start)
    }

    /// The same where nothing may wait before it.
    fn push_behind(&mut self, part: &[T]) -> u32 {
        self.settle();
        if self.pages.is_empty() || self.filled + part.len() > Self::PAGE {
            self.pages.push(Arc::new(Page(Vec::new())));
            self.filled = 0;
        }
        let start = self.filled;
        if part.len() > Self::TAIL {
            self.put(part);
        } else {
            self.tail.extend_from_slice(part);
        }
        self.place(start)
    }

    #[inline]
    fn place(&self, start: usize) -> u32 {
        let place = (self.pages.len() - 1) << BITS | start;
        u32::try_from(place).expect("pages are full before their places do not fit")
    }

    /// Puts what waits where it belongs.
    fn settle(&mut self) {
        if !self.tail.is_empty() {
            let mut tail = std::mem::take(&mut self.tail);
            self.put(&tail);
            tail.clear();
            self.tail = tail;
        }
    }

    /// Appends items to the last page, a copy of it if it is shared.
    fn put(&mut self, part: &[T]) {
        let least = if self.pages.len() == 1 { Self::LEAST } else { Self::PAGE };
        let page = self.pages.last_mut().expect("a page was pushed for them");
        let before = page.0.capacity();
        let items = &mut Arc::make_mut(page).0;
        let end = items.len() + part.len();
        if items.capacity() < end {
            items.reserve_exact((2 * before).min(Self::PAGE).max(least).max(end) - items.len());
        }
        // A copy may have another capacity than its source.
        self.bytes = self.bytes - before * size_of::<T>() + items.capacity() * size_of::<T>();
        items.extend_from_slice(part);
        self.filled = items.len();
    }

    /// The part of that place and length.
    #[inline]
    pub(crate) fn get(&self, place: u32, length: u32) -> Option<&[T]> {
        let (place, length) = (usize::try_from(place).ok()?, usize::try_from(length).ok()?);
        if length == 0 {
            return Some(&[]);
        }
        let (number, start) = (place >> BITS, place & (Self::PAGE - 1));
        let page = &self.pages.get(number)?.0;
        if start < page.len() || number + 1 < self.pages.len() {
            return page.get(start..start + length);
        }
        let start = start - page.len();
        self.tail.get(start..start + length)
    }

    /// Every item in the order they were pushed in.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| &page.0).chain(&self.tail)
    }

    /// Whether another page would have places that do not fit.
    pub(crate) fn is_full(&self) -> bool {
        self.pages.len() >= Self::MAX_PAGES
    }

    /// Gives back the room for more.
    pub(crate) fn shrink(&mut self) {
        self.settle();
        self.tail = Vec::new();
        if let Some(Page(items)) = self.pages.last_mut().and_then(Arc::get_mut) {
            let before = items.capacity();
            items.shrink_to_fit();
            self.bytes -= (before - items.capacity()) * size_of::<T>();
        }
    }

    /// What it takes in memory, shared or not.
    pub(crate) fn memory_bytes(&self) -> usize {
        // A page that is shared has two counts before it.
        let shared = 2 * size_of::<usize>() + size_of::<Page<T, BITS>>();
        let tail = self.tail.capacity() * size_of::<T>();
        self.bytes
            + tail
            + self.pages.len() * shared
            + self.pages.capacity() * size_of::<Arc<Page<T, BITS>>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Small = Pages<u8, 7>;

    #[test]
    fn a_part_comes_back_from_its_place_as_a_whole() {
        let mut pages = Small::default();
        let parts: Vec<Vec<u8>> = [3usize, 0, 120, 6, 128, 1, 1000, 127, 2, 0, 5]
            .map(|length| vec![length.to_le_bytes()[0]; length])
            .into();
        let places: Vec<u32> = parts.iter().map(|part| pages.push(part)).collect();
        for (part, place) in parts.iter().zip(places) {
            assert_eq!(pages.get(place, u32::try_from(part.len()).unwrap()), Some(&part[..]));
        }
        assert_eq!(pages.iter().count(), parts.concat().len());
        assert_eq!(pages.get(u32::MAX, 1), None);
        assert_eq!(pages.get(0, 200), None, "a part ends with its page");
    }

    #[test]
    fn items_that_are_pushed_one_by_one_are_numbered() {
        let mut pages = Small::default();
        for n in 0..1000u32 {
            assert_eq!(pages.push(&[n.to_le_bytes()[0]]), n);
        }
    }

    #[test]
    fn what_is_pushed_after_a_clone_copies_one_page_and_is_not_seen_by_it() {
        let mut pages = Small::default();
        (0..900u32).for_each(|n| assert_eq!(pages.push(&[n.to_le_bytes()[0]]), n));
        let clone = pages.clone();
        let shared =
            |pages: &Small| pages.pages.iter().zip(&clone.pages).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        pages.push(b"x");
        assert_eq!((pages.iter().count(), clone.iter().count()), (901, 900));
        assert_eq!(shared(&pages), clone.pages.len(), "one item waits");
        // As many as the page has room for, but too many to wait.
        assert_eq!(pages.push(&[b'y'; Small::TAIL + 1]), 901);
        assert_eq!(shared(&pages), clone.pages.len() - 1);
        assert_eq!((clone.iter().count(), clone.get(900, 1)), (900, None));
        assert_eq!((pages.get(900, 1), pages.get(901, 1)), (Some(&b"x"[..]), Some(&b"y"[..])));
    }

    #[test]
    fn memory_is_what_the_pages_have_taken() {
        let mut pages = Small::default();
        for n in 0..500 {
            pages.push(&vec![1; n % 300]);
            let taken: usize = pages.pages.iter().map(|page| page.0.capacity()).sum();
            assert_eq!(pages.bytes, taken);
        }
        pages.shrink();
        assert_eq!(pages.bytes, pages.pages.iter().map(|page| page.0.capacity()).sum::<usize>());
    }

    /// The page that was copied had room for more that nobody had counted: giving it back went below nothing.
    #[test]
    fn memory_is_what_the_pages_have_taken_beside_a_clone_too() {
        for kept in 0..300 {
            let mut pages = Small::default();
            let mut clone = Small::default();
            for n in 0..300 {
                if n == kept {
                    clone = pages.clone();
                }
                pages.push(b"x");
                let taken = |pages: &Small| pages.pages.iter().map(|page| page.0.capacity()).sum::<usize>();
                assert_eq!((pages.bytes, clone.bytes), (taken(&pages), taken(&clone)));
            }
            pages.shrink();
            assert_eq!(pages.bytes, 300);
        }
    }

    #[test]
    fn pages_are_full_before_places_do_not_fit() {
        let mut pages = Pages::<u8, 30>::default();
        for _ in 0..4 {
            assert!(!pages.is_full());
            // As if there were a page of a gibibyte.
            pages.pages.push(Arc::new(Page(Vec::new())));
        }
        assert!(pages.is_full());
    }
}
