//! `chunkctl dump`: entries.

use std::io;
use std::path::Path;

use forebay_chunk::{CorruptionPolicy, Direction, Entry, LineFilter};
use serde::Serialize;

use crate::args::Dump;
use crate::file::{Failure, File, each, refuse};
use crate::out::{Hex, Out, Text, complain, time};
use crate::{Outcome, Verdict};

/// An entry as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    timestamp_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_hex: Option<String>,
    /// Names and values in order, what is no text escaped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metadata: Vec<(String, String)>,
}

pub(crate) fn run(arguments: &Dump, policy: CorruptionPolicy, out: &mut Out) -> Outcome {
    let filter = filter_of(arguments);
    each(&arguments.files, policy, |path, file| {
        let file = match file {
            Ok(file) => file,
            Err(failure) => return refuse(path, &failure),
        };
        match entries(arguments, &filter, path, &file, out)? {
            Ok(verdict) => Ok(verdict),
            Err(failure) => refuse(path, &failure),
        }
    })
}

fn filter_of(arguments: &Dump) -> LineFilter {
    let Dump { wanted, unwanted, any_case, .. } = arguments;
    let mut filter = LineFilter::new();
    if !wanted.is_empty() {
        filter = if *any_case { filter.any_of_in_any_case(wanted) } else { filter.any_of(wanted) };
    }
    if !unwanted.is_empty() {
        filter = if *any_case { filter.none_of_in_any_case(unwanted) } else { filter.none_of(unwanted) };
    }
    filter
}

fn entries(
    arguments: &Dump,
    filter: &LineFilter,
    path: &Path,
    file: &File,
    out: &mut Out,
) -> io::Result<Result<Verdict, Failure>> {
    let direction = if arguments.backward { Direction::Backward } else { Direction::Forward };
    let mut entries = file.chunk.filter(arguments.from..=arguments.to, filter, direction);
    let mut left = arguments.limit;
    while left > 0 && !out.closed {
        match entries.next() {
            Ok(Some(entry)) => show(&entry, out)?,
            Ok(None) => break,
            Err(error) => return Ok(Err(error.into())),
        }
        left -= 1;
    }
    let damage =
        file.chunk.damage().iter().chain(entries.damage()).filter(|damage| crate::report::is_loss(damage));
    let mut verdict = Verdict::Whole;
    for damage in damage {
        let lost = damage.entries_lost();
        let why = crate::report::Hurt::from(damage).why;
        let why = Text(why.as_bytes());
        complain(format_args!(
            "{}: block {} lost, with {lost} entries: {why}",
            path.display(),
            damage.block
        ))?;
        verdict = Verdict::Faulty;
    }
    Ok(Ok(verdict))
}

fn show(entry: &Entry<'_>, out: &mut Out) -> io::Result<()> {
    let text = |bytes| Text(bytes).to_string();
    let metadata: Vec<(String, String)> =
        entry.metadata.iter().map(|(name, value)| (text(name), text(value))).collect();
    if out.json {
        let line = std::str::from_utf8(entry.line).ok();
        let line_hex = line.is_none().then(|| Hex(entry.line).to_string());
        return out.object(&Shown { timestamp_ns: entry.timestamp_ns, line, line_hex, metadata });
    }
    let pairs = metadata.iter().map(|(name, value)| format!("  {name}={value}"));
    out.line(format_args!("{}  {}{}", time(entry.timestamp_ns), Text(entry.line), pairs.collect::<String>()))
}
