//! `chunkctl convert`: the same entries in another format.

use std::io::{self, Write};
use std::path::Path;

use forebay_chunk::{BuilderOptions, CorruptionPolicy, EncodedChunk, Error, Format, Profile, merge};
use serde::Serialize;

use crate::args::Convert;
use crate::file::{Failure, File, refuse};
use crate::out::{Out, bytes, facts};
use crate::report::{self, Hurt, Owner};
use crate::{Outcome, Verdict};

#[derive(Debug, Serialize)]
struct Report {
    file: String,
    new: String,
    format: Format,
    size_bytes: u64,
    new_size_bytes: u64,
    entries: u64,
    /// Equal to that of the source, if that was whole.
    content_hash: String,
    object: Option<Owner>,
    damage: Vec<Hurt>,
}

pub(crate) fn run(arguments: &Convert, policy: CorruptionPolicy, out: &mut Out) -> Outcome {
    let converted = File::open(&arguments.file, policy).and_then(|file| convert(arguments, &file));
    let report = match converted {
        Ok(report) => report,
        Err(failure) => return refuse(&arguments.file, &failure),
    };
    if out.json {
        out.object(&report)?;
    } else {
        let mut lines = vec![
            ("file", report.new.clone()),
            ("size", format!("{}, before {}", bytes(report.new_size_bytes), bytes(report.size_bytes))),
            ("entries", report.entries.to_string()),
            ("content hash", report.content_hash.clone()),
        ];
        lines.extend(report.object.as_ref().map(|owner| ("key", owner.key.clone())));
        out.line(facts(lines))?;
        report::damage(&report.damage, out)?;
    }
    Ok(if report.damage.iter().all(|hurt| hurt.kind == "moved") { Verdict::Whole } else { Verdict::Faulty })
}

fn convert(arguments: &Convert, file: &File) -> Result<Report, Failure> {
    // It takes long to find out only in the end.
    if arguments.new.symlink_metadata().is_ok() {
        return Err(Failure::System(io::ErrorKind::AlreadyExists.into()));
    }
    let (chunk, damage) = copy(arguments, file)?;
    let opened = forebay_chunk::Chunk::open(chunk.bytes.clone(), &forebay_chunk::Limits::default())?;
    let hash = opened.content_hash()?;
    let (data, object) = match &file.object {
        None => (chunk.bytes, None),
        Some((envelope, _)) => {
            // Without some of the entries it may be of less time.
            let envelope = if damage.is_empty() { envelope.clone() } else { envelope.of_chunk(&chunk) };
            let object = envelope.encode(&chunk.bytes)?;
            (object.bytes, Some(Owner::new(&envelope, object.key.checksum)))
        }
    };
    write(&arguments.new, &data).map_err(Failure::System)?;
    Ok(Report {
        file: arguments.file.display().to_string(),
        new: arguments.new.display().to_string(),
        format: opened.format(),
        size_bytes: file.size_bytes,
        new_size_bytes: data.len() as u64,
        entries: chunk.entries,
        content_hash: format!("{hash:032x}"),
        object,
        damage,
    })
}

/// The new chunk, and what is not in it.
fn copy(arguments: &Convert, file: &File) -> Result<(EncodedChunk, Vec<Hurt>), Failure> {
    let format = arguments.to.into();
    let profile: Profile = arguments.profile.into();
    let options = match format {
        Format::Columnar => BuilderOptions::columnar(profile),
        format => BuilderOptions { format, codec: arguments.codec, ..BuilderOptions::default() },
    };
    let whole = match file.chunk.recompress(options) {
        Ok(chunk) => return chunk.map(|chunk| (chunk, Vec::new())).ok_or(Failure::Chunk(Error::Empty)),
        Err(error) => Failure::Chunk(error),
    };
    if !arguments.partial || whole.verdict() != Verdict::Faulty {
        return Err(whole);
    }
    let merged = merge([&file.chunk], options)?;
    let damage: Vec<Hurt> = merged.damage.iter().map(|(_, damage)| Hurt::from(damage)).collect();
    // All entries are there, and it is not whole all the same: they are not those that it speaks of.
    if damage.is_empty() {
        return Err(whole);
    }
    Ok((merged.chunk.ok_or(Failure::Chunk(Error::Empty))?, damage))
}

/// Writes a file that was not there, as a whole or not at all: under another name first. Whoever ends the program may leave
/// that one.
#[expect(clippy::disallowed_methods, reason = "the program writes a file")]
fn write(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let unfinished = path.with_file_name(name);
    let mut file = std::fs::File::create_new(&unfinished)?;
    let written = file.write_all(data).and_then(|()| file.sync_all());
    // A link is not made over a file that is there.
    let written = written.and_then(|()| std::fs::hard_link(&unfinished, path));
    let removed = std::fs::remove_file(&unfinished);
    written.and(removed)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Elsewhere a directory cannot be opened as a file.
    if cfg!(unix) {
        std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
