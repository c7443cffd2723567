//! The rows of the comparison: what is appended, by how many, how safely, and which of them to measure.

use std::time::Duration;

use crate::child::Kind;
use crate::load::Record;
use crate::log::{Codec, Contender, Level};

/// One row.
#[derive(Clone, Debug)]
pub struct Cell {
    pub kind: Kind,
    pub level: Level,
    pub record: Record,
    pub writers: usize,
    pub batch: usize,
    pub sync_cost: Duration,
    pub codec: Codec,
    /// Segments are so small that they are filled while it is measured.
    pub rotates: bool,
    /// Among those of a quick run.
    pub quick: bool,
}

const SLOW_SYNC: Duration = Duration::from_millis(1);
const RECORDS: [usize; 3] = [64, 1 << 10, 64 << 10];
const WRITERS: [usize; 3] = [1, 8, 64];
const CODECS: [Codec; 3] = [Codec::None, Codec::Snappy, Codec::Zstd];

impl Cell {
    /// All rows, in the order of the tables.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (level, slow) in [
            (Level::Synced, false),
            (Level::Synced, true),
            (Level::Written, false),
            (Level::Buffered, false),
            (Level::Interval, false),
        ] {
            for batch in [1, 100] {
                for bytes in RECORDS {
                    for writers in WRITERS {
                        all.push(Self { writers, batch, ..Self::appends(level, Record::Bytes(bytes), slow) });
                    }
                }
            }
            if level == Level::Written {
                all.push(Self { batch: 1_000, ..Self::appends(level, Record::Bytes(2 << 10), false) });
                for codec in CODECS {
                    all.push(Self { batch: 100, codec, ..Self::appends(level, Record::Line, false) });
                }
            }
        }
        for (level, slow, bytes) in [
            (Level::Synced, false, 64 << 10),
            (Level::Synced, true, 64 << 10),
            (Level::Written, false, 1 << 10),
        ] {
            all.push(Self { rotates: true, ..Self::appends(level, Record::Bytes(bytes), slow) });
        }
        let once = |kind, record| Self { kind, ..Self::appends(Level::Written, record, false) };
        all.push(once(Kind::Replay, Record::Bytes(256)));
        all.push(once(Kind::Recover, Record::Bytes(1 << 10)));
        all.push(Self { rotates: true, ..once(Kind::Truncate, Record::Bytes(1 << 10)) });
        all.push(once(Kind::Fill, Record::Bytes(64)));
        all.push(Self { batch: 100, ..once(Kind::Fill, Record::Bytes(64)) });
        for codec in CODECS {
            all.push(Self { batch: 100, codec, ..once(Kind::Fill, Record::Line) });
            all.push(Self { codec, ..once(Kind::Replay, Record::Line) });
        }
        for level in [Level::Written, Level::Synced] {
            all.push(Self { kind: Kind::Follow, ..Self::appends(level, Record::Bytes(64), false) });
        }
        for (level, writers, rotates) in [
            (Level::Synced, 1, false),
            (Level::Synced, 8, false),
            (Level::Synced, 64, false),
            (Level::Written, 1, false),
            (Level::Synced, 1, true),
        ] {
            let record = Record::Bytes(if rotates { 64 << 10 } else { 64 });
            all.push(Self { kind: Kind::Calls, writers, rotates, ..Self::appends(level, record, false) });
        }
        for cell in &mut all {
            cell.quick = QUICK.contains(&cell.id().as_str());
        }
        all
    }

    fn appends(level: Level, record: Record, slow: bool) -> Self {
        Self {
            kind: Kind::Append,
            level,
            record,
            writers: 1,
            batch: 1,
            codec: Codec::None,
            sync_cost: if slow { SLOW_SYNC } else { Duration::ZERO },
            rotates: false,
            quick: false,
        }
    }

    /// By which it is chosen, such as `synced+1ms/64B/w8/b1`.
    pub fn id(&self) -> String {
        let record = match self.codec {
            Codec::None => self.record.name(),
            Codec::Snappy => format!("{}+snappy", self.record.name()),
            Codec::Zstd => format!("{}+zstd", self.record.name()),
        };
        match self.kind {
            Kind::Append | Kind::Calls => {
                let calls = if self.kind == Kind::Calls { "calls/" } else { "" };
                let rotation = if self.rotates { "rotation/" } else { "" };
                let slow = if self.sync_cost.is_zero() { "" } else { "+1ms" };
                let (level, writers, batch) = (self.level.name(), self.writers, self.batch);
                format!("{calls}{rotation}{level}{slow}/{record}/w{writers}/b{batch}")
            }
            Kind::Fill => format!("disk/{record}/b{}", self.batch),
            Kind::Replay => format!("replay/{record}"),
            Kind::Recover | Kind::Abandon => format!("dirty/{record}"),
            Kind::Truncate => format!("truncate/{record}"),
            Kind::Follow => format!("follow/{}/{record}", self.level.name()),
        }
    }

    /// Whether the parts of `name` follow each other in the row's.
    pub fn is(&self, name: &str) -> bool {
        let id = self.id();
        let (parts, wanted): (Vec<&str>, Vec<&str>) = (id.split('/').collect(), name.split('/').collect());
        parts.windows(wanted.len()).any(|window| window == wanted)
    }

    /// Whether there is something to be measured of it.
    pub fn has(&self, contender: Contender) -> bool {
        let ours = contender == Contender::Forebay;
        let floor = contender == Contender::Floor;
        if !contender.compresses(self.codec) {
            return false;
        }
        match self.kind {
            Kind::Append => contender.keeps(self.level) && !(floor && self.rotates),
            Kind::Calls => ours && contender.keeps(self.level),
            Kind::Fill => true,
            // The floor has no lengths of records in its file.
            Kind::Replay => !(floor && matches!(self.record, Record::Line)),
            Kind::Recover | Kind::Abandon => !floor,
            Kind::Truncate => contender.truncates(),
            Kind::Follow => contender.is_followed() && contender.keeps(self.level),
        }
    }
}

/// Enough to see that everything runs, and roughly how it stands.
const QUICK: [&str; 15] = [
    "synced/64B/w1/b1",
    "synced/64B/w8/b1",
    "synced+1ms/64B/w8/b1",
    "synced+1ms/64B/w64/b1",
    "written/64B/w1/b1",
    "written/1KiB/w1/b1",
    "written/2KiB/w1/b1000",
    "buffered/64B/w1/b1",
    "interval/64B/w8/b1",
    "rotation/synced/64KiB/w1/b1",
    "replay/256B",
    "dirty/1KiB",
    "truncate/1KiB",
    "disk/64B/b100",
    "calls/synced/64B/w8/b1",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_its_own_name_and_every_quick_one_is_a_row() {
        let all = Cell::all();
        let ids: BTreeSet<String> = all.iter().map(Cell::id).collect();
        assert_eq!(ids.len(), all.len());
        assert_eq!(all.iter().filter(|cell| cell.quick).count(), QUICK.len());
    }
}
