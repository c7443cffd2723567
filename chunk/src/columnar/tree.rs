//! Skeletons as a tree, by which lines like those before are recognised: literal text is compared, values are read,
//! and nothing is looked for. What is read prints as it is written, so a line that is recognised as what the lexer would
//! not have made of it loses nothing.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

#[cfg(test)]
mod tests;
mod value;
mod window;

use memchr::memchr;

use self::value::{Seen, digits, hex};
use self::window::{MASKS, WINDOW, Window, window};
use super::class::{Class, MAX_DIGITS, UUID_BYTES, digits_code, is_lower_hex, scan_ip4, starts_with_uuid};
use super::skeleton::{Part, parts};
use super::timestamp::Format;
use super::tokenize::{Extent, ends_run, field_end, run_end, span};

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
