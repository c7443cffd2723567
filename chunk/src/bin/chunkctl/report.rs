//! What is said of a chunk, for people and programs.

use std::io;
use std::path::Path;

use forebay_chunk::loki::{Envelope, Schema};
use forebay_chunk::{BlockMeta, Damage, DamageKind, Format};
use serde::Serialize;

use crate::file::File;
use crate::out::{Out, Text, bytes, figures, time};

/// What a file is.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) file: String,
    pub(crate) size_bytes: u64,
    pub(crate) format: Format,
    pub(crate) codec: String,
    pub(crate) entries: u64,
    pub(crate) raw_bytes: Option<u64>,
    pub(crate) from_ns: Option<i64>,
    pub(crate) through_ns: Option<i64>,
    pub(crate) object: Option<Owner>,
}

/// Whose an object is. What is no text is escaped.
#[derive(Debug, Serialize)]
pub(crate) struct Owner {
    pub(crate) tenant: String,
    pub(crate) fingerprint: u64,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) ingested_at_ms: i64,
    /// For schemas from v12 on.
    pub(crate) key: String,
}

impl Summary {
    pub(crate) fn new(path: &Path, file: &File) -> Self {
        let chunk = &file.chunk;
        let bounds = chunk.bounds();
        Self {
            file: path.display().to_string(),
            size_bytes: file.size_bytes,
            format: chunk.format(),
            codec: chunk.codec().to_string(),
            entries: chunk.entry_count(),
            raw_bytes: chunk.raw_bytes(),
            from_ns: bounds.map(|bounds| bounds.0),
            through_ns: bounds.map(|bounds| bounds.1),
            object: file.object.as_ref().map(|(envelope, checksum)| Owner::new(envelope, *checksum)),
        }
    }

    /// As names and what they stand for.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts =
            vec![("file", Text(self.file.as_bytes()).to_string()), ("size", bytes(self.size_bytes))];
        let what = if self.object.is_some() { "object" } else { "chunk" };
        facts.push(("what", format!("{what}, {} {}", self.format, self.codec)));
        facts.push(("entries", self.entries.to_string()));
        if let Some(raw_bytes) = self.raw_bytes {
            facts.push(("lines", bytes(raw_bytes)));
        }
        if let (Some(from), Some(through)) = (self.from_ns, self.through_ns) {
            facts.push(("from", time(from)));
            facts.push(("through", time(through)));
        }
        if let Some(owner) = &self.object {
            let labels = owner.labels.iter().map(|(name, value)| format!("{name}={value:?}"));
            facts.push(("tenant", Text(owner.tenant.as_bytes()).to_string()));
            facts.push(("labels", format!("{{{}}}", labels.collect::<Vec<_>>().join(", "))));
            facts.push(("key", Text(owner.key.as_bytes()).to_string()));
        }
        facts
    }
}

impl Owner {
    pub(crate) fn new(envelope: &Envelope, checksum: u32) -> Self {
        let text = |bytes: &[u8]| Text(bytes).to_string();
        Self {
            tenant: envelope.tenant.clone(),
            fingerprint: envelope.fingerprint,
            labels: envelope.labels.iter().map(|(name, value)| (text(name), text(value))).collect(),
            ingested_at_ms: envelope.ingested_at_ms,
            key: envelope.key(checksum).text(Schema::V13),
        }
    }
}

/// A block by the index.
#[derive(Debug, Serialize)]
pub(crate) struct Block {
    number: usize,
    offset: u64,
    size_bytes: u64,
    raw_bytes: Option<u64>,
    entries: u64,
    from_ns: i64,
    through_ns: i64,
}

impl Block {
    pub(crate) fn of((number, meta): (usize, &BlockMeta)) -> Self {
        let BlockMeta { entries, min_ns, max_ns, offset, raw_bytes, size_bytes } = *meta;
        Self { number, offset, size_bytes, raw_bytes, entries, from_ns: min_ns, through_ns: max_ns }
    }
}

/// Prints blocks as a table.
pub(crate) fn blocks(all: &[Block], out: &mut Out) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut table = figures(&["block", "offset", "stored", "raw", "entries", "from", "through"]);
    for block in all {
        table.add_row([
            block.number.to_string(),
            block.offset.to_string(),
            block.size_bytes.to_string(),
            block.raw_bytes.map_or_else(|| "?".to_owned(), |raw| raw.to_string()),
            block.entries.to_string(),
            time(block.from_ns),
            time(block.through_ns),
        ]);
    }
    out.line(table.trim_fmt())
}

/// What is wrong with a block.
#[derive(Debug, Serialize)]
pub(crate) struct Hurt {
    pub(crate) block: usize,
    pub(crate) offset: u64,
    pub(crate) size_bytes: u64,
    pub(crate) from_ns: i64,
    pub(crate) through_ns: i64,
    pub(crate) kind: &'static str,
    pub(crate) entries_lost: u64,
    pub(crate) why: String,
}

impl From<&Damage> for Hurt {
    fn from(damage: &Damage) -> Self {
        let (kind, why) = match &damage.kind {
            DamageKind::Moved { found_offset } => ("moved", format!("found at byte {found_offset}")),
            DamageKind::Lost { cause, .. } => ("lost", cause.to_string()),
            DamageKind::Unknown { cause } => ("unknown", cause.to_string()),
            other => ("other", format!("{other:?}")),
        };
        Self {
            block: damage.block,
            offset: damage.offset,
            size_bytes: damage.size_bytes,
            from_ns: damage.min_ns,
            through_ns: damage.max_ns,
            kind,
            entries_lost: damage.entries_lost(),
            why,
        }
    }
}

/// Prints what is wrong as a table.
pub(crate) fn damage(all: &[Hurt], out: &mut Out) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut table = figures(&["block", "offset", "bytes", "damage", "entries", "why"]);
    for hurt in all {
        table.add_row([
            hurt.block.to_string(),
            hurt.offset.to_string(),
            hurt.size_bytes.to_string(),
            hurt.kind.to_owned(),
            hurt.entries_lost.to_string(),
            Text(hurt.why.as_bytes()).to_string(),
        ]);
    }
    out.line(table.trim_fmt())
}

/// Whether something is lost; a block at another place than the index says is not.
pub(crate) fn is_loss(damage: &Damage) -> bool {
    !matches!(damage.kind, DamageKind::Moved { .. })
}
