//! Who holds a log's records: pins, and streams that have not given them up.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::Lsn;
use crate::control::StreamDef;
use crate::directory::Directory;
use crate::error::{Pinned, Reject};
use crate::format::FIRST_LSN;
use crate::lasts::LastEnd;

/// Holds a log's records from an LSN on; dropping it lets go.
///
/// Pins live in memory: an application that needs records after a restart takes its pins before it truncates.
#[must_use = "a pin that is dropped holds nothing"]
pub struct Pin {
    pins: Arc<Mutex<Pins>>,
    id: u64,
}

impl Pin {
    /// The first record that is held: what was asked for, or the low watermark where that was higher already, or on
    /// its way to be.
    pub fn lsn(&self) -> Lsn {
        let pins = self.pins.lock();
        pins.held.get(&self.id).map_or(Lsn::FIRST, |(_, lsn)| Lsn(pins.floor.max(*lsn)))
    }

    /// Lets go of records below `lsn`; a lower LSN than before changes nothing.
    pub fn advance(&self, lsn: Lsn) {
        if let Some((_, held)) = self.pins.lock().held.get_mut(&self.id) {
            *held = lsn.0.max(*held);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.lock().held.remove(&self.id);
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").field("lsn", &self.lsn()).finish_non_exhaustive()
    }
}

/// All pins of a log, each with what it was asked to hold, and the LSN below which none holds anything. While a pin
/// below it is held the floor does not rise; it sinks where a truncation fails.
#[derive(Debug)]
pub(crate) struct Pins {
    held: BTreeMap<u64, (Arc<str>, u64)>,
    next_id: u64,
    pub(crate) floor: u64,
    /// By id.
    streams: BTreeMap<u32, Held>,
    /// How far those have gone who speak for the records of no stream.
    asked: u64,
}

/// What a stream holds: its records from what it has given up on, if it has any.
#[derive(Debug)]
struct Held {
    name: Arc<str>,
    /// Records below are gone, durably.
    low: u64,
    /// Records below are given up; at least `low`, and more where the log had no room to take note of it.
    given_up: u64,
    /// After its last record.
    end: LastEnd,
    /// Whether the stream was dropped, for its handles and readers.
    is_gone: Arc<AtomicBool>,
}

impl Pins {
    pub(crate) fn new(low: u64) -> Self {
        let floor = low.max(FIRST_LSN);
        Self { held: BTreeMap::new(), next_id: 0, floor, streams: BTreeMap::new(), asked: floor }
    }

    pub(crate) fn pin(pins: &Arc<Mutex<Self>>, name: Arc<str>, lsn: u64) -> Pin {
        let mut this = pins.lock();
        let id = this.next_id;
        this.next_id += 1;
        this.held.insert(id, (name, lsn));
        Pin { pins: pins.clone(), id }
    }

    /// The oldest pin and the bytes from it on.
    pub(crate) fn oldest(&self, directory: &Directory) -> Option<Pinned> {
        let (name, lsn) = self.all().min_by_key(|(_, lsn)| *lsn)?;
        let lsn = self.floor.max(lsn);
        Some(Pinned { name: name.clone(), lsn: Lsn(lsn), bytes: directory.bytes_from(lsn) })
    }

    /// Who holds what.
    fn all(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        let streams = self.streams.values().filter(|stream| stream.given_up < stream.end.get());
        let pins = self.held.values().map(|(name, lsn)| (name, *lsn));
        pins.chain(streams.map(|stream| (&stream.name, stream.given_up)))
    }

    /// There is a stream, with records below `end`; one that is there already stays. Answers whether it is gone, now and
    /// later.
    pub(crate) fn add_stream(&mut self, def: &StreamDef, end: u64) -> Arc<AtomicBool> {
        // What the log has given up is gone for it too, whether or not it said so.
        let low = def.low.max(self.floor);
        let held = self.streams.entry(def.id).or_insert_with(|| Held {
            name: def.name.as_str().into(),
            low,
            given_up: low,
            end: LastEnd::new(end),
            is_gone: Arc::default(),
        });
        held.is_gone.clone()
    }

    /// A stream holds nothing any more.
    pub(crate) fn drop_stream(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(&id) {
            stream.is_gone.store(true, Ordering::Release);
        }
    }

    /// A stream has these records, and the log those below `written`.
    pub(crate) fn stream_came(&mut self, id: u32, lsns: &Range<u64>, written: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.end.came(lsns, written);
        }
    }

    /// Numbers from `next` on were taken back.
    pub(crate) fn took_back(&mut self, next: u64) {
        self.streams.values_mut().for_each(|stream| stream.end.took_back(next));
    }

    /// Records of the stream below are gone: all of one that is.
    pub(crate) fn stream_low(&self, id: u32) -> u64 {
        self.streams.get(&id).map_or(u64::MAX, |stream| stream.low)
    }

    /// The records of no stream are given up below `lsn`.
    pub(crate) fn asked(&mut self, lsn: u64) {
        self.asked = self.asked.max(lsn);
    }

    /// A stream gives up its records below `lsn`; how far a truncation may go for the sake of those that belong to none,
    /// of which the last is before `plain_end`.
    pub(crate) fn give_up(&mut self, (id, lsn): (u32, u64), plain_end: u64) -> Result<u64, Reject> {
        let stream = self.streams.get_mut(&id).ok_or(Reject::StreamDropped { id })?;
        stream.given_up = stream.given_up.max(lsn);
        Ok(if self.asked >= plain_end { u64::MAX } else { self.asked })
    }

    /// Which streams have given up more than is durable, and below which LSN.
    pub(crate) fn unnoted(&self) -> Vec<(u32, u64)> {
        let unnoted = self.streams.iter().filter(|(_, stream)| stream.given_up > stream.low);
        unnoted.map(|(id, stream)| (*id, stream.given_up)).collect()
    }

    /// What a stream has given up is durable.
    pub(crate) fn noted(&mut self, id: u32, low: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.low = low;
        }
    }

    /// How far a truncation to `lsn` may go; pins taken from now on stay above. Answers the former floor too.
    pub(crate) fn lower(&mut self, lsn: u64) -> (u64, u64) {
        let oldest = self.all().map(|(_, lsn)| lsn).min().unwrap_or(u64::MAX);
        let oldest = if cfg!(wal_mutant = "ignore_pins") { u64::MAX } else { oldest };
        let before = self.floor;
        self.floor = before.max(lsn.min(oldest));
        (self.floor, before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(low: u64) -> Arc<Mutex<Pins>> {
        Arc::new(Mutex::new(Pins::new(low)))
    }

    #[test]
    fn the_oldest_pin_stops_a_truncation_until_it_advances_or_drops() {
        let pins = pins(1);
        let old = Pins::pin(&pins, "old".into(), 10);
        let young = Pins::pin(&pins, "young".into(), 20);
        assert_eq!(pins.lock().lower(30).0, 10);
        assert_eq!(&*pins.lock().oldest(&Directory::default()).unwrap().name, "old");
        old.advance(Lsn(15));
        old.advance(Lsn(3));
        assert_eq!((old.lsn(), pins.lock().lower(30).0), (Lsn(15), 15));
        drop(old);
        assert_eq!(pins.lock().lower(30).0, 20);
        drop(young);
        assert_eq!(pins.lock().lower(30).0, 30);
    }

    /// It kept the LSN that the truncation would have gone to.
    #[test]
    fn a_pin_taken_while_a_truncation_fails_holds_what_it_was_asked_to() {
        let pins = pins(1);
        let (_, before) = pins.lock().lower(9);
        let during = Pins::pin(&pins, "during".into(), 3);
        assert_eq!(during.lsn(), Lsn(9), "as long as nobody knows");
        pins.lock().floor = before;
        assert_eq!((during.lsn(), pins.lock().lower(30).0), (Lsn(3), 3));
    }

    #[test]
    fn a_pin_cannot_reach_below_what_is_gone_or_going() {
        let pins = pins(5);
        assert_eq!(Pins::pin(&pins, "a".into(), 1).lsn(), Lsn(5));
        pins.lock().lower(9);
        assert_eq!(Pins::pin(&pins, "b".into(), 1).lsn(), Lsn(9));
    }
}
