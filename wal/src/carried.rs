//! What a segment hands on to the next, so that the last one alone says it: the streams there are, and the newest
//! checkpoint; and up to where the streams have records.

use std::collections::BTreeMap;

use crate::control::{Checkpoint, StreamDef};
use crate::lasts::Lasts;

/// Checkpoint and streams, as the last frames that speak of them say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// By id.
    pub(crate) streams: BTreeMap<u32, StreamDef>,
    /// What ended streams, by id: as many as there may be streams.
    pub(crate) gone: BTreeMap<u32, StreamDef>,
    /// In this segment, and not handed on.
    pub(crate) lasts: Lasts,
}

impl Carried {
    /// How many frames behind its start a segment has that begins with copies.
    pub(crate) fn frames(&self) -> u64 {
        self.streams.len() as u64 + u64::from(self.checkpoint.is_some())
    }

    /// Whether this is only copies of what the segment before hands on, and not all of them.
    pub(crate) fn is_part_of(&self, before: &Self) -> bool {
        let known = |(id, def): (&u32, &StreamDef)| before.streams.get(id) == Some(def);
        let checkpoint = self.checkpoint.is_none() || self.checkpoint == before.checkpoint;
        let copies = self.gone.is_empty() && checkpoint && self.streams.iter().all(known);
        copies && self.frames() < before.frames()
    }

    /// Takes a newer checkpoint; whether it is one.
    pub(crate) fn checkpoint(&mut self, new: Option<Checkpoint>) -> bool {
        let fits = new.is_some();
        self.checkpoint = new.or(self.checkpoint.take());
        fits
    }

    /// Takes what is said of a stream; whether it is anything, and there may be so many.
    pub(crate) fn stream(&mut self, new: Option<StreamDef>) -> bool {
        let Some(new) = new else { return false };
        self.lasts.named(new.id);
        if new.flags & StreamDef::DROPPED != 0 {
            self.streams.remove(&new.id);
            self.lasts.gone(new.id);
            if self.gone.len() < StreamDef::MAX_STREAMS {
                self.gone.insert(new.id, new);
            }
            return true;
        }
        let fits = self.streams.len() < StreamDef::MAX_STREAMS || self.streams.contains_key(&new.id);
        if fits {
            self.gone.remove(&new.id);
            if !self.streams.contains_key(&new.id) {
                self.lasts.known(&new);
            }
            self.streams.insert(new.id, new);
        }
        fits
    }

    /// There is a record of this stream, up to this LSN, in the group that is being walked.
    #[inline]
    pub(crate) fn record(&mut self, stream: u32, end: u64) {
        self.lasts.saw((stream, end), |id| self.streams.contains_key(&id));
    }

    /// All of the group is there.
    pub(crate) fn group(&mut self) {
        self.lasts.group(|id| self.streams.contains_key(&id));
    }

    /// Takes what a later segment says of streams, as far as there may be so many: where it certainly begins with all
    /// that there were, the others are gone.
    pub(crate) fn streams_of(&mut self, later: &Self, lists_all: bool) {
        let said = |id| later.streams.contains_key(id) || later.gone.contains_key(id);
        let absent = self.streams.values().filter(|def| lists_all && !said(&def.id)).cloned();
        for def in absent.collect::<Vec<_>>() {
            self.stream(Some(StreamDef { flags: StreamDef::DROPPED, ..def }));
        }
        for def in later.streams.values().chain(later.gone.values()) {
            self.stream(Some(def.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_may_be_so_many_streams_and_no_more() {
        let def = |id, flags| Some(StreamDef { id, flags, low: 1, name: "s".to_owned() });
        let mut carried = Carried::default();
        assert!((1..=4096).all(|id| carried.stream(def(id, 0))));
        assert!(!carried.stream(def(4097, 0)));
        assert!(carried.stream(def(7, 0)), "said anew");
        assert!(carried.stream(def(7, StreamDef::DROPPED)) && carried.stream(def(4097, 0)));
        assert_eq!((carried.streams.len(), carried.streams.contains_key(&7)), (4096, false));
        assert!(!carried.stream(None) && !carried.checkpoint(None));
    }
}
