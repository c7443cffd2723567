//! Pages of 4 KiB, shared between the versions of a file that have them in common.

use std::sync::{Arc, LazyLock};

pub(super) const PAGE: u64 = 4096;
pub(super) const PAGE_LEN: usize = 4096;
pub(super) const SECTOR: usize = 512;

pub(super) type Page = Arc<[u8; PAGE_LEN]>;

/// Preallocated segments are mostly zeros: they share one page.
pub(super) static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::new([0; PAGE_LEN]));

/// Where in its page an offset lies.
pub(super) fn within(at: u64) -> usize {
    usize::try_from(at % PAGE).expect("less than a page")
}

/// A page put together from sectors of its versions, as a torn write leaves it.
pub(super) fn torn(
    media: Option<&Page>,
    versions: &[Option<Page>],
    sector: usize,
    mut choose: impl FnMut() -> usize,
) -> Option<Page> {
    let mut image = [0; PAGE_LEN];
    for start in (0..PAGE_LEN).step_by(sector) {
        let page = match choose().checked_sub(1) {
            None => media,
            Some(version) => versions.get(version).and_then(Option::as_ref),
        };
        if let Some(page) = page {
            image[start..start + sector].copy_from_slice(&page[start..start + sector]);
        }
    }
    Some(Arc::new(image))
}
