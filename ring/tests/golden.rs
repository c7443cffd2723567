//! Replica sets recorded from a production ring, answered again. Another directory of recordings in the
//! same format can be named by `FOREBAY_GOLDEN_RING`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_ring::{Error, Instance, Membership, Operation, Options, Ring};
use serde_json::Value;

const NOW_NS: u64 = 3_600_000_000_000;

/// A ring as recorded, built of the instances whose heartbeat was fresh or too old by then.
fn ring_of(case: &Value) -> Ring {
    let options = Options {
        replication_factor: case["replication_factor"].as_u64().unwrap().try_into().unwrap(),
        zone_awareness: case["zone_awareness"].as_bool().unwrap(),
        ..Options::default()
    };
    let timeout_ns = u64::try_from(options.heartbeat_timeout.as_nanos()).unwrap();
    let mut members = Membership::default();
    for recorded in case["instances"].as_array().unwrap() {
        let text = |field: &str| recorded[field].as_str().unwrap();
        let tokens = recorded["tokens"].as_array().unwrap().iter();
        let instance = Instance {
            zone: text("zone").into(),
            state: text("state").parse().unwrap(),
            tokens: tokens.map(|token| u32::try_from(token.as_u64().unwrap()).unwrap()).collect(),
            ..Instance::new(text("id"), "")
        };
        let age_ns = if recorded["heartbeat_fresh"].as_bool().unwrap() { timeout_ns } else { timeout_ns + 1 };
        members.observe(instance, NOW_NS - age_ns);
    }
    Ring::build(&options, &members, NOW_NS).unwrap()
}

fn operation(name: &str) -> Operation {
    match name {
        "write" => Operation::WRITE,
        "write_no_extend" => Operation::WRITE_NO_EXTEND,
        "read" => Operation::READ,
        "reporting" => Operation::REPORTING,
        unknown => panic!("no operation {unknown}"),
    }
}

/// Answers every lookup of a file and returns how many there were.
fn answer(name: &str, text: &str) -> usize {
    let mut lookups = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let case: Value = serde_json::from_str(line).unwrap();
        let ring = ring_of(&case);
        for lookup in case["lookups"].as_array().unwrap() {
            let key = u32::try_from(lookup["key"].as_u64().unwrap()).unwrap();
            let answer = ring.get(key, operation(lookup["op"].as_str().unwrap()));
            let context = || format!("{name}:{number}: {lookup}, answered {answer:?}");
            match (&answer, lookup.get("error")) {
                (Ok(set), None) => {
                    let ids: Vec<&str> = set.iter().map(|instance| &*instance.id).collect();
                    assert_eq!(Value::from(ids), lookup["ids"], "{}", context());
                    assert_eq!(Value::from(set.max_errors()), lookup["max_errors"], "{}", context());
                }
                (Err(Error::TooManyUnhealthy { needed, found }), Some(error)) => {
                    assert_eq!(Value::from(*needed), error["needed"], "{}", context());
                    assert_eq!(Value::from(*found), error["found"], "{}", context());
                }
                _ => panic!("{}", context()),
            }
            lookups += 1;
        }
    }
    lookups
}

#[test]
fn recorded_lookups_are_answered_as_recorded() {
    assert_eq!(answer("replica_sets.jsonl", include_str!("golden/replica_sets.jsonl")), 3144);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the recordings of others are named by the environment")]
fn recordings_named_by_the_environment_are_answered_as_recorded() {
    let Some(directory) = std::env::var_os("FOREBAY_GOLDEN_RING") else { return };
    let mut lookups = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            lookups += answer(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap());
        }
    }
    assert!(lookups > 0, "no recorded lookups in {directory:?}");
}
