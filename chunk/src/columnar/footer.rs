//! The end of a file: which groups there are, what all of them hold, and whose it is. One read of the tail of an
//! object has it. `FORMAT.md` draws it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::format::{HEADER_BYTES, MAJOR};
use crate::chunk::BlockMeta;
use crate::error::to_u64;
use crate::loki::format::{CRC, Reader, put_uvarint, put_varint};
use crate::{Error, Limits, Section};

/// What a file ends with: its major version is in it, for those who read no more than the end.
const END_MAGIC: [u8; 8] = [b'L', b'C', b'F', MAJOR, b'E', b'N', b'D', b'\n'];
/// Length of the footer, length of the file, checksum of all of this and the footer, magic.
pub(crate) const TRAILER_BYTES: usize = 4 + 8 + CRC + END_MAGIC.len();

// Those who do not know an even tag may pass it over.
const GROUPS: u64 = 1;
const CONTENT_HASH: u64 = 2;
const IDENTITY: u64 = 4;
const INGESTED_AT: u64 = 6;

/// What the footer of a columnar chunk says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Footer {
    /// In the order of the file, from behind its head on without a gap.
    pub(crate) groups: Vec<BlockMeta>,
    pub(crate) content_hash: Option<u128>,
    pub(crate) identity: Option<Identity>,
}

/// Whose chunk it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) tenant: String,
    pub(crate) fingerprint: u64,
    pub(crate) labels: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) ingested_at_ms: i64,
}

/// Whether a file ends as a columnar chunk does.
pub(crate) fn is_end(bytes: &[u8]) -> bool {
    bytes.ends_with(&END_MAGIC)
}

impl Footer {
    /// Appends footer and trailer to a file that has its head and its groups.
    pub(crate) fn append(&self, file: &mut Vec<u8>) {
        let mut footer = Vec::new();
        let mut tag = |tag: u64, value: &[u8]| {
            put_uvarint(&mut footer, tag);
            put_uvarint(&mut footer, to_u64(value.len()));
            footer.extend_from_slice(value);
        };
        tag(GROUPS, &self.group_list());
        if let Some(hash) = self.content_hash {
            tag(CONTENT_HASH, &hash.to_le_bytes());
        }
        if let Some(identity) = &self.identity {
            tag(IDENTITY, &identity.encode());
            if identity.ingested_at_ms != 0 {
                let mut time = Vec::new();
                put_varint(&mut time, identity.ingested_at_ms);
                tag(INGESTED_AT, &time);
            }
        }
        let length = u32::try_from(footer.len()).expect("a footer is limited to 2^32 bytes");
        let file_len = file.len().saturating_add(footer.len()).saturating_add(TRAILER_BYTES);
        file.extend_from_slice(&footer);
        let lengths = [&length.to_le_bytes()[..], &to_u64(file_len).to_le_bytes()].concat();
        let crc = sum(&footer, &lengths, &END_MAGIC);
        file.extend_from_slice(&lengths);
        file.extend_from_slice(&crc.to_le_bytes());
        file.extend_from_slice(&END_MAGIC);
    }

    fn group_list(&self) -> Vec<u8> {
        let mut list = Vec::new();
        put_uvarint(&mut list, to_u64(self.groups.len()));
        let mut newest = 0i64;
        for group in &self.groups {
            put_uvarint(&mut list, group.size_bytes);
            put_uvarint(&mut list, group.entries);
            put_varint(&mut list, group.min_ns.wrapping_sub(newest));
            put_uvarint(&mut list, group.max_ns.abs_diff(group.min_ns));
            put_uvarint(&mut list, group.raw_bytes.unwrap_or_default());
            newest = group.max_ns;
        }
        list
    }

    /// The footer of a file of `file_len` bytes, of which `tail` are the last, and where it starts in the file.
    ///
    /// [`Error::Truncated`] in the footer says how many bytes from the end are needed.
    pub(crate) fn read(tail: &[u8], file_len: u64, limits: &Limits) -> Result<(Self, u64), Error> {
        let before = file_len.saturating_sub(to_u64(tail.len()));
        let offset = |at: usize| usize::try_from(before).unwrap_or(usize::MAX).saturating_add(at);
        let at = tail.len().checked_sub(TRAILER_BYTES).ok_or(Error::Truncated {
            section: Section::Trailer,
            offset: before,
            need: to_u64(TRAILER_BYTES),
            have: to_u64(tail.len()),
        })?;
        let (rest, trailer) = tail.split_at(at);
        let mut reader = Reader::new(trailer, offset(at), Section::Trailer);
        let at = reader.clone();
        let lengths = reader.bytes(4 + 8)?;
        let expected = u32::from_le_bytes(reader.array()?);
        let magic: [u8; END_MAGIC.len()] = reader.array()?;
        let [l, c, f, major, end @ ..] = magic;
        if [l, c, f] != *b"LCF" || end != *b"END\n" {
            return Err(at.corrupt("another magic than that of a columnar chunk"));
        }
        let mut sizes = Reader::new(lengths, at.offset(), Section::Trailer);
        let length = usize::try_from(u32::from_le_bytes(sizes.array()?)).unwrap_or(usize::MAX);
        let declared = u64::from_le_bytes(sizes.array()?);
        let Some((_, footer)) = rest.len().checked_sub(length).and_then(|start| rest.split_at_checked(start))
        else {
            let need = to_u64(length).saturating_add(to_u64(TRAILER_BYTES));
            return Err(Error::Truncated {
                section: Section::Footer,
                offset: before,
                need,
                have: to_u64(tail.len()),
            });
        };
        let start = offset(rest.len().saturating_sub(length));
        let found = sum(footer, lengths, &magic);
        if found != expected {
            return Err(Error::ChecksumMismatch {
                section: Section::Footer,
                offset: to_u64(start),
                expected,
                found,
            });
        }
        if major != MAJOR {
            return Err(Error::UnsupportedVersion { version: major });
        }
        if declared != file_len {
            return Err(at.corrupt(format!("a file of {declared} bytes has {file_len}")));
        }
        Ok((Self::parse(&mut Reader::new(footer, start, Section::Footer), limits)?, to_u64(start)))
    }

    fn parse(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self, Error> {
        let start = to_u64(reader.offset());
        let mut footer = Self::default();
        let (mut known, mut ingested_at_ms) = (false, 0);
        let mut last = None;
        while !reader.is_empty() {
            let at = reader.clone();
            let tag = reader.uvarint()?;
            let length = reader.size()?;
            let mut value =
                Reader::new(reader.bytes(length)?, reader.offset().saturating_sub(length), Section::Footer);
            if last >= Some(tag) {
                return Err(at.corrupt(format!("tag {tag} behind tag {}", last.unwrap_or_default())));
            }
            last = Some(tag);
            match tag {
                GROUPS => {
                    footer.groups = groups(&mut value, start, limits)?;
                    known = true;
                }
                CONTENT_HASH => footer.content_hash = Some(u128::from_le_bytes(value.array()?)),
                IDENTITY => footer.identity = Some(Identity::read(&mut value, limits)?),
                INGESTED_AT => ingested_at_ms = value.varint()?,
                _ if tag.is_multiple_of(2) => continue,
                _ => return Err(Error::UnsupportedVersion { version: MAJOR }),
            }
            if !value.is_empty() {
                return Err(
                    value.corrupt(format!("{} bytes behind the value of tag {tag}", value.rest().len()))
                );
            }
        }
        if let Some(identity) = &mut footer.identity {
            identity.ingested_at_ms = ingested_at_ms;
        }
        if known { Ok(footer) } else { Err(reader.corrupt("no list of groups")) }
    }
}

fn sum(footer: &[u8], lengths: &[u8], magic: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    [footer, lengths, magic].into_iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The list of groups, which fill the file up to the footer.
fn groups(reader: &mut Reader<'_>, footer_start: u64, limits: &Limits) -> Result<Vec<BlockMeta>, Error> {
    let at = reader.clone();
    let count = reader.size()?;
    if count > reader.rest().len() / 5 {
        return Err(at.corrupt(format!("{count} groups in {} bytes", reader.rest().len())));
    }
    if count > limits.max_blocks {
        return Err(Error::limit("max_blocks", count, limits.max_blocks));
    }
    let mut groups = Vec::with_capacity(count);
    let (mut offset, mut newest) = (to_u64(HEADER_BYTES), 0i64);
    for number in 0..count {
        let at = reader.clone();
        let (size_bytes, entries) = (reader.uvarint()?, reader.uvarint()?);
        let min_ns = newest.wrapping_add(reader.varint()?);
        let (span, raw_bytes) = (reader.uvarint()?, Some(reader.uvarint()?));
        let end = offset.checked_add(size_bytes).filter(|end| *end <= footer_start);
        let (Some(max_ns), Some(end)) = (min_ns.checked_add_unsigned(span), end) else {
            let what =
                format!("group {number} of {size_bytes} bytes at {offset}, {span} ns from {min_ns} on");
            return Err(at.corrupt(what));
        };
        if entries > to_u64(limits.max_entries_per_block) {
            let entries = usize::try_from(entries).unwrap_or(usize::MAX);
            return Err(Error::limit("max_entries_per_block", entries, limits.max_entries_per_block));
        }
        groups.push(BlockMeta { entries, min_ns, max_ns, offset, raw_bytes, size_bytes });
        (offset, newest) = (end, max_ns);
    }
    if offset != footer_start {
        return Err(at.corrupt(format!("groups up to byte {offset}, the footer starts at {footer_start}")));
    }
    Ok(groups)
}

impl Identity {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let text = |out: &mut Vec<u8>, text: &[u8]| {
            put_uvarint(out, to_u64(text.len()));
            out.extend_from_slice(text);
        };
        text(&mut out, self.tenant.as_bytes());
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        put_uvarint(&mut out, to_u64(self.labels.len()));
        for (name, value) in &self.labels {
            text(&mut out, name);
            text(&mut out, value);
        }
        out
    }

    fn read(reader: &mut Reader<'_>, limits: &Limits) -> Result<Self, Error> {
        let text = |reader: &mut Reader<'_>| {
            let length = reader.size()?;
            reader.bytes(length).map(<[u8]>::to_vec)
        };
        let at = reader.clone();
        let tenant =
            String::from_utf8(text(reader)?).map_err(|_| at.corrupt("a tenant that is not UTF-8"))?;
        let fingerprint = u64::from_le_bytes(reader.array()?);
        let count = reader.size()?;
        if count > limits.max_labels {
            return Err(Error::limit("max_labels", count, limits.max_labels));
        }
        let labels = (0..count).map(|_| Ok((text(reader)?, text(reader)?))).collect::<Result<_, Error>>()?;
        Ok(Self { tenant, fingerprint, labels, ingested_at_ms: 0 })
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn footer() -> Footer {
        let group = |entries, min_ns, max_ns, offset, size_bytes| BlockMeta {
            entries,
            min_ns,
            max_ns,
            offset,
            raw_bytes: Some(7),
            size_bytes,
        };
        Footer {
            groups: vec![
                group(1, i64::MIN, -1, 16, 30),
                group(2, i64::MAX, i64::MAX, 46, 9),
                group(1, 5, 9, 55, 5),
            ],
            content_hash: Some(u128::MAX / 3),
            identity: Some(Identity {
                tenant: "t".into(),
                fingerprint: u64::MAX,
                labels: vec![(b"app".to_vec(), b"\xFF".to_vec()), (b"b".to_vec(), vec![])],
                ingested_at_ms: -7,
            }),
        }
    }

    fn file(footer: &Footer) -> Vec<u8> {
        let mut file = vec![0; 60];
        footer.append(&mut file);
        file
    }

    fn read(file: &[u8]) -> Result<(Footer, u64), Error> {
        Footer::read(file, to_u64(file.len()), &Limits::default())
    }

    #[test]
    fn a_footer_is_read_from_the_tail_of_its_file() {
        for footer in [footer(), Footer { content_hash: None, identity: None, ..footer() }] {
            let file = file(&footer);
            assert_eq!(read(&file), Ok((footer.clone(), 60)));
            let needed = file.len() - 60;
            for have in 0..file.len() {
                let found = Footer::read(&file[file.len() - have..], to_u64(file.len()), &Limits::default());
                match found {
                    Ok((found, start)) => assert!(have >= needed && (found, start) == (footer.clone(), 60)),
                    Err(Error::Truncated { section: Section::Footer, need, .. }) => {
                        assert!(have < needed && need == to_u64(needed));
                    }
                    Err(Error::Truncated { section: Section::Trailer, .. }) => assert!(have < TRAILER_BYTES),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    #[test]
    fn no_bit_of_it_may_differ() {
        let file = file(&footer());
        for bit in 8 * 60..8 * file.len() {
            let mut broken = file.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn unknown_even_tags_are_passed_over_and_odd_ones_refused() {
        for (tag, expected) in [(8u8, Ok(60)), (9, Err(Error::UnsupportedVersion { version: 1 }))] {
            let mut file = file(&footer());
            let at = file.len() - TRAILER_BYTES;
            file.splice(at.., [tag, 1, 77]);
            let (body, length) = (file[60..].to_vec(), file.len() - 60);
            let file_len = to_u64(60 + length + TRAILER_BYTES);
            let lengths =
                [&u32::try_from(length).unwrap().to_le_bytes()[..], &file_len.to_le_bytes()].concat();
            file.extend(&lengths);
            file.extend(sum(&body, &lengths, &END_MAGIC).to_le_bytes());
            file.extend(END_MAGIC);
            assert_eq!(read(&file).map(|(_, start)| start), expected);
        }
    }

    #[test]
    fn groups_have_to_fill_the_file() {
        for change in [
            |footer: &mut Footer| footer.groups[2].size_bytes += 1,
            |footer: &mut Footer| footer.groups[0].size_bytes -= 1,
            |footer: &mut Footer| footer.groups[0].size_bytes = u64::MAX,
            |footer: &mut Footer| footer.groups[0].entries = 1 << 40,
            |footer: &mut Footer| footer.groups.clear(),
        ] {
            let mut footer = footer();
            change(&mut footer);
            assert!(read(&file(&footer)).is_err());
        }
    }
}
