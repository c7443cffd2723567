//! Streams of a damaged log that have records and no name: what named them is lost.

use std::collections::BTreeSet;

use crate::carried::Carried;
use crate::codec::Unpacker;
use crate::control::StreamDef;
use crate::counter::Counter;
use crate::error::OpenError;
use crate::format::Features;
use crate::frame::{Frag, Kind};
use crate::fs::Fs;
use crate::pieces::{Piece, Pieces};
use crate::scan::Walk;
use crate::survey::{Survey, cannot};
use crate::window::Window;

/// Ids of which nothing is said.
struct Unnamed<'a> {
    said: &'a Carried,
    ids: BTreeSet<u32>,
    /// The one that came last.
    last: u32,
}

impl Unnamed<'_> {
    fn take(&mut self, id: u32) {
        if id == self.last {
            return;
        }
        self.last = id;
        let known = id == 0 || self.said.streams.contains_key(&id) || self.said.gone.contains_key(&id);
        if !known && self.ids.len() + self.said.streams.len() < StreamDef::MAX_STREAMS {
            self.ids.insert(id);
        }
    }
}

impl<F: Fs> Survey<'_, F> {
    /// Names for the streams of records in the segments before `index`, and in these stretches of that one, of which
    /// nothing is said: so nobody else gets their ids, and somebody holds what they have.
    pub(crate) fn orphans(
        &self,
        all: &Pieces,
        (index, walks): (usize, &[Walk]),
        said: &Carried,
    ) -> Result<Vec<StreamDef>, OpenError> {
        let mut unnamed = Unnamed { said, ids: BTreeSet::new(), last: 0 };
        for piece in all.pieces.iter().take(index) {
            self.stream_ids(piece, &piece.frames.walks, all.low, &mut unnamed)?;
        }
        if let Some(piece) = all.pieces.get(index) {
            self.stream_ids(piece, walks, all.low, &mut unnamed)?;
        }
        let names: BTreeSet<&str> = said.streams.values().map(|def| def.name.as_str()).collect();
        let orphan = |id| StreamDef { id, flags: 0, low: all.low, name: free_name(id, &names) };
        Ok(unnamed.ids.iter().map(|id| orphan(*id)).collect())
    }

    /// The streams of the records of these stretches, but for those that the low watermark hides.
    fn stream_ids(
        &self,
        piece: &Piece,
        walks: &[Walk],
        low: u64,
        unnamed: &mut Unnamed<'_>,
    ) -> Result<(), OpenError> {
        let Some(header) = piece.header.as_ref().filter(|header| header.features.has(Features::STREAMS))
        else {
            return Ok(());
        };
        let file = self.fs.open_read(&piece.path).map_err(cannot("open", &piece.path))?;
        let (digest, mut window, mut unpacker) = (header.digest(), Window::default(), Unpacker::default());
        for walk in walks.iter().filter(|walk| walk.next_lsn > low) {
            let (mut at, mut counter) = (walk.begin, Counter::default());
            while at < walk.end {
                let frame = window.frame(&file, (at, piece.size), &digest);
                let Some((frame, _, body)) = frame.map_err(cannot("read", &piece.path))? else { break };
                at += frame.frame_len();
                if frame.kind != Kind::STREAM_DATA {
                    continue;
                }
                if matches!(frame.frag, Frag::Whole | Frag::First) {
                    counter = Counter::default();
                }
                let body = if frame.codec == 0 { Ok(body) } else { unpacker.unpack(frame.codec, body) };
                // What was whole right before reads otherwise now: the next look tells.
                let Ok(body) = body else { break };
                counter.take(frame.kind, body, |_, id| unnamed.take(id));
            }
        }
        Ok(())
    }
}

/// A name that no other stream has.
fn free_name(id: u32, taken: &BTreeSet<&str>) -> String {
    let mut name = format!("lost-{id}");
    while taken.contains(name.as_str()) && name.len() < 255 {
        name.push('-');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once() {
        let taken = BTreeSet::from(["lost-7", "lost-7-", "lost-8"]);
        assert_eq!(free_name(7, &taken), "lost-7--");
        assert_eq!(free_name(9, &taken), "lost-9");
    }
}
