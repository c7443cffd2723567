//! Records are read back bit for bit; anything else is an error that says which.

use proptest::prelude::*;

use super::*;
use crate::{Features, Instance, Membership, ReadOnly, State, TokenSet, Version};

/// An instance with something in every field.
fn full() -> Instance {
    Instance {
        zone: "zone-a".into(),
        state: State::Leaving,
        tokens: vec![0, 1, 300, u32::MAX].into(),
        version: Version { incarnation: 3, sequence: 1 << 40 },
        registered_at_ns: -1,
        read_only: ReadOnly { enabled: true, changed_at_ns: i64::MIN },
        features: Features::new([(1, 2), (u64::MAX, 0)]).unwrap(),
        ..Instance::new("ingester-0", "10.0.0.1:9095")
    }
}

fn instance_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_instance(&full(), 9, &mut bytes).unwrap();
    bytes
}

fn tokens_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    let record = TokensRecord { id: "ingester-0".into(), epoch: 9, tokens: full().tokens };
    encode_tokens(&record, &mut bytes).unwrap();
    bytes
}

fn members_bytes() -> Vec<u8> {
    let mut members = Membership::default();
    members.observe(full(), 5);
    members.observe(Instance { state: State::Left, ..Instance::new("b", "") }, 6);
    let mut bytes = Vec::new();
    encode_members(&members, &mut bytes).unwrap();
    bytes
}

type Decoder = fn(&[u8]) -> Result<(), DecodeError>;

/// Each kind of record with its reader.
fn records() -> [(Vec<u8>, Decoder); 3] {
    [
        (instance_bytes(), |bytes| decode_instance(bytes).map(drop)),
        (tokens_bytes(), |bytes| decode_tokens(bytes).map(drop)),
        (members_bytes(), |bytes| decode_members(bytes).map(drop)),
    ]
}

/// Records of version 1 as they were first written. Never change them: add those of a new version.
#[test]
fn records_of_version_1_stay_readable_and_are_written_so() {
    assert_eq!(instance_bytes(), include_bytes!("../../tests/golden/codec/v1-instance.bin"));
    assert_eq!(tokens_bytes(), include_bytes!("../../tests/golden/codec/v1-tokens.bin"));
    assert_eq!(members_bytes(), include_bytes!("../../tests/golden/codec/v1-members.bin"));
    let record = decode_instance(&instance_bytes()).unwrap();
    assert_eq!(record.instance, Instance { tokens: TokenSet::default(), ..full() });
    assert_eq!(record.tokens, TokensRef::of(9, &full().tokens));
    assert_eq!(decode_tokens(&tokens_bytes()).unwrap().tokens, full().tokens);
    assert_eq!(decode_members(&members_bytes()).unwrap()[1], full());
}

#[test]
fn every_flipped_bit_and_every_cut_is_an_error() {
    for (bytes, decode) in records() {
        decode(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&flipped), Err(DecodeError::Checksum { .. })), "bit {bit}");
        }
        for len in 0..bytes.len() {
            decode(&bytes[..len]).unwrap_err();
        }
    }
}

#[test]
fn a_newer_record_another_kind_and_a_broken_one_are_told_apart() {
    let changed = |at: usize, byte: u8| {
        let mut bytes = instance_bytes();
        bytes[at] = byte;
        mend(&mut bytes);
        decode_instance(&bytes).unwrap_err()
    };
    assert_eq!(changed(1, 2), DecodeError::Newer { found: 2, known: 1 });
    assert_eq!(changed(1, 0), DecodeError::Malformed { offset: 1, what: "version" });
    assert_eq!(changed(0, b'T'), DecodeError::Kind { expected: b'I', found: b'T' });
    assert_eq!(decode_instance(b"").unwrap_err(), DecodeError::Short { found: 0 });
    assert_eq!(decode_instance(&[0; 9]).unwrap_err(), DecodeError::Short { found: 9 });
}

/// A body of one's own making under a right checksum.
fn forged(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind.letter(), VERSION];
    bytes.extend(body);
    bytes.extend([0; CHECKSUM_BYTES]);
    mend(&mut bytes);
    bytes
}

#[test]
fn forged_bodies_are_refused_before_room_is_made_for_them() {
    let tokens = |body: &[u8]| decode_tokens(&forged(Kind::Tokens, body)).unwrap_err();
    let malformed = |offset, what| DecodeError::Malformed { offset, what };
    // Id "a", epoch 0, then: more tokens than bytes, more than any instance may have.
    assert_eq!(tokens(&[1, b'a', 0, 3, 1]), malformed(5, "tokens"));
    assert_eq!(
        tokens(&[1, b'a', 0, 0x81, 0x80, 0x04]),
        DecodeError::TooLong { what: "tokens", found: 65_537, max: 65_536 }
    );
    // A token beyond the space, by itself and as a distance.
    assert_eq!(tokens(&[1, b'a', 0, 1, 0x80, 0x80, 0x80, 0x80, 0x10]), malformed(6, "token"));
    assert_eq!(tokens(&[1, b'a', 0, 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]), malformed(12, "token"));
    // A longer form of 0, an eleventh byte, a tenth with too many bits, an end within a number.
    assert_eq!(tokens(&[1, b'a', 0x80, 0, 0]), malformed(4, "epoch"));
    assert_eq!(tokens(&[[1, b'a'].as_slice(), &[0xff; 10], &[1]].concat()), malformed(4, "epoch"));
    assert_eq!(tokens(&[[1, b'a'].as_slice(), &[0xff; 9], &[2, 0]].concat()), malformed(4, "epoch"));
    assert_eq!(tokens(&[1, b'a', 0x80]), malformed(4, "epoch"));
    assert_eq!(tokens(&[1, 0xff, 0, 0]), malformed(3, "id"));
    assert_eq!(tokens(&[1, b'a', 0, 0, 0]), malformed(6, "end"));
    assert_eq!(tokens(&[0x80, 2]), DecodeError::TooLong { what: "id", found: 256, max: MAX_NAME_BYTES });

    // Fields: id, address, zone, state, incarnation, sequence, registration, read-only, its change, features.
    let instance = |body: &[u8]| decode_instance(&forged(Kind::Instance, body)).unwrap_err();
    assert_eq!(instance(&[0, 0, 0, 5, 0, 0, 0, 0, 0, 0]), malformed(6, "state"));
    assert_eq!(instance(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0]), malformed(9, "read-only flag"));
    assert_eq!(instance(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 7, 0, 7, 0]), malformed(15, "feature"));
    let member = [0; 11];
    let members = [[2].as_slice(), &member, &member].concat();
    let twice = decode_members(&forged(Kind::Members, &members)).unwrap_err();
    assert_eq!(twice, malformed(24, "order of ids"));
}

#[test]
fn what_a_reader_would_refuse_is_not_written() {
    let mut out = vec![7];
    let long = "x".repeat(256);
    let instance = Instance::new(long.as_str(), "");
    let refused = EncodeError::TooLong { what: "id", found: 256, max: 255 };
    assert_eq!(encode_instance(&instance, 0, &mut out), Err(refused));
    let tokens = (0..65_537).collect();
    let refused = EncodeError::TooLong { what: "tokens", found: 65_537, max: 65_536 };
    let record = TokensRecord { id: "a".into(), epoch: 0, tokens };
    assert_eq!(encode_tokens(&record, &mut out), Err(refused));
    let crowded = Instance { tokens: record.tokens, ..Instance::new("a", "") };
    encode_instance(&crowded, 0, &mut out).unwrap_err();
    assert_eq!(out, [7]);
}

#[test]
fn a_heartbeat_is_small_and_512_tokens_take_two_kilobytes() {
    let tokens = crate::random_tokens("ingester-0", "zone-a", 0, 512, &TokenSet::default()).unwrap();
    let mut heartbeat = Vec::new();
    let instance = Instance { tokens, registered_at_ns: 1_700_000_000_000_000_000, ..full() };
    encode_instance(&instance, 0, &mut heartbeat).unwrap();
    assert!(heartbeat.len() <= 110, "{} bytes", heartbeat.len());
    let mut bytes = Vec::new();
    let record = TokensRecord { id: "ingester-0".into(), epoch: 0, tokens: instance.tokens };
    encode_tokens(&record, &mut bytes).unwrap();
    assert!((1_900..2_100).contains(&bytes.len()), "{} bytes", bytes.len());
}

fn any_instance() -> impl Strategy<Value = Instance> {
    let texts = (".{0,20}", ".{0,20}", ".{0,20}");
    let numbers = any::<(u64, u64, i64, i64, bool)>();
    let tokens = proptest::collection::vec(any::<u32>(), 0..40);
    let features = proptest::collection::vec(any::<(u64, u64)>(), 0..5);
    (texts, 0..5_usize, numbers, tokens, features).prop_map(
        |((id, addr, zone), state, (incarnation, sequence, at, changed, enabled), tokens, features)| {
            Instance {
                zone: zone.into(),
                state: State::ALL[state],
                tokens: tokens.into(),
                version: Version { incarnation, sequence },
                registered_at_ns: at,
                read_only: ReadOnly { enabled, changed_at_ns: changed },
                features: Features::new(features).unwrap(),
                ..Instance::new(id, addr)
            }
        },
    )
}

proptest! {
    #[test]
    fn any_record_comes_back_as_it_was(instances in proptest::collection::vec(any_instance(), 0..5), epoch: u64) {
        let mut members = Membership::default();
        for instance in &instances {
            members.observe(instance.clone(), 0);
            let mut bytes = Vec::new();
            encode_instance(instance, epoch, &mut bytes).unwrap();
            let record = decode_instance(&bytes).unwrap();
            prop_assert_eq!(&record.instance, &Instance { tokens: TokenSet::default(), ..instance.clone() });
            prop_assert!(record.tokens.is_of(&instance.tokens) && record.tokens.epoch == epoch);
            let mut again = Vec::new();
            record.encode(&mut again).unwrap();
            prop_assert_eq!(again, bytes);

            let record = TokensRecord { id: instance.id.clone(), epoch, tokens: instance.tokens.clone() };
            let mut bytes = Vec::new();
            encode_tokens(&record, &mut bytes).unwrap();
            prop_assert_eq!(decode_tokens(&bytes).unwrap(), record);
        }
        let mut bytes = Vec::new();
        encode_members(&members, &mut bytes).unwrap();
        let known: Vec<Instance> = members.iter().map(|member| (*member.instance).clone()).collect();
        prop_assert_eq!(decode_members(&bytes).unwrap(), known);
    }

    #[test]
    fn bytes_under_a_right_checksum_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..60)) {
        for kind in [Kind::Instance, Kind::Tokens, Kind::Members] {
            let bytes = forged(kind, &body);
            // What is read is written as the same bytes: there is one form for each record.
            let mut again = Vec::new();
            match kind {
                Kind::Instance => if let Ok(record) = decode_instance(&bytes) {
                    record.encode(&mut again).unwrap();
                },
                Kind::Tokens => if let Ok(record) = decode_tokens(&bytes) {
                    encode_tokens(&record, &mut again).unwrap();
                },
                _ => if let Ok(instances) = decode_members(&bytes) {
                    let mut members = Membership::default();
                    for instance in instances {
                        members.observe(instance, 0);
                    }
                    encode_members(&members, &mut again).unwrap();
                },
            }
            prop_assert!(again.is_empty() || again == bytes);
        }
    }
}
