//! Skeletons as a tree, by which lines like those before are recognised: literal text is compared, values are read,
//! and nothing is looked for. What is read prints as it is written, so a line that is recognised as what the lexer would
//! not have made of it loses nothing.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use memchr::memchr;

use super::class::{
    Class, MAX_DIGITS, UUID_BYTES, digits_code, hex_value, is_lower_hex, scan_ip4, starts_with_uuid,
};
use super::skeleton::{Part, parts};
use super::timestamp::{self, Format};
use super::tokenize::{Extent, ends_run, field_end, run_end, span};

/// Bytes that are compared at once.
const WINDOW: usize = 32;
type Window = [u64; WINDOW / 8];

/// No node.
const NONE: u32 = u32::MAX;
/// Nodes that one line is compared with at most.
const PATIENCE: usize = 64;
/// Nodes that are looked at before one is taken for new: that it is there twice costs less.
const LEARNT: usize = 16;
/// Lines after which it is known whether a tree recognises any.
const TRIAL: usize = 256;
/// Nodes of a tree at most.
const MAX_NODES: usize = 1 << 16;

/// Skeletons that begin alike share their nodes.
#[derive(Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    literals: Vec<u8>,
    times: Vec<Seen>,
    choices: Vec<Choice>,
    /// The line at hand, and zeros behind it.
    padded: Vec<u8>,
    /// The first of the nodes that skeletons begin with, plus one.
    root: u32,
    /// Lines that it was asked for, and those of them that it recognised.
    asked: usize,
    found: usize,
}

/// Where to go on if a line turns out to be another one: with the other nodes of the same text.
struct Choice {
    at: usize,
    parent: u32,
    number: u32,
    values: usize,
}

/// Literal text, and the slot or the end behind it.
#[derive(Clone, Copy)]
struct Node {
    /// What the text begins with, and which bits of it count.
    head: Window,
    mask: Window,
    start: u32,
    bytes: u32,
    slot: Slot,
    /// Another node with the same text comes before it, since its slot says more of a value.
    fixed: bool,
    /// And one behind it.
    rival: bool,
    /// The next node with the same text before it.
    next: u32,
    /// The first node behind it; of an end, its skeleton.
    child: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    End,
    Digits,
    Hex(u8),
    HexUpper(u8),
    HexBytes(u8),
    Ip4,
    Uuid,
    /// With the number of what was seen there.
    Time(Format, u32),
    Text(Extent),
}

impl Slot {
    /// Of slots behind the same text, the one that says most of a value is tried first.
    fn rank(self) -> u8 {
        match self {
            Self::Text(_) => 2,
            Self::Digits => 1,
            _ => 0,
        }
    }
}

/// The last time that was seen in a slot.
#[derive(Clone, Copy)]
struct Seen {
    text: [u8; 32],
    width: usize,
    /// Digits of the fraction, and what they count.
    digits: usize,
    scale: u64,
    whole: u64,
}

impl Tree {
    /// Whether it recognises enough of the lines that it is asked for. Otherwise to ask and to teach it take longer than
    /// they save.
    pub(crate) fn is_worth_asking(&self) -> bool {
        self.asked < TRIAL || self.found > self.asked / 4
    }

    /// The skeleton of a line that is like one of those before; its values are appended then.
    pub(crate) fn find(&mut self, line: &[u8], values: &mut Vec<u64>) -> Option<u32> {
        let start = values.len();
        self.padded.clear();
        self.padded.extend_from_slice(line);
        self.padded.extend_from_slice(&[0; WINDOW]);
        let found = self.walk(line, values);
        self.asked = self.asked.saturating_add(1);
        self.found = self.found.saturating_add(usize::from(found.is_some()));
        if found.is_none() {
            values.truncate(start);
        }
        found
    }

    fn walk(&mut self, line: &[u8], values: &mut Vec<u64>) -> Option<u32> {
        let Self { nodes, literals, times, choices, padded, root, .. } = self;
        choices.clear();
        let (mut at, mut parent, mut patience) = (0usize, NONE, PATIENCE);
        let mut number = root.wrapping_sub(1);
        // The node before it, and the first one behind the same text; none of them where a choice is taken back.
        let (mut before, mut first) = (NONE, number);
        loop {
            let head = window(padded, at);
            let found = loop {
                let Some(node) = nodes.get(number as usize) else { break None };
                if node.begins(&head)
                    && let Some((value, end)) = node.read(line, padded, at, literals, times)
                {
                    break Some((node, value, end));
                }
                patience = patience.checked_sub(1)?;
                (before, number) = (number, node.next);
            };
            let Some((node, value, end)) = found else {
                let choice = choices.pop()?;
                values.truncate(choice.values);
                (at, parent, number) = (choice.at, choice.parent, choice.number);
                (before, first) = (NONE, NONE);
                continue;
            };
            let &Node { slot, child, rival, fixed, next, .. } = node;
            if slot == Slot::End {
                return Some(child);
            }
            if rival {
                choices.push(Choice { at, parent, number: next, values: values.len() });
            }
            if before != NONE && first != NONE && !fixed {
                // The next line is likely to have the same.
                if let Some(before) = nodes.get_mut(before as usize) {
                    before.next = next;
                }
                if let Some(node) = nodes.get_mut(number as usize) {
                    node.next = first;
                }
                match nodes.get_mut(parent as usize) {
                    Some(parent) => parent.child = number,
                    None => *root = number.wrapping_add(1),
                }
            }
            values.push(value);
            (at, parent, number) = (end, number, child);
            (before, first) = (NONE, number);
        }
    }

    /// Adds a skeleton by its key, with the extents of its slots of text.
    pub(crate) fn learn(&mut self, key: &[u8], extents: &[Extent], skeleton: u32) {
        let mut extents = extents.iter();
        let (mut parent, mut literal) = (NONE, &[][..]);
        for part in parts(key) {
            let slot = match part {
                Part::Literal(text) => {
                    literal = text;
                    continue;
                }
                Part::Slot(class, _) => match class {
                    Class::Digits => Slot::Digits,
                    Class::Hex(width) => Slot::Hex(width),
                    Class::HexUpper(width) => Slot::HexUpper(width),
                    Class::HexBytes(width) => Slot::HexBytes(width),
                    Class::Ip4 => Slot::Ip4,
                    Class::Uuid => Slot::Uuid,
                    Class::Time(format) => Slot::Time(format, 0),
                    Class::Text => match extents.next() {
                        Some(extent @ (Extent::Run | Extent::Field | Extent::Quoted)) => Slot::Text(*extent),
                        _ => return,
                    },
                    Class::Number | Class::Padded(_) => return,
                },
            };
            let Some(node) = self.child(parent, literal, slot) else { return };
            (parent, literal) = (node, &[]);
        }
        if let Some(end) = self.child(parent, literal, Slot::End)
            && let Some(node) = self.nodes.get_mut(end as usize)
        {
            node.child = skeleton;
        }
    }

    /// The node of this text and slot behind another one, new if there is none.
    fn child(&mut self, parent: u32, literal: &[u8], slot: Slot) -> Option<u32> {
        let mut number = match self.nodes.get(parent as usize) {
            Some(parent) => parent.child,
            None => self.root.wrapping_sub(1),
        };
        let (head, bytes) = (window(literal, 0), u32::try_from(literal.len()).ok()?);
        // The last node with the same text that has to come before it.
        let (mut before, mut patience, mut rival) = (NONE, LEARNT, false);
        while let Some(node) = self.nodes.get_mut(number as usize)
            && let Some(left) = patience.checked_sub(1)
        {
            patience = left;
            if node.head == head && node.bytes == bytes && node.literal(&self.literals) == literal {
                let same_slot = match (node.slot, slot) {
                    (Slot::Time(a, _), Slot::Time(b, _)) => a == b,
                    (a, b) => a == b,
                };
                if same_slot {
                    return Some(number);
                }
                if node.slot.rank() <= slot.rank() {
                    before = number;
                    node.rival = true;
                } else {
                    node.fixed = true;
                    rival = true;
                }
            }
            number = node.next;
        }
        let new = u32::try_from(self.nodes.len()).ok().filter(|_| self.nodes.len() < MAX_NODES)?;
        let start = u32::try_from(self.literals.len()).ok()?;
        self.literals.extend_from_slice(literal);
        let slot = match slot {
            Slot::Time(format, _) => {
                self.times.push(Seen::none(format));
                Slot::Time(format, u32::try_from(self.times.len()).ok()?.wrapping_sub(1))
            }
            slot => slot,
        };
        let next = match (self.nodes.get(before as usize), self.nodes.get(parent as usize)) {
            (Some(before), _) => before.next,
            (None, Some(parent)) => parent.child,
            (None, None) => self.root.wrapping_sub(1),
        };
        self.nodes.push(Node {
            head,
            mask: MASKS.get(literal.len()).copied().unwrap_or([u64::MAX; WINDOW / 8]),
            start,
            bytes,
            slot,
            fixed: before != NONE,
            rival,
            next,
            child: NONE,
        });
        if let Some(before) = self.nodes.get_mut(before as usize) {
            before.next = new;
        } else if let Some(parent) = self.nodes.get_mut(parent as usize) {
            parent.child = new;
        } else {
            self.root = new.wrapping_add(1);
        }
        Some(new)
    }
}

/// For text of so many bytes, the bits of a window that count.
#[expect(clippy::indexing_slicing, reason = "it is done while compiling")]
static MASKS: [Window; WINDOW] = {
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
fn window(line: &[u8], at: usize) -> Window {
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

impl Node {
    /// Whether its text may be what follows in a line.
    #[inline]
    fn begins(&self, window: &Window) -> bool {
        let differ = self.head.iter().zip(window).zip(&self.mask);
        differ.fold(0, |all, ((ours, theirs), mask)| all | (ours ^ theirs) & mask) == 0
    }

    fn literal<'a>(&self, literals: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        literals.get(start..start.saturating_add(self.bytes as usize)).unwrap_or_default()
    }

    /// Reads the rest of the text and the value behind it, and gives where it ends.
    #[inline]
    fn read(
        &self,
        line: &[u8],
        padded: &[u8],
        at: usize,
        literals: &[u8],
        times: &mut [Seen],
    ) -> Option<(u64, usize)> {
        let from = at.saturating_add(self.bytes as usize);
        if self.bytes as usize > WINDOW {
            let text = self.literal(literals);
            if line.get(at.saturating_add(WINDOW)..from)? != text.get(WINDOW..)? {
                return None;
            }
        } else if from > line.len() {
            // Zeros behind the end are no text.
            return None;
        }
        let rest = line.get(from..)?;
        let end = |bytes: usize| from.saturating_add(bytes);
        let text = |bytes: usize| (bytes > 0).then(|| (span(from, end(bytes)), end(bytes)));
        match self.slot {
            Slot::End => rest.is_empty().then_some((0, from)),
            Slot::Digits => {
                let (value, digits) = digits(padded.get(from..)?);
                (1..=MAX_DIGITS).contains(&digits).then(|| (digits_code(value, digits), end(digits)))
            }
            Slot::Hex(width) | Slot::HexUpper(width) | Slot::HexBytes(width)
                if !ends_run(rest, width.into()) =>
            {
                None
            }
            Slot::Hex(width) => Some((hex(rest, width, u8::is_ascii_uppercase)?, end(width.into()))),
            Slot::HexUpper(width) => Some((hex(rest, width, u8::is_ascii_lowercase)?, end(width.into()))),
            Slot::HexBytes(width) => {
                let digits = rest.get(..usize::from(width))?;
                is_lower_hex(digits).then(|| (span(from, end(width.into())), end(width.into())))
            }
            Slot::Ip4 => scan_ip4(rest).map(|(address, bytes)| (address, end(bytes))),
            Slot::Uuid => starts_with_uuid(rest).then(|| (span(from, end(UUID_BYTES)), end(UUID_BYTES))),
            Slot::Time(format, seen) => {
                let (value, bytes) = times.get_mut(seen as usize)?.read(line, from, format)?;
                Some((value, end(bytes)))
            }
            Slot::Text(Extent::Run) => text(run_end(rest)),
            Slot::Text(Extent::Field) => text(field_end(rest)),
            Slot::Text(Extent::Quoted) => text(memchr(b'"', rest)?),
            Slot::Text(Extent::Other) => None,
        }
    }
}

/// The number that some text starts with, and its digits. Those of up to eight digits are read at once, if so many bytes
/// are there.
#[inline]
fn digits(text: &[u8]) -> (u64, usize) {
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    const NINES: u64 = u64::from_le_bytes([0x80 - 10; 8]);
    if let Some(&chunk) = text.first_chunk::<8>() {
        let from_zero = u64::from_le_bytes(chunk) ^ u64::from_le_bytes([b'0'; 8]);
        let others = ((from_zero & !HIGHS).wrapping_add(NINES) | from_zero) & HIGHS;
        if others != 0 {
            let bits = others.trailing_zeros() & !7;
            // Zeros in front of the number, which has its last digit in the highest byte.
            let digits = from_zero.checked_shl(64u32.wrapping_sub(bits)).unwrap_or(0);
            let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00FF_00FF_00FF_00FF;
            let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
            let value = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF;
            return (value, (bits / 8) as usize);
        }
    }
    long_digits(text)
}

fn long_digits(text: &[u8]) -> (u64, usize) {
    let (mut value, mut count) = (0u64, 0usize);
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        count = count.wrapping_add(1);
    }
    (value, count)
}

/// A number of so many hex digits, none of the other case.
fn hex(text: &[u8], width: u8, other: impl Fn(&u8) -> bool) -> Option<u64> {
    let digits = text.get(..usize::from(width))?;
    if digits.iter().any(other) {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| Some(value << 4 | u64::from(hex_value(byte)?)))
}

impl Seen {
    fn none(format: Format) -> Self {
        let digits = format.fraction_digits();
        let scale = 1_000_000_000u64.checked_div(format.unit_ns()).unwrap_or(1);
        Self { text: [0; 32], width: 0, digits, scale, whole: 0 }
    }

    /// The time at a place, and its bytes. Where all but the fraction is what it was the last time, only that is read.
    fn read(&mut self, line: &[u8], at: usize, format: Format) -> Option<(u64, usize)> {
        let bytes = self.width.saturating_add(self.digits);
        let found = line.get(at..at.saturating_add(bytes))?;
        let (whole, fraction) = found.split_at_checked(self.width)?;
        let behind = line.get(at.saturating_add(bytes)).copied().unwrap_or_default();
        // With more of a fraction it has another format.
        let is_whole =
            if self.digits == 0 { !matches!(behind, b'.' | b',') } else { !behind.is_ascii_digit() };
        if is_whole && self.width > 0 && self.text.get(..self.width) == Some(whole) {
            let (value, digits) = digits(fraction);
            return (digits == self.digits).then(|| (self.whole.wrapping_add(value), bytes));
        }
        let stamp = timestamp::of_format(line, at, format)?;
        self.width = stamp.bytes.saturating_sub(self.digits);
        let whole = line.get(at..at.saturating_add(self.width))?;
        self.text.get_mut(..self.width)?.copy_from_slice(whole);
        self.whole = stamp.value.wrapping_sub(stamp.value.checked_rem(self.scale).unwrap_or(0));
        Some((stamp.value, stamp.bytes))
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::super::tokenize::{Level, Lexer, Words, spanned};
    use super::*;

    /// Learns from some lines, and gives what others are recognised as: skeleton and text of the values.
    fn found(learnt: &[&str], level: Level, line: &str) -> Option<(u32, Vec<u64>)> {
        let (mut tree, mut lexer) = (Tree::default(), Lexer::default());
        let mut words = Words::new();
        words.frequent = 9;
        for (number, line) in (0..).zip(learnt) {
            assert!(lexer.cut(line.as_bytes(), level, &words));
            tree.learn(&lexer.key, &lexer.extents, number);
            let mut values = vec![7];
            assert_eq!(tree.find(line.as_bytes(), &mut values), Some(number), "{line}");
            assert_eq!(values.get(1..), Some(&lexer.values[..]), "{line}");
        }
        let mut values = Vec::new();
        tree.find(line.as_bytes(), &mut values).map(|number| (number, values))
    }

    #[test]
    fn a_line_like_one_before_is_recognised_with_its_values() {
        let learnt = [
            "user 7 of 10.0.0.1 took 35ms",
            "user 7 of 10.0.0.1 left",
            "2026-03-07T12:00:01.250Z id deadbeef01 end",
            "Mar  7 12:00:01 host a[5]: x",
        ];
        assert_eq!(
            found(&learnt, Level::Digits, "user 12 of 1.2.3.4 left"),
            Some((1, vec![digits_code(12, 2), 0x0102_0304]))
        );
        let later = found(&learnt, Level::Digits, "2026-03-07T12:00:01.251Z id 0123456789 end");
        assert_eq!(later.map(|(number, values)| (number, values[1])), Some((2, 0x01_2345_6789)));
        assert_eq!(
            found(&learnt, Level::Digits, "Mar 17 12:00:02 host a[6]: x").map(|found| found.0),
            Some(3)
        );
        for other in [
            "user 7 of 10.0.0.1",
            "user x of 10.0.0.1 left",
            "user 7 of 10.0.0.1 left.",
            "",
            "Mar 99 12:00:02 host a[6]: x",
        ] {
            assert_eq!(found(&learnt, Level::Digits, other), None, "{other}");
        }
    }

    #[test]
    fn numbers_read_eight_bytes_at_a_time_as_they_do_byte_by_byte() {
        let texts =
            ["00000000000000000000", "99999999999999999999", "12345678901234567890", "90817263544536271809"];
        for (text, count) in texts.iter().flat_map(|text| (0..=20).map(move |count| (text, count))) {
            for (byte, behind) in (0..=u8::MAX).flat_map(|byte| (0..=9).map(move |behind| (byte, behind))) {
                let mut text = text.as_bytes()[..count].to_vec();
                text.push(byte);
                text.extend_from_slice(&b"7\xff0/:9\0 5"[..behind]);
                let (value, width) = digits(&text);
                let shown = text.escape_ascii();
                assert_eq!((value, width), long_digits(&text), "{shown}");
                if width < 20 {
                    let printed = std::str::from_utf8(&text[..width]).unwrap();
                    assert_eq!(value, printed.parse().unwrap_or(0), "{shown}");
                }
            }
        }
    }

    #[test]
    fn text_reaches_as_far_as_the_lexer_says() {
        let learnt = ["say=\"two words\" to=somebody", "say=nothing", "of x1y2z3q4 more"];
        let line = "say=\"other words, many\" to=nobody";
        let (number, values) = found(&learnt, Level::Fields, line).unwrap();
        let texts: Vec<_> = values.iter().map(|&value| spanned(line.as_bytes(), value)).collect();
        assert_eq!((number, texts), (0, vec![&b"say"[..], b"other words, many", b"to", b"nobody"]));
        assert_eq!(found(&learnt, Level::Fields, "say=\"two words to=nobody"), None);
    }

    /// Of slots behind the same text the first that fits is taken, and taken back if the line then is none.
    #[test]
    fn a_choice_that_leads_nowhere_is_taken_back() {
        let learnt = ["v=\"one\" x", "v=\"one two\" x", "v=\"one\" y"];
        let line = "v=\"six seven\" x";
        let (number, values) = found(&learnt, Level::Fields, line).unwrap();
        let texts: Vec<_> = values.iter().map(|&value| spanned(line.as_bytes(), value)).collect();
        assert_eq!((number, &texts[1..]), (1, &[&b"six seven"[..], b"x"][..]));
        // And any number of kinds of lines is learnt.
        let kinds: Vec<String> = (0..200).map(|n| format!("kind {} {n}", "x".repeat(n))).collect();
        let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
        assert_eq!(found(&kinds, Level::Digits, kinds[199]).map(|found| found.0), Some(199));
    }
}
