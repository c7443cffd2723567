//! `walctl dump`: records.

use std::collections::BTreeMap;
use std::io;

use forebay_wal::format::StreamDef;
use forebay_wal::fs::Fs;
use forebay_wal::{Lsn, OpenError, Options, Reader, Record, RepairPolicy, Time, View, Wal};
use serde::Serialize;

use crate::args::{Dump, Format};
use crate::disk::Files;
use crate::out::{Hex, Out, Text};
use crate::overlay::Overlay;
use crate::report::Report;
use crate::{Outcome, Verdict};

/// A record as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    lsn: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_id: Option<u32>,
    /// None of a stream that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

pub(crate) fn run(arguments: &Dump, out: &mut Out) -> Outcome {
    let files = Files::list(&arguments.dir)?;
    if arguments.salvage {
        return salvaged(arguments, &files, out);
    }
    let disk = files.disk();
    let viewed = View::open_in(disk.clone(), &files.dir);
    disk.bar.finish_and_clear();
    let (view, report) = match viewed {
        Ok(viewed) => viewed,
        Err(error @ OpenError::Corrupt(_)) => return refused(error),
        Err(error) => return Err(error.into()),
    };
    records(arguments, view.reader(Lsn(arguments.from)), &report.streams, out)?;
    Ok(Report::from(&report).verdict())
}

/// Says that nothing is shown of a log that is damaged, and what to do about it.
fn refused(error: OpenError) -> Outcome {
    crate::out::complain(&error)?;
    crate::out::hint("`walctl dump --salvage` shows what can still be read")?;
    Ok(Verdict::Faulty)
}

/// Reads what a repair would leave, which is made in memory.
fn salvaged(arguments: &Dump, files: &Files, out: &mut Out) -> Outcome {
    let overlay = Overlay::new(files)?;
    let options = Options { repair: RepairPolicy::Salvage, time: Time::frozen(), ..files.options() };
    let opened = Wal::open_in(overlay.clone(), &files.dir, options);
    overlay.bar.finish_and_clear();
    let (wal, report) = match opened {
        Err(error @ OpenError::Corrupt(_)) => return refused(error),
        opened => opened?,
    };
    records(arguments, wal.reader(Lsn(arguments.from)), &report.streams, out)?;
    Ok(Report::from(&report).verdict())
}

fn records<F: Fs>(
    arguments: &Dump,
    reader: Reader<F>,
    streams: &[StreamDef],
    out: &mut Out,
) -> Result<(), Box<dyn std::error::Error>> {
    let names: BTreeMap<u32, &str> = streams.iter().map(|stream| (stream.id, stream.name.as_str())).collect();
    let mut left = arguments.limit;
    for record in reader {
        let record = record?;
        if left == 0 || record.lsn.0 >= arguments.to || out.closed {
            break;
        }
        left -= 1;
        show(arguments.format, &record, names.get(&record.stream).copied(), out)?;
    }
    Ok(())
}

fn show(format: Format, record: &Record, stream: Option<&str>, out: &mut Out) -> io::Result<()> {
    let lsn = record.lsn.0;
    let stream_id = Some(record.stream).filter(|id| *id != 0);
    let named = match (stream, stream_id) {
        (Some(name), _) => format!("  [{}]", Text(name.as_bytes())),
        (None, Some(id)) => format!("  [stream {id}, which is gone]"),
        (None, None) => String::new(),
    };
    match format {
        _ if out.json || format == Format::Json => {
            let text = std::str::from_utf8(&record.bytes).ok();
            let hex = text.is_none().then(|| Hex(&record.bytes).to_string());
            out.object(&Shown { lsn, stream_id, stream, text, hex })
        }
        Format::Hex => out.line(format_args!("{lsn}{named}  {}  {}", record.bytes.len(), Hex(&record.bytes))),
        _ => out.line(format_args!("{lsn}{named}  {}", Text(&record.bytes))),
    }
}
