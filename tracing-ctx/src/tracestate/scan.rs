//! The grammar of a whole list as a state machine: one look-up and one shift for each byte, without branches.
//!
//! It says yes only to lists that are valid. What it does not say yes to, [`member`](super::member) examines
//! member by member, which is slow, and exact about what is wrong.

use super::member::{KEY, KEY_START, MAX_KEY, MAX_VALUE, VALUE, class};

/// A state is a bit offset: in the row of a byte, the number at the offset of a state is the state after it.
/// Shifted by the state, a row is the next one, and whatever stands above its five bits does not matter (the
/// shift-based machine of Per Vognsen, 2021).
const BETWEEN: u32 = 0;
const IN_KEY: u32 = 5;
const BEFORE_VALUE: u32 = 10;
const IN_VALUE: u32 = 15;
const BEHIND_VALUE: u32 = 20;
const FAULT: u32 = 25;

static ROWS: [u32; 256] = {
    let mut rows = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let row = row(byte as u8);
        rows[byte] = row;
        byte += 1;
    }
    rows
};

/// Where each state goes from with this byte.
const fn row(byte: u8) -> u32 {
    let between = match byte {
        b' ' | b'\t' | b',' => BETWEEN,
        _ if class(byte) & KEY_START != 0 => IN_KEY,
        _ => FAULT,
    };
    let in_key = match byte {
        b'=' => BEFORE_VALUE,
        _ if class(byte) & KEY != 0 => IN_KEY,
        _ => FAULT,
    };
    // Spaces in front of a value belong to it, but there has to be more.
    let before_value = match byte {
        b' ' => BEFORE_VALUE,
        _ if class(byte) & VALUE != 0 => IN_VALUE,
        _ => FAULT,
    };
    // Spaces at its end do not, yet nobody knows before the end.
    let in_value = match byte {
        b',' => BETWEEN,
        b'\t' => BEHIND_VALUE,
        _ if class(byte) & VALUE != 0 => IN_VALUE,
        _ => FAULT,
    };
    let behind_value = match byte {
        b',' => BETWEEN,
        b' ' | b'\t' => BEHIND_VALUE,
        _ => FAULT,
    };
    (between << BETWEEN)
        | (in_key << IN_KEY)
        | (before_value << BEFORE_VALUE)
        | (in_value << IN_VALUE)
        | (behind_value << BEHIND_VALUE)
        | (FAULT << FAULT)
}

/// The number of members, or `None` if this is no list or has to be looked at more closely.
pub(super) fn members(text: &[u8]) -> Option<usize> {
    let mut state = BETWEEN;
    for &byte in text {
        state = ROWS[usize::from(byte)] >> (state & 31);
    }
    if !matches!(state & 31, BETWEEN | IN_VALUE | BEHIND_VALUE) {
        return None;
    }
    // Each member has one equals sign.
    let mut members = 0;
    for block in text.chunks(BLOCK) {
        let equals = count(block, b'=');
        if text.len() > MAX_KEY && block.len() == BLOCK && equals + count(block, b',') == 0 {
            return None;
        }
        members += usize::from(equals);
    }
    Some(members)
}

/// How often a byte stands in a block.
fn count(block: &[u8], byte: u8) -> u8 {
    block.iter().map(|&other| u8::from(other == byte)).sum()
}

/// A key or a value that is too long spans a whole block of this many bytes, wherever it begins.
const BLOCK: usize = 128;
const _: () = assert!(2 * BLOCK - 1 <= MAX_KEY && MAX_KEY == MAX_VALUE && BLOCK <= u8::MAX as usize);
