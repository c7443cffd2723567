//! Naming streams, what each of them has given up, and their end: durable in the log before anybody is told.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::control::StreamDef;
use crate::error::{AppendError, Reject};
use crate::format::Features;
use crate::frame::{Kind, frame_len};
use crate::fs::Fs;
use crate::home::Home;
use crate::log::{Log, Need, Quota};
use crate::pins::Pins;
use crate::reserve::Reserve;

/// Most bytes that a segment of this size begins with for the sake of streams.
pub(crate) fn most_streams(segment_bytes: u64) -> u64 {
    segment_bytes / 8
}

impl<F: Fs> Log<F> {
    /// The stream of this name, which may be a new one, whose records begin with the next.
    pub(crate) fn define(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        (name, quota): (&str, Quota<'_>),
    ) -> Result<StreamDef, AppendError> {
        if let Some(def) = self.defs().find(|def| def.name == name) {
            return Ok(def);
        }
        // Not one that the records of a stream have that was dropped; only a forged log has had them all.
        let next = self.highest_stream.checked_add(1);
        let free = || (1..).find(|id| !self.carried.streams.contains_key(id));
        let id = next.or_else(free).expect("there are fewer streams than numbers");
        let def = StreamDef { id, flags: 0, low: self.next_lsn, name: name.to_owned() };
        let (streams, len) = (self.carried.streams.len(), frame_len(def.encode().len() as u64));
        let most = most_streams(home.options.segment_bytes);
        if streams >= StreamDef::MAX_STREAMS || self.carried.streams_len() + len > most {
            return Err(Reject::TooManyStreams { limit: streams }.into());
        }
        self.note(home, reserve, (&def, quota))?;
        self.highest_stream = self.highest_stream.max(id);
        Ok(def)
    }

    /// Ends a stream, durably.
    pub(crate) fn drop_stream(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        (def, quota): (StreamDef, Quota<'_>),
    ) -> Result<(), AppendError> {
        self.note(home, reserve, (&StreamDef { flags: StreamDef::DROPPED, ..def }, quota))
    }

    /// Makes durable what streams have given up. Where there is no room for it besides what truncations need that give
    /// back segments, it stays in memory and is not worth a refusal: such a truncation needs no more than that.
    pub(crate) fn note_lows(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        (pins, quota): (&Mutex<Pins>, Quota<'_>),
    ) -> Result<(), AppendError> {
        let mut lows: BTreeMap<u32, u64> = pins.lock().unnoted().into_iter().collect();
        if lows.is_empty() {
            return Ok(());
        }
        let lowered = |def: StreamDef| lows.remove(&def.id).map(|low| StreamDef { low, ..def });
        let defs: Vec<StreamDef> = self.defs().filter_map(lowered).collect();
        let bodies: Vec<Bytes> = defs.iter().map(|def| def.encode().into()).collect();
        let bytes = bodies.iter().map(|body| frame_len(body.len() as u64)).sum();
        match self.make_room(home, reserve, Need::Records(bytes), quota) {
            Err(AppendError::Rejected(
                Reject::NoSpace { .. } | Reject::QuotaExceeded { .. } | Reject::NumbersUsedUp,
            )) => return Ok(()),
            room => room?,
        }
        let frames: Vec<(Kind, &[u8])> = bodies.iter().map(|body| (Kind::STREAM_DEF, &body[..])).collect();
        self.control(home, &frames)?;
        for (def, body) in defs.iter().zip(bodies) {
            self.carried.streams.insert(def.id, body);
            pins.lock().noted(def.id, def.low);
        }
        Ok(())
    }

    /// The streams that there are.
    pub(crate) fn defs(&self) -> impl Iterator<Item = StreamDef> {
        self.carried.streams.values().filter_map(|body| StreamDef::decode(body))
    }

    /// Writes and syncs that a stream begins, or ends. It may use the last of the active segment, but for what truncations
    /// need.
    fn note(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        (def, quota): (&StreamDef, Quota<'_>),
    ) -> Result<(), AppendError> {
        let body = def.encode();
        // Segments that are made from now on may have streams; the one being written may not.
        home.features.lock().0 |= Features::STREAMS.0;
        if !self.has(Features::STREAMS) {
            let capacity = self.capacity_for(home, 0);
            self.rotate(home, reserve, capacity, quota)?;
        }
        self.make_room(home, reserve, Need::Checkpoint(frame_len(body.len() as u64)), quota)?;
        self.control(home, &[(Kind::STREAM_DEF, &body)])?;
        if def.flags & StreamDef::DROPPED == 0 {
            self.carried.streams.insert(def.id, body.into());
        } else {
            self.carried.streams.remove(&def.id);
        }
        Ok(())
    }
}
