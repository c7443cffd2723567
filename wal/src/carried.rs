//! What a segment hands on to the next, so that the last one alone says it: the streams there are, and the newest
//! checkpoint.

use std::collections::BTreeMap;

use crate::control::{Checkpoint, StreamDef};

/// Checkpoint and streams, as the last frames that speak of them say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// By id.
    pub(crate) streams: BTreeMap<u32, StreamDef>,
}

impl Carried {
    /// How many frames behind its start a segment has that begins with copies.
    pub(crate) fn frames(&self) -> u64 {
        self.streams.len() as u64 + u64::from(self.checkpoint.is_some())
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
        if new.flags & StreamDef::DROPPED != 0 {
            self.streams.remove(&new.id);
            return true;
        }
        let fits = self.streams.len() < StreamDef::MAX_STREAMS || self.streams.contains_key(&new.id);
        if fits {
            self.streams.insert(new.id, new);
        }
        fits
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
