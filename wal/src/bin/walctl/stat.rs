//! `walctl stat`: how much a log holds and takes, from headers and the last segment.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use forebay_wal::format::{HEADER_LEN, Header, Kind, StreamDef};
use forebay_wal::fs::{File, Fs, StdFs};
use serde::Serialize;

use crate::args::Stat;
use crate::disk::{Disk, Files, header, named};
use crate::inspect::checksum;
use crate::out::{Hex, Out, bytes, count, facts, span, time};
use crate::report::{Mark, Stream, checkpoint, stream_line};
use crate::walk::{Control, Item, walk};
use crate::{Outcome, Verdict};

/// A log at a glance.
#[derive(Debug, Default, Serialize)]
struct Glance {
    dir: PathBuf,
    log_id: Option<String>,
    label: Option<String>,
    checksum: Option<&'static str>,
    segments: usize,
    segment_bytes: u64,
    spares: usize,
    spare_bytes: u64,
    quarantined: usize,
    quarantine_bytes: u64,
    free_bytes: u64,
    /// When the oldest segment was made.
    oldest_unix_ns: Option<i64>,
    low_lsn: Option<u64>,
    next_lsn: Option<u64>,
    clean: bool,
    checkpoint: Option<Mark>,
    streams: Vec<Stream>,
    unreadable_headers: usize,
    #[serde(skip)]
    known: BTreeMap<u32, StreamDef>,
}

pub(crate) fn run(arguments: &Stat, out: &mut Out) -> Outcome {
    let files = Files::list(&arguments.dir)?;
    let mut glance = Glance {
        dir: files.dir.clone(),
        segments: files.segments.len(),
        segment_bytes: files.bytes(),
        spares: files.spares.len(),
        spare_bytes: files.spares.iter().sum(),
        quarantined: files.quarantined.len(),
        quarantine_bytes: files.quarantined.iter().sum(),
        free_bytes: StdFs.free_bytes(&files.dir)?,
        ..Glance::default()
    };
    glance.read(&files)?;
    match out.json {
        true => out.object(&glance)?,
        false => out.line(facts(glance.facts()))?,
    }
    Ok(if glance.unreadable_headers == 0 { Verdict::Whole } else { Verdict::Faulty })
}

impl Glance {
    /// From the highest segment down, the first one that has frames says all.
    fn read(&mut self, files: &Files) -> io::Result<()> {
        let disk = Disk { bar: indicatif::ProgressBar::hidden() };
        for &(number, _) in files.segments.iter().rev() {
            let path = files.path(number);
            let file = disk.open_read(&path).map_err(|error| named(&path, &error))?;
            let Ok(header) = header(&file).map_err(|error| named(&path, &error))? else {
                self.unreadable_headers += 1;
                continue;
            };
            self.oldest_unix_ns = Some(header.created_unix_ns);
            if self.next_lsn.is_none() {
                self.head(&header);
                self.last(&file, &header).map_err(|error| named(&path, &error))?;
            }
        }
        self.streams = self.known.values().map(Stream::from).collect();
        Ok(())
    }

    fn head(&mut self, header: &Header) {
        self.log_id = Some(Hex(&header.log_id).to_string());
        self.label = Some(header.label.to_string()).filter(|label| !label.is_empty());
        self.checksum = Some(checksum(header.checksum));
    }

    /// What the frames of a segment say up to the first hole.
    fn last(&mut self, file: &impl File, header: &Header) -> io::Result<()> {
        let mut end = HEADER_LEN;
        walk(file, header, file.size()?, |item| {
            let Item::Frame(frame) = item else { return Ok(()) };
            if frame.at != end || !frame.whole {
                return Ok(());
            }
            end = frame.at.saturating_add(frame.header.frame_len());
            self.next_lsn = Some(frame.header.first_lsn.saturating_add(frame.header.records.into()));
            self.clean = frame.header.kind == Kind::CLEAN_CLOSE;
            match frame.control {
                Some(Control::Start(start)) => self.low_lsn = self.low_lsn.max(Some(start.low_watermark)),
                Some(Control::Low(lsn)) => self.low_lsn = self.low_lsn.max(Some(lsn)),
                Some(Control::Checkpoint(new)) => self.checkpoint = Some(Mark::from(&new)),
                Some(Control::Stream(stream)) if stream.flags & StreamDef::DROPPED != 0 => {
                    self.known.remove(&stream.id);
                }
                Some(Control::Stream(stream)) => drop(self.known.insert(stream.id, stream)),
                Some(Control::Seal(_)) | None => {}
            }
            Ok(())
        })
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let lsns =
            self.low_lsn.zip(self.next_lsn).map_or("none".to_owned(), |(low, next)| span(&(low..next)));
        let mut facts = vec![
            ("log", or_none(&self.log_id)),
            ("label", or_none(&self.label)),
            ("checksum", self.checksum.unwrap_or("none").to_owned()),
            ("records", format!("numbered {lsns}")),
            ("closed", if self.clean { "yes" } else { "no: it is open, or its writer died" }.to_owned()),
            ("segments", format!("{}, {}", self.segments, bytes(self.segment_bytes))),
            ("spares", format!("{}, {}", self.spares, bytes(self.spare_bytes))),
            (
                "quarantine",
                format!("{}, {}", count(self.quarantined as u64, "file"), bytes(self.quarantine_bytes)),
            ),
            ("disk", format!("{} free", bytes(self.free_bytes))),
        ];
        let created = self.oldest_unix_ns.map(|ns| ("oldest", format!("made {}", time(ns))));
        facts.extend(created);
        facts.extend(self.checkpoint.as_ref().map(|mark| ("checkpoint", checkpoint(mark))));
        facts.extend(self.streams.iter().map(|stream| ("stream", stream_line(stream))));
        let unreadable = self.unreadable_headers;
        facts.extend((unreadable > 0).then(|| ("headers", format!("{unreadable} of them are not readable"))));
        facts
    }
}
