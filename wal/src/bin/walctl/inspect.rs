//! `walctl inspect`: segments, headers and frames as they lie on disk.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use forebay_wal::format::{Checksum, Features, Header, Kind};
use forebay_wal::fs::{File, Fs};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::args::Inspect;
use crate::disk::{Disk, Files, header, named};
use crate::out::{Hex, Out, Text, bytes, count, facts, figures, span, time};
use crate::walk::{Control, Frame, Item, frag, kind, walk};
use crate::{Outcome, Verdict};

/// A segment in a line.
#[derive(Debug, Default, Serialize)]
struct Summary {
    segment: u64,
    file: PathBuf,
    size: u64,
    header: Option<Head>,
    /// Why there is no header.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    base_lsn: Option<u64>,
    next_lsn: Option<u64>,
    records: u64,
    burned: u64,
    frames: u64,
    /// Frames whose body does not fit its sum.
    damaged_frames: u64,
    /// Where the last frame ends.
    end: u64,
    sealed: bool,
    holes: u64,
    hole_bytes: u64,
}

/// A header in full.
#[derive(Debug, Serialize)]
struct Head {
    log_id: String,
    label: String,
    checksum: &'static str,
    salt: u64,
    capacity: u64,
    created_unix_ns: i64,
    features: Vec<&'static str>,
    commit_align: u32,
}

/// A frame, or a hole, as JSON.
#[derive(Debug, Default, Serialize)]
struct Shown {
    segment: u64,
    at: u64,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<Fields>,
}

#[derive(Debug, Serialize)]
struct Fields {
    first_lsn: u64,
    records: u32,
    body_len: u32,
    codec: u8,
    frag: &'static str,
    synced: u64,
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    says: Option<String>,
}

pub(crate) fn run(arguments: &Inspect, out: &mut Out) -> Outcome {
    let files = Files::list(&arguments.dir)?;
    let wanted = |number: u64| arguments.segment.is_none_or(|wanted| wanted == number);
    let frames = arguments.frames || arguments.segment.is_some();
    let mut summaries = Vec::new();
    let disk = match frames && io::stdout().is_terminal() {
        true => Disk { bar: ProgressBar::hidden() },
        false => files.disk(),
    };
    for &(number, size) in files.segments.iter().filter(|(number, _)| wanted(*number)) {
        let path = files.path(number);
        let mut summary = Summary { segment: number, file: path.clone(), size, ..Summary::default() };
        let file = disk.open_read(&path).map_err(|error| named(&path, &error))?;
        let show = |summary: &mut Summary, out: &mut Out| -> io::Result<()> {
            let header = match header(&file)? {
                Ok(header) => header,
                Err(error) => {
                    summary.error = Some(error.to_string());
                    return Ok(());
                }
            };
            summary.header = Some(Head::from(&header));
            if frames && !out.json {
                headline(summary, out)?;
            }
            walk(&file, &header, file.size()?, |item| {
                summary.count(&item);
                if frames { show_item(number, &item, out) } else { Ok(()) }
            })
        };
        show(&mut summary, out).map_err(|error| named(&path, &error))?;
        if out.json {
            out.object(&summary)?;
        }
        summaries.push(summary);
    }
    disk.bar.finish_and_clear();
    if let Some(number) = arguments.segment.filter(|_| summaries.is_empty()) {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no such segment");
        return Err(named(&files.path(number), &error).into());
    }
    if !out.json {
        if frames {
            out.line("")?;
        }
        table(&summaries, out)?;
    }
    let faulty = summaries.iter().any(Summary::is_faulty);
    Ok(if faulty { Verdict::Faulty } else { Verdict::Whole })
}

impl Summary {
    fn count(&mut self, item: &Item) {
        match item {
            Item::Hole(hole) => {
                self.holes += 1;
                self.hole_bytes += hole.end - hole.start;
            }
            Item::Frame(Frame { whole: false, .. }) => self.damaged_frames += 1,
            Item::Frame(frame) => {
                let records = u64::from(frame.header.records);
                self.frames += 1;
                self.end = frame.at.saturating_add(frame.header.frame_len());
                self.base_lsn.get_or_insert(frame.header.first_lsn);
                self.next_lsn = Some(frame.header.first_lsn.saturating_add(records));
                self.sealed = frame.header.kind == Kind::SEAL;
                match frame.header.kind {
                    Kind::DATA | Kind::STREAM_DATA => self.records += records,
                    _ => self.burned += records,
                }
            }
        }
    }

    fn is_faulty(&self) -> bool {
        self.header.is_none() || self.holes > 0 || self.damaged_frames > 0
    }

    fn state(&self) -> String {
        let state = match (&self.error, self.frames, self.sealed) {
            (Some(error), ..) => return error.clone(),
            (None, 0, _) => "no frames",
            (None, _, true) => "sealed",
            (None, _, false) => "open",
        };
        let mut state = vec![state.to_owned()];
        state.extend((self.damaged_frames > 0).then(|| count(self.damaged_frames, "damaged frame")));
        state.extend(
            (self.holes > 0).then(|| format!("{} in {}", bytes(self.hole_bytes), count(self.holes, "hole"))),
        );
        state.extend((self.burned > 0).then(|| format!("{} burned", count(self.burned, "number"))));
        state.join(", ")
    }
}

impl From<&Header> for Head {
    fn from(header: &Header) -> Self {
        let known = [
            (Features::STREAMS, "streams"),
            (Features::COMMIT_ALIGN, "commit-align"),
            (Features::COMPRESSION, "compression"),
            (Features::RECYCLED, "recycled"),
        ];
        Self {
            log_id: Hex(&header.log_id).to_string(),
            label: header.label.to_string(),
            checksum: checksum(header.checksum),
            salt: header.salt,
            capacity: header.capacity,
            created_unix_ns: header.created_unix_ns,
            features: known
                .iter()
                .filter(|(bit, _)| header.features.has(*bit))
                .map(|(_, name)| *name)
                .collect(),
            commit_align: header.commit_align,
        }
    }
}

pub(crate) fn checksum(checksum: Checksum) -> &'static str {
    match checksum {
        Checksum::Crc32 => "crc32",
        Checksum::Crc32c => "crc32c",
        _ => "unknown",
    }
}

fn headline(summary: &Summary, out: &mut Out) -> io::Result<()> {
    let Some(head) = &summary.header else { return Ok(()) };
    let features = if head.features.is_empty() { "none".to_owned() } else { head.features.join(", ") };
    out.line(facts([
        ("segment", summary.segment.to_string()),
        ("file", summary.file.display().to_string()),
        ("size", bytes(summary.size)),
        ("log", head.log_id.clone()),
        ("label", if head.label.is_empty() { "none".to_owned() } else { head.label.clone() }),
        ("checksum", head.checksum.to_owned()),
        ("salt", format!("{:016x}", head.salt)),
        ("capacity", bytes(head.capacity)),
        ("created", time(head.created_unix_ns)),
        ("features", features),
        ("commit align", head.commit_align.to_string()),
    ]))?;
    out.line("")?;
    out.line(format_args!(
        "{:>12} {:<14} {:>12} {:>8} {:>10} {:<7} {:>12}  says",
        "at", "kind", "lsn", "records", "body", "part", "synced"
    ))
}

fn show_item(segment: u64, item: &Item, out: &mut Out) -> io::Result<()> {
    match item {
        Item::Hole(hole) if out.json => {
            let kind = "hole".to_owned();
            out.object(&Shown { segment, at: hole.start, kind, end: Some(hole.end), frame: None })
        }
        Item::Hole(hole) => {
            let len = hole.end - hole.start;
            out.line(format_args!("{:>12} {len} bytes up to {} are no frame", hole.start, hole.end))
        }
        Item::Frame(frame) => {
            let (header, says) = (&frame.header, frame.control.as_ref().map(says));
            let kind = kind(header.kind);
            if out.json {
                let fields = Fields {
                    first_lsn: header.first_lsn,
                    records: header.records,
                    body_len: header.body_len,
                    codec: header.codec,
                    frag: frag(header.frag),
                    synced: header.synced(),
                    whole: frame.whole,
                    says,
                };
                return out.object(&Shown { segment, at: frame.at, kind, end: None, frame: Some(fields) });
            }
            let damaged = if frame.whole { "" } else { "DAMAGED " };
            out.line(format_args!(
                "{:>12} {kind:<14} {:>12} {:>8} {:>10} {:<7} {:>12}  {damaged}{}",
                frame.at,
                header.first_lsn,
                header.records,
                header.body_len,
                frag(header.frag),
                header.synced(),
                says.unwrap_or_default(),
            ))
        }
    }
}

fn says(control: &Control) -> String {
    match control {
        Control::Start(start) => format!(
            "segment {} from record {}, behind segment {} which ends at {}; low watermark {}, epoch {}",
            start.segment,
            start.base_lsn,
            start.prev_segment,
            start.prev_end,
            start.low_watermark,
            start.epoch
        ),
        Control::Seal(seal) => format!(
            "records end before {}, {} frames, {} bytes; next is segment {} of salt {:016x}; flags {}",
            seal.end_lsn, seal.frames, seal.data_bytes, seal.next_segment, seal.next_salt, seal.flags
        ),
        Control::Checkpoint(checkpoint) => {
            let shown = checkpoint.meta.get(..64).unwrap_or(&checkpoint.meta);
            let more = if shown.len() < checkpoint.meta.len() { "…" } else { "" };
            format!("up to record {}: {}{more}", checkpoint.lsn, Text(shown))
        }
        Control::Stream(stream) => {
            let name = Text(stream.name.as_bytes());
            format!("{name} is {}, low watermark {}, flags {}", stream.id, stream.low, stream.flags)
        }
        Control::Low(lsn) => format!("records before {lsn} are gone"),
    }
}

fn table(summaries: &[Summary], out: &mut Out) -> io::Result<()> {
    let mut table = figures(&["segment", "records", "count", "frames", "used", "size", "state"]);
    for summary in summaries {
        let lsns =
            summary.base_lsn.zip(summary.next_lsn).map_or("-".to_owned(), |(from, to)| span(&(from..to)));
        table.add_row([
            summary.segment.to_string(),
            lsns,
            summary.records.to_string(),
            summary.frames.to_string(),
            summary.end.to_string(),
            summary.size.to_string(),
            summary.state(),
        ]);
    }
    out.line(table.trim_fmt())
}
