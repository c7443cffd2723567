//! What every segment begins with, behind its start: the streams that there are, and a copy of the newest checkpoint.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::carried::Carried;
use crate::format::Features;
use crate::frame::{Kind, frame_len};

/// The bodies of these frames.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carry {
    /// By id.
    pub(crate) streams: BTreeMap<u32, Bytes>,
    pub(crate) checkpoint: Option<Bytes>,
}

impl Carry {
    /// What the last segment of a log says.
    pub(crate) fn of(found: &Carried) -> Self {
        let checkpoint = found.checkpoint.as_ref().map(|checkpoint| checkpoint.encode().into());
        let streams = found.streams.iter().map(|(id, def)| (*id, def.encode().into())).collect();
        Self { streams, checkpoint }
    }

    /// In the order in which they lie in the file.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (Kind, &Bytes)> {
        let streams = self.streams.values().map(|body| (Kind::STREAM_DEF, body));
        streams.chain(self.checkpoint.iter().map(|body| (Kind::CHECKPOINT, body)))
    }

    /// Bytes that they take in the file.
    pub(crate) fn len(&self) -> u64 {
        self.frames().map(|(_, body)| frame_len(body.len() as u64)).sum()
    }

    /// Bytes of that for streams.
    pub(crate) fn streams_len(&self) -> u64 {
        self.streams.values().map(|body| frame_len(body.len() as u64)).sum()
    }

    /// What the header of a segment must have that begins with them.
    pub(crate) fn features(&self) -> Features {
        if self.streams.is_empty() { Features::NONE } else { Features::STREAMS }
    }
}
