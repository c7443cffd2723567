//! Items in pages that clones share: a clone copies no item, and what is pushed to it, or to what it was cloned from,
//! copies one page. A part that is pushed at once lies in one page as a whole.

use std::sync::Arc;

/// Items by the place of their part. A page has `2^BITS` items, or one part that is longer.
#[derive(Debug, Clone)]
pub(crate) struct Pages<T, const BITS: u32> {
    pages: Vec<Arc<Page<T, BITS>>>,
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
        Self { pages: Vec::new(), bytes: 0 }
    }
}

impl<T: Copy, const BITS: u32> Pages<T, BITS> {
    const PAGE: usize = 1 << BITS;
    /// As many as places of 32 bits reach.
    const MAX_PAGES: usize = 1 << (u32::BITS - BITS);
    /// The first page of an idle stream is small.
    const LEAST: usize = Self::PAGE / 64;

    /// Adds a part in amortised constant time for each item; its place. Parts of one item have the places 0, 1, 2 and
    /// so on.
    ///
    /// The caller stops when it is [full](Self::is_full).
    #[inline]
    pub(crate) fn push(&mut self, part: &[T]) -> u32 {
        if part.is_empty() {
            return 0;
        }
        if self.pages.last().is_none_or(|page| page.0.len() + part.len() > Self::PAGE) {
            let least = if self.pages.is_empty() { Self::LEAST } else { Self::PAGE };
            let page = Vec::with_capacity(part.len().max(least));
            self.bytes += page.capacity() * size_of::<T>();
            self.pages.push(Arc::new(Page(page)));
        }
        let number = self.pages.len() - 1;
        let page = self.pages.last_mut().expect("a page was pushed if there was none with room");
        let before = page.0.capacity();
        let items = &mut Arc::make_mut(page).0;
        let start = items.len();
        if items.capacity() - start < part.len() {
            items.reserve_exact((2 * before).min(Self::PAGE).max(start + part.len()) - start);
        }
        // A copy may have another capacity than its source.
        self.bytes = self.bytes - before * size_of::<T>() + items.capacity() * size_of::<T>();
        items.extend_from_slice(part);
        u32::try_from(number << BITS | start).expect("pages are full before their places do not fit")
    }

    /// The part of that place and length.
    #[inline]
    pub(crate) fn get(&self, place: u32, length: u32) -> Option<&[T]> {
        let (place, length) = (usize::try_from(place).ok()?, usize::try_from(length).ok()?);
        if length == 0 {
            return Some(&[]);
        }
        let start = place & (Self::PAGE - 1);
        self.pages.get(place >> BITS)?.0.get(start..start + length)
    }

    /// Every item in the order they were pushed in.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| &page.0)
    }

    /// Whether another page would have places that do not fit.
    pub(crate) fn is_full(&self) -> bool {
        self.pages.len() >= Self::MAX_PAGES
    }

    /// Gives back the room for more.
    pub(crate) fn shrink(&mut self) {
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
        self.bytes + self.pages.len() * shared + self.pages.capacity() * size_of::<Arc<Page<T, BITS>>>()
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
        (0..1000u32).for_each(|n| assert_eq!(pages.push(&[n.to_le_bytes()[0]]), n));
        let clone = pages.clone();
        pages.push(b"x");
        assert_eq!((pages.iter().count(), clone.iter().count()), (1001, 1000));
        let shared = pages.pages.iter().zip(&clone.pages).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, clone.pages.len() - 1);
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
