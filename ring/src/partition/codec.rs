//! The bytes of a partition's and an owner's record; the format is that of [`crate::codec`].

use super::record::{Lock, Owner, OwnerState, Partition, PartitionRecord};
use super::state::PartitionState;
use crate::codec::{DecodeError, EncodeError, Kind, MAX_NAME_BYTES, Reader, Writer, open, seal};

impl PartitionRecord {
    /// Appends the record.
    ///
    /// # Errors
    ///
    /// If the id of an owner is too long; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            PartitionRecord::Partition(partition) => seal(Kind::Partition, out, |writer| {
                put_partition(writer, partition);
                Ok(())
            }),
            PartitionRecord::Owner(owner) => seal(Kind::Owner, out, |writer| put_owner(writer, owner)),
        }
    }

    /// Reads a record of either kind.
    ///
    /// # Errors
    ///
    /// If the bytes are no such record of a known version.
    ///
    /// ```
    /// use forebay_ring::partition::{Partition, PartitionRecord};
    ///
    /// let record = PartitionRecord::from(Partition::new(7, 1_700_000_000_000_000_000));
    /// let mut bytes = Vec::new();
    /// record.encode(&mut bytes)?;
    /// assert_eq!(PartitionRecord::decode(&bytes)?, record);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.first() == Some(&Kind::Owner.letter()) {
            let mut reader = open(Kind::Owner, bytes)?;
            let owner = take_owner(&mut reader)?;
            reader.finish()?;
            return Ok(owner.into());
        }
        let mut reader = open(Kind::Partition, bytes)?;
        let partition = take_partition(&mut reader)?;
        reader.finish()?;
        Ok(partition.into())
    }
}

fn put_partition(writer: &mut Writer<'_>, partition: &Partition) {
    writer.varint(partition.number.into());
    writer.byte(partition.state as u8);
    writer.signed(partition.changed_at_ns);
    writer.varint(partition.version);
    writer.byte(partition.lock.locked.into());
    writer.signed(partition.lock.changed_at_ns);
    writer.varint(partition.lock.version);
}

fn take_partition(reader: &mut Reader<'_>) -> Result<Partition, DecodeError> {
    let number = reader.u32("partition")?;
    let byte = reader.byte("state")?;
    let Some(state) = PartitionState::ALL.into_iter().find(|state| *state as u8 == byte) else {
        return reader.malformed("state");
    };
    Ok(Partition {
        number,
        state,
        changed_at_ns: reader.signed("change")?,
        version: reader.varint("version")?,
        lock: Lock {
            locked: reader.flag("lock")?,
            changed_at_ns: reader.signed("change of the lock")?,
            version: reader.varint("version of the lock")?,
        },
    })
}

fn put_owner(writer: &mut Writer<'_>, owner: &Owner) -> Result<(), EncodeError> {
    writer.text("instance", &owner.instance, MAX_NAME_BYTES)?;
    writer.varint(owner.partition.into());
    writer.byte(owner.state as u8);
    writer.signed(owner.changed_at_ns);
    writer.varint(owner.version);
    Ok(())
}

fn take_owner(reader: &mut Reader<'_>) -> Result<Owner, DecodeError> {
    Ok(Owner {
        instance: reader.text("instance", MAX_NAME_BYTES)?.into(),
        partition: reader.u32("partition")?,
        state: if reader.flag("state")? { OwnerState::Deleted } else { OwnerState::Active },
        changed_at_ns: reader.signed("change")?,
        version: reader.varint("version")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::mend;

    fn records() -> [PartitionRecord; 2] {
        let lock = Lock { locked: true, changed_at_ns: i64::MIN, version: 1 << 40 };
        let partition =
            Partition { state: PartitionState::Inactive, version: 9, lock, ..Partition::new(300, -1) };
        let owner =
            Owner { state: OwnerState::Deleted, version: 300, ..Owner::new("ingester-0", u32::MAX, 5) };
        [partition.into(), owner.into()]
    }

    fn bytes(record: &PartitionRecord) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        bytes
    }

    /// Records of version 1 as they were first written. Never change them: add those of a new version.
    #[test]
    fn records_of_version_1_stay_readable_and_are_written_so() {
        let golden: [&[u8]; 2] = [
            include_bytes!("../../tests/golden/codec/v1-partition.bin"),
            include_bytes!("../../tests/golden/codec/v1-owner.bin"),
        ];
        for (record, golden) in records().iter().zip(golden) {
            assert_eq!(bytes(record), golden);
            assert_eq!(PartitionRecord::decode(golden).as_ref(), Ok(record));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_an_error() {
        for record in records() {
            let bytes = bytes(&record);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                PartitionRecord::decode(&flipped).unwrap_err();
            }
            for len in 0..bytes.len() {
                PartitionRecord::decode(&bytes[..len]).unwrap_err();
            }
        }
    }

    #[test]
    fn a_sound_checksum_over_what_no_encoder_writes_is_an_error_or_the_same_bytes() {
        for record in records() {
            let sound = bytes(&record);
            for at in 0..sound.len() - 8 {
                for byte in 0..=u8::MAX {
                    let mut changed = sound.clone();
                    changed[at] = byte;
                    mend(&mut changed);
                    if let Ok(read) = PartitionRecord::decode(&changed) {
                        assert_eq!(bytes(&read), changed, "byte {at} is {byte}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_id_that_no_reader_takes_is_not_written() {
        let mut out = vec![7];
        let record = PartitionRecord::from(Owner::new("x".repeat(256), 0, 0));
        assert!(matches!(record.encode(&mut out), Err(EncodeError::TooLong { found: 256, .. })));
        assert_eq!(out, [7]);
    }
}
