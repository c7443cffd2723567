//! Literal text by its first bytes, which are compared at once.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// Bytes that are compared at once.
pub(super) const WINDOW: usize = 32;
pub(super) type Window = [u64; WINDOW / 8];

/// For text of so many bytes, the bits of a window that count.
#[expect(clippy::indexing_slicing, reason = "it is done while compiling")]
pub(super) static MASKS: [Window; WINDOW] = {
    let mut all = [[0; WINDOW / 8]; WINDOW];
    let mut bytes = 0;
    while bytes < WINDOW {
        let mut byte = 0;
        while byte < bytes {
            all[bytes][byte / 8] |= 0xFF << (byte % 8 * 8);
            byte += 1;
        }
        bytes += 1;
    }
    all
};

/// The next bytes of a line, zeros behind its end.
#[inline]
pub(super) fn window(line: &[u8], at: usize) -> Window {
    let rest = line.get(at..).unwrap_or_default();
    let chunk = rest.first_chunk::<WINDOW>().copied().unwrap_or_else(|| {
        let mut padded = [0; WINDOW];
        if let Some(start) = padded.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        padded
    });
    let mut words = Window::default();
    words.iter_mut().zip(chunk.as_chunks().0).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    words
}
