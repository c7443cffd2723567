//! Records of a ring's members, as a store, a file or a peer gives them.

use forebay_ring::codec::{
    RecordKey, RecordKind, decode_instance, decode_members, decode_tokens, encode_members, encode_tokens,
    mend,
};
use forebay_ring::partition::{PartitionRecord, PartitionRing, Partitions};
use forebay_ring::token_file::TokenFile;
use forebay_ring::{Instance, Membership, Operation, Options, Ring};

/// A byte that says what the others are: a record of one of six kinds, of which those of a partition and of an owner are
/// told apart by their first letter, or a key of a store. Where its highest bit is
/// set the record's checksum is right, whatever else is wrong.
pub fn ring_records(data: &[u8]) {
    let Some((&chosen, rest)) = data.split_first() else { return };
    let mut record = rest.to_vec();
    if chosen & 0x80 != 0 {
        mend(&mut record);
    }
    // There is one way to write a record: what is read is written as the same bytes.
    let mut written = Vec::new();
    match chosen & 0x7f {
        0 => {
            let Ok(read) = decode_instance(&record) else { return };
            assert!(read.instance.tokens.is_empty(), "tokens are another record");
            read.encode(&mut written).expect("what was read can be written");
        }
        1 => {
            let Ok(read) = decode_tokens(&record) else { return };
            assert!(
                read.tokens.len() <= record.len(),
                "{} tokens in {} bytes",
                read.tokens.len(),
                record.len()
            );
            encode_tokens(&read, &mut written).expect("what was read can be written");
        }
        2 => {
            let Ok(read) = decode_members(&record) else { return };
            assert!(read.len() <= record.len(), "{} members in {} bytes", read.len(), record.len());
            let members = observed(read);
            encode_members(&members, &mut written).expect("what was read can be written");
            look_up(&members);
        }
        3 => {
            let Ok(read) = TokenFile::decode(&record) else { return };
            read.encode(&mut written).expect("what was read can be written");
        }
        5 => {
            let Ok(read) = PartitionRecord::decode(&record) else { return };
            read.encode(&mut written).expect("what was read can be written");
            let key = RecordKey::parse(&read.key()).expect("its key is one of a store");
            let is_partition = matches!(read, PartitionRecord::Partition(_));
            assert_eq!(key.kind, if is_partition { RecordKind::Partition } else { RecordKind::Owner });
            own(read);
        }
        _ => {
            let Some(text) = crate::text(rest) else { return };
            let Some(key) = RecordKey::parse(text) else { return };
            assert_eq!(key.kind.key(&key.name), text, "a name has one key");
            return;
        }
    }
    assert_eq!(written, record, "written again, it is the same");
}

fn observed(instances: Vec<Instance>) -> Membership {
    let mut members = Membership::default();
    for instance in instances {
        assert!(members.observe(instance, 0), "ids differ, so each is news");
    }
    members
}

/// Members of any kind make a ring that answers.
fn look_up(members: &Membership) {
    let options = Options { zone_awareness: true, ..Options::default() };
    let ring = Ring::build(&options, members, 0).expect("few members");
    for key in [0, 1 << 31, u32::MAX] {
        assert_eq!(ring.owner(key).is_some(), ring.token_count() > 0);
        if let Ok(set) = ring.get(key, Operation::READ) {
            assert!(set.needed() <= set.len() && set.len() <= set.selected());
        }
    }
}

/// A record of any kind makes a view, once, and a ring that answers.
fn own(record: PartitionRecord) {
    let mut view = Partitions::default();
    assert_eq!(view.observe(record.clone()), Ok(true), "it is the first");
    assert_eq!(view.observe(record.clone()), Ok(false), "told twice is no news");
    assert_eq!(view.completed(&record), None, "all that is known is in it");
    let ring = PartitionRing::build(&view).expect("one partition");
    for key in [0, 1 << 31, u32::MAX] {
        if let Ok(number) = ring.partition_for(key) {
            assert_eq!(Some(number), view.partitions().next().map(|partition| partition.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_ring::partition::{Owner, Partition};

    #[test]
    fn records_of_partitions_and_owners_reach_the_view() {
        for record in [Partition::new(300, -1).into(), PartitionRecord::from(Owner::new("a/b", 7, 5))] {
            let mut sound = vec![5];
            record.encode(&mut sound).unwrap();
            ring_records(&sound);
            assert_eq!(PartitionRecord::decode(&sound[1..]), Ok(record));
            // Whatever stands at one place, with a checksum that is right: an error, or the same bytes again.
            sound[0] |= 0x80;
            for at in 1..sound.len() - 8 {
                for byte in 0..=u8::MAX {
                    let mut changed = sound.clone();
                    changed[at] = byte;
                    ring_records(&changed);
                }
            }
        }
    }

    #[test]
    fn a_mended_record_reaches_what_is_behind_the_checksum() {
        let seed = include_bytes!("../corpus/ring_records/members");
        assert_eq!(seed[0], 2);
        assert_eq!(decode_members(&seed[1..]).unwrap().len(), 2);
        let mut changed = seed[1..].to_vec();
        changed[4] ^= 1;
        assert!(decode_members(&changed).is_err());
        mend(&mut changed);
        let members = decode_members(&changed).unwrap();
        assert_ne!(members, decode_members(&seed[1..]).unwrap());
        ring_records(&[&[0x82], seed[1..].as_ref()].concat());
    }
}
