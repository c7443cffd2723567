//! Columnar chunks whose end is gone. Every group that is whole is found, and what else there was is reported.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, CorruptionPolicy, Damage, DamageKind, Direction, Error, Limits, Profile,
};

#[path = "support/owned.rs"]
mod owned;
use owned::{Owned, collect};

fn chunk(entries: &[Owned]) -> Vec<u8> {
    let options = BuilderOptions { block_size: 4 * 64, ..BuilderOptions::columnar(Profile::Balanced) };
    let mut builder = Builder::new(options).unwrap();
    for entry in entries {
        entry.lend(|entry| builder.append(entry)).unwrap();
    }
    builder.finish().unwrap().bytes.to_vec()
}

fn entries() -> Vec<Owned> {
    let line = |n: i64| Owned::new(1_700_000_000 + n, format!("line {n}, a line, a line").as_bytes());
    (0..14).map(line).collect()
}

fn salvage(bytes: &[u8]) -> Result<(Vec<Owned>, Vec<Damage>), Error> {
    let chunk = Chunk::open_with(bytes.to_vec(), &Limits::default(), CorruptionPolicy::Salvage)?;
    let mut entries = chunk.entries(.., Direction::Forward);
    let found = collect(&mut entries)?;
    Ok((found, [chunk.damage(), entries.damage()].concat()))
}

/// Where each group starts and ends, and how many entries are in those up to it.
fn groups(bytes: &[u8]) -> Vec<(usize, usize, usize)> {
    let chunk = Chunk::open(bytes.to_vec(), &Limits::default()).unwrap();
    let mut entries = 0;
    let group = |block: &forebay_chunk::BlockMeta| {
        entries += usize::try_from(block.entries).unwrap();
        let start = usize::try_from(block.offset).unwrap();
        (start, start + usize::try_from(block.size_bytes).unwrap(), entries)
    };
    chunk.blocks().iter().map(group).collect()
}

fn is_unknown(damage: &Damage) -> bool {
    matches!(damage.kind, DamageKind::Unknown { .. })
}

#[test]
fn groups_are_found_without_a_footer() {
    let entries = entries();
    let bytes = chunk(&entries);
    let groups = groups(&bytes);
    assert!(groups.len() >= 3);
    assert_eq!(salvage(&bytes), Ok((entries.clone(), vec![])));
    for end in 20..bytes.len() {
        let (found, damage) = salvage(&bytes[..end]).unwrap();
        let whole = groups.iter().rfind(|(_, group_end, _)| *group_end <= end);
        let (_, group_end, count) = whole.copied().unwrap_or((0, 16, 0));
        assert_eq!(found, entries[..count], "cut to {end}");
        let [damage] = &damage[..] else { panic!("{damage:?}") };
        assert!(is_unknown(damage));
        assert_eq!((damage.offset, damage.size_bytes), (group_end as u64, (end - group_end) as u64));
        for policy in [CorruptionPolicy::Fail, CorruptionPolicy::SkipBlock] {
            assert!(Chunk::open_with(bytes[..end].to_vec(), &Limits::default(), policy).is_err());
        }
    }
}

#[test]
fn groups_are_found_in_whatever_order_and_wherever_they_are() {
    let entries = entries();
    let bytes = chunk(&entries);
    let groups = groups(&bytes);
    let part = |number: usize| &bytes[groups[number].0..groups[number].1];
    // Something before, between and behind them, the second before the first, the third twice.
    let noise = b"LCFR and so on LCF";
    let parts = [&bytes[..16], noise, part(1), part(0), noise, part(2), part(2)];
    let (found, damage) = salvage(&parts.concat()).unwrap();
    let mut expected = [&entries[..groups[2].2], &entries[groups[1].2..groups[2].2]].concat();
    expected.sort_by_key(|entry| entry.timestamp_ns);
    assert_eq!(found, expected);
    let sizes: Vec<u64> =
        damage.iter().filter(|damage| is_unknown(damage)).map(|damage| damage.size_bytes).collect();
    assert_eq!(sizes, [18, 18, 0]);
}

#[test]
fn no_flipped_bit_costs_more_than_its_group_or_goes_unreported() {
    let entries = entries();
    let bytes = chunk(&entries);
    let groups = groups(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        let (found, damage) = salvage(&broken).unwrap();
        assert!(!damage.is_empty(), "bit {bit}");
        let mut start = 0;
        let hit = groups.iter().find(|(from, end, _)| (*from..*end).contains(&(bit / 8)));
        let expected: Vec<Owned> = match hit {
            Some(&(_, _, end)) => {
                let before = groups.iter().rfind(|group| group.2 < end);
                start += before.map_or(0, |group| group.2);
                [&entries[..start], &entries[end..]].concat()
            }
            None => entries.clone(),
        };
        assert_eq!(found, expected, "bit {bit}");
    }
}

#[test]
fn what_only_looks_like_groups_is_passed_over_in_linear_time() {
    // Every four bytes start a group whose directory is all that follows.
    let mut flood = chunk(&entries())[..16].to_vec();
    let len = 400_000u32;
    while flood.len() < usize::try_from(len).unwrap() {
        flood.extend(b"LCFR");
        flood.extend((len / 4).to_le_bytes());
        flood.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    }
    let (found, damage) = salvage(&flood).unwrap();
    assert_eq!((found.len(), damage.len()), (0, 1));
}
