//! Each way to keep lines: how it is written, and how all of it is read back.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use forebay_chunk::{Builder, BuilderOptions, Chunk, Codec, Direction, Entry, Format, Limits, Profile};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use crate::Outcome;
use crate::set::Set;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    Columnar(Profile),
    LokiZstd,
    /// The lines, each with a line feed, in blocks of a mebibyte; without times.
    Zstd(i32),
    Lz4,
    Parquet,
}

/// Lines and their bytes.
type Lines = (usize, usize);

const BLOCK: usize = 1 << 20;

impl Peer {
    pub(crate) const ALL: [Self; 7] = [
        Self::Columnar(Profile::Balanced),
        Self::Columnar(Profile::Archive),
        Self::LokiZstd,
        Self::Zstd(3),
        Self::Zstd(19),
        Self::Lz4,
        Self::Parquet,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Columnar(profile) => format!("columnar-{profile:?}").to_lowercase(),
            Self::LokiZstd => "loki-zstd".into(),
            Self::Zstd(level) => format!("zstd-{level}"),
            Self::Lz4 => "lz4".into(),
            Self::Parquet => "parquet".into(),
        }
    }

    pub(crate) fn build(self, set: &Set) -> Outcome<Vec<Bytes>> {
        match self {
            Self::Columnar(profile) => chunks(BuilderOptions::columnar(profile), set),
            Self::LokiZstd => {
                let codec = Codec::Zstd;
                chunks(BuilderOptions { format: Format::LokiV4, codec, ..BuilderOptions::default() }, set)
            }
            Self::Zstd(level) => blocks(set, |plain| Ok(zstd::bulk::compress(plain, level)?)),
            Self::Lz4 => blocks(set, |plain| Ok(lz4_flex::block::compress_prepend_size(plain))),
            Self::Parquet => Ok(vec![parquet(set)?]),
        }
    }

    /// Visits every line.
    pub(crate) fn read(self, stored: &[Bytes]) -> Outcome<Lines> {
        let mut all = (0, 0);
        for part in stored {
            let (lines, bytes) = match self {
                Self::Columnar(_) | Self::LokiZstd => read_chunk(part)?,
                Self::Zstd(_) => visit(&zstd::bulk::decompress(part, 2 * BLOCK)?),
                Self::Lz4 => visit(&lz4_flex::block::decompress_size_prepended(part)?),
                Self::Parquet => read_parquet(part)?,
            };
            all = (all.0 + lines, all.1 + bytes);
        }
        Ok(all)
    }
}

fn chunks(options: BuilderOptions, set: &Set) -> Outcome<Vec<Bytes>> {
    let mut chunks = Vec::new();
    let mut builder = Builder::new(options)?;
    for (line, &time) in set.lines.iter().zip(&set.times) {
        let entry = Entry::new(time, line);
        if !builder.space_for(&entry) {
            let full = std::mem::replace(&mut builder, Builder::new(options)?);
            chunks.extend(full.finish().map(|chunk| chunk.bytes));
        }
        builder.append(entry)?;
        while let Some(block) = builder.take_full() {
            builder.attach(block.encode());
        }
    }
    chunks.extend(builder.finish().map(|chunk| chunk.bytes));
    Ok(chunks)
}

fn read_chunk(chunk: &Bytes) -> Outcome<Lines> {
    let chunk = Chunk::open(chunk.clone(), &Limits::default())?;
    let mut entries = chunk.entries(.., Direction::Forward);
    let (mut lines, mut bytes) = (0, 0);
    while let Some(batch) = entries.next_batch()? {
        for entry in batch {
            lines += 1;
            bytes += black_box(entry).line.len();
        }
    }
    Ok((lines, bytes))
}

fn blocks(set: &Set, compress: impl Fn(&[u8]) -> Outcome<Vec<u8>>) -> Outcome<Vec<Bytes>> {
    let (mut blocks, mut plain) = (Vec::new(), Vec::with_capacity(BLOCK + (64 << 10)));
    for line in &set.lines {
        plain.extend_from_slice(line);
        plain.push(b'\n');
        if plain.len() >= BLOCK {
            blocks.push(compress(&plain)?.into());
            plain.clear();
        }
    }
    if !plain.is_empty() {
        blocks.push(compress(&plain)?.into());
    }
    Ok(blocks)
}

fn visit(plain: &[u8]) -> Lines {
    let lines = plain.split_inclusive(|&byte| byte == b'\n');
    lines.fold((0, 0), |(lines, bytes), line| (lines + 1, bytes + black_box(line).len() - 1))
}

fn parquet(set: &Set) -> Outcome<Bytes> {
    let schema = parse_message_type("message log { required int64 time; required binary line; }")?;
    let time = ColumnPath::from("time");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_column_dictionary_enabled(time.clone(), false)
        .set_column_encoding(time, Encoding::DELTA_BINARY_PACKED)
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    if let Some(mut column) = group.next_column()? {
        column.typed::<Int64Type>().write_batch(&set.times, None, None)?;
        column.close()?;
    }
    if let Some(mut column) = group.next_column()? {
        let lines: Vec<ByteArray> = set.lines.iter().map(|line| ByteArray::from(&line[..])).collect();
        column.typed::<ByteArrayType>().write_batch(&lines, None, None)?;
        column.close()?;
    }
    group.close()?;
    Ok(file.into_inner()?.into())
}

fn read_parquet(file: &Bytes) -> Outcome<Lines> {
    let file = SerializedFileReader::new(file.clone())?;
    let (mut lines, mut bytes) = (0, 0);
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group)?;
        let rows = usize::try_from(group.metadata().num_rows())?;
        if let ColumnReader::Int64ColumnReader(mut column) = group.get_column_reader(0)? {
            let mut times = Vec::with_capacity(rows);
            column.read_records(rows, None, None, &mut times)?;
            black_box(times);
        }
        if let ColumnReader::ByteArrayColumnReader(mut column) = group.get_column_reader(1)? {
            let mut batch = Vec::new();
            while lines < rows {
                batch.clear();
                let (records, ..) = column.read_records(1024, None, None, &mut batch)?;
                if records == 0 {
                    break;
                }
                lines += records;
                bytes += batch.iter().map(|line| black_box(line).data().len()).sum::<usize>();
            }
        }
    }
    Ok((lines, bytes))
}
