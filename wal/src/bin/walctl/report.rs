//! What the library reports of a log, for people and programs.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use forebay_wal::format::{Checkpoint, StreamDef};
use forebay_wal::{Damage, DamageClass, Lsn, OpenError, RecoveryReport, Torn};
use serde::Serialize;

use crate::Verdict;
use crate::out::{Out, Text, bytes, facts, figures, span};

/// A report as JSON; of a log of which nothing is left that tells what it was, only the damage.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) state: State,
    #[serde(flatten)]
    pub(crate) log: Option<Known>,
    pub(crate) torn: Option<Tail>,
    pub(crate) damaged: Vec<Hurt>,
    pub(crate) lost: Vec<Range<u64>>,
    pub(crate) quarantined: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Whole,
    Torn,
    Damaged,
}

#[derive(Debug, Serialize)]
pub(crate) struct Known {
    clean: bool,
    segments: usize,
    records: u64,
    bytes: u64,
    first_lsn: u64,
    next_lsn: u64,
    proven_lsn: u64,
    checkpoint: Option<Mark>,
    streams: Vec<Stream>,
    leftovers: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Mark {
    pub(crate) lsn: u64,
    pub(crate) meta_bytes: usize,
    /// As text, with what is none escaped.
    pub(crate) meta: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) low_lsn: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tail {
    file: PathBuf,
    segment: u64,
    bytes: Range<u64>,
    lsns: Range<u64>,
    quarantine: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Hurt {
    file: PathBuf,
    segment: u64,
    bytes: Range<u64>,
    lsns: Range<u64>,
    class: &'static str,
    says: String,
}

fn numbers(lsns: &Range<Lsn>) -> Range<u64> {
    lsns.start.0..lsns.end.0
}

impl From<&Checkpoint> for Mark {
    fn from(checkpoint: &Checkpoint) -> Self {
        let (meta_bytes, meta) = (checkpoint.meta.len(), Text(&checkpoint.meta).to_string());
        Self { lsn: checkpoint.lsn, meta_bytes, meta }
    }
}

impl From<&StreamDef> for Stream {
    fn from(stream: &StreamDef) -> Self {
        Self { id: stream.id, name: stream.name.clone(), low_lsn: stream.low }
    }
}

impl From<&Torn> for Tail {
    fn from(torn: &Torn) -> Self {
        Self {
            file: torn.path.clone(),
            segment: torn.segment,
            bytes: torn.bytes.clone(),
            lsns: numbers(&torn.lsns),
            quarantine: torn.quarantine.clone(),
        }
    }
}

impl From<&Damage> for Hurt {
    fn from(damage: &Damage) -> Self {
        let class = match damage.class {
            DamageClass::DamagedDurable => "damaged-durable",
            DamageClass::MissingSegment => "missing-segment",
            DamageClass::BadHeader(_) => "bad-header",
            DamageClass::Foreign => "foreign",
            _ => "other",
        };
        Self {
            file: damage.path.clone(),
            segment: damage.segment,
            bytes: damage.bytes.clone(),
            lsns: numbers(&damage.lsns),
            class,
            says: damage.class.to_string(),
        }
    }
}

impl From<&RecoveryReport> for Report {
    fn from(report: &RecoveryReport) -> Self {
        let state = match (report.damaged.is_empty(), &report.torn) {
            (false, _) => State::Damaged,
            (true, Some(_)) => State::Torn,
            (true, None) => State::Whole,
        };
        let log = Known {
            clean: report.clean,
            segments: report.segments,
            records: report.records,
            bytes: report.bytes,
            first_lsn: report.first_lsn.0,
            next_lsn: report.next_lsn.0,
            proven_lsn: report.proven_lsn.0,
            checkpoint: report.checkpoint.as_ref().map(Mark::from),
            streams: report.streams.iter().map(Stream::from).collect(),
            leftovers: report.leftovers,
        };
        Self {
            state,
            log: Some(log),
            torn: report.torn.as_ref().map(Tail::from),
            damaged: report.damaged.iter().map(Hurt::from).collect(),
            lost: report.lost.iter().map(numbers).collect(),
            quarantined: report.quarantined.clone(),
        }
    }
}

impl Report {
    /// What a log is that would not open, if the error says so.
    pub(crate) fn of(error: OpenError) -> Result<Self, OpenError> {
        let (torn, damaged) = match &error {
            OpenError::Corrupt(damage) => (None, vec![Hurt::from(damage)]),
            OpenError::TornTail(torn) => (Some(Tail::from(torn)), Vec::new()),
            _ => return Err(error),
        };
        let state = if torn.is_some() { State::Torn } else { State::Damaged };
        Ok(Self { state, log: None, torn, damaged, lost: Vec::new(), quarantined: Vec::new() })
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.state == State::Whole { Verdict::Whole } else { Verdict::Faulty }
    }

    /// Says it to people.
    pub(crate) fn print(&self, out: &mut Out) -> io::Result<()> {
        let state = match self.state {
            State::Whole => "whole",
            State::Torn => "whole but for a torn tail, which opening it cuts off",
            State::Damaged => "damaged: durable records, or files, are not as they were",
        };
        let mut said = vec![("state", state.to_owned())];
        if let Some(log) = &self.log {
            let end = if log.clean { "closed" } else { "not closed: it is open, or its writer died" };
            said.extend([
                ("end", end.to_owned()),
                ("segments", log.segments.to_string()),
                ("records", format!("{}, numbered {}", log.records, span(&(log.first_lsn..log.next_lsn)))),
                ("bodies", bytes(log.bytes)),
                ("proven", format!("records before {} are proven to have been synced", log.proven_lsn)),
            ]);
            said.extend(log.checkpoint.as_ref().map(|mark| ("checkpoint", checkpoint(mark))));
            said.extend(log.streams.iter().map(|stream| ("stream", stream_line(stream))));
            said.extend((log.leftovers > 0).then(|| ("left over", format!("{} segments", log.leftovers))));
        }
        if let Some(torn) = &self.torn {
            let (file, lsns) = (torn.file.display(), &torn.lsns);
            let speak = if lsns.is_empty() { String::new() } else { format!(", of records {}", span(lsns)) };
            let len = bytes(torn.bytes.end - torn.bytes.start);
            said.push(("torn", format!("{len} of {file} at byte {}{speak}", torn.bytes.start)));
        }
        out.line(facts(said))?;
        if !self.damaged.is_empty() {
            let mut table = figures(&["damaged segment", "bytes", "records", "what"]);
            for hurt in &self.damaged {
                let what = format!("{}: {}", hurt.file.display(), hurt.says);
                table.add_row([hurt.segment.to_string(), span(&hurt.bytes), span(&hurt.lsns), what]);
            }
            out.line(format_args!("\n{}", table.trim_fmt()))?;
        }
        if !self.lost.is_empty() {
            let lost: Vec<String> = self.lost.iter().map(span).collect();
            out.line(format_args!("\nrecords lost: {}", lost.join(", ")))?;
        }
        Ok(())
    }
}

pub(crate) fn checkpoint(mark: &Mark) -> String {
    const SHOWN: usize = 60;
    let shown: String = mark.meta.chars().take(SHOWN).collect();
    let more = if shown.len() < mark.meta.len() { "…" } else { "" };
    format!("up to record {}, {} bytes: {shown}{more}", mark.lsn, mark.meta_bytes)
}

pub(crate) fn stream_line(stream: &Stream) -> String {
    format!("{} is {}, from record {}", stream.id, Text(stream.name.as_bytes()), stream.low_lsn)
}
