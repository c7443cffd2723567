//! Options in documents, and what is shown of a breaker.
#![cfg(feature = "serde")]

use std::time::Duration;

use forebay_circuit::{Breaker, Options, Snapshot, Trip};

#[test]
fn options_that_are_not_written_have_their_defaults_and_unknown_ones_are_refused() {
    let options: Options = serde_json::from_str(r#"{"trip": {"consecutive": 9}}"#).unwrap();
    assert_eq!(options, Options { trip: Trip::Consecutive(9), ..Options::default() });
    let error = serde_json::from_str::<Options>(r#"{"failure_treshold": 9}"#).unwrap_err();
    assert!(error.to_string().contains("failure_treshold"), "{error}");
    let options = Options { open_for: Duration::from_millis(1_500), ..options };
    let document = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<Options>(&document).unwrap(), options);
}

#[test]
fn a_snapshot_survives_its_document() {
    let breaker =
        Breaker::with_clock(Options { trip: Trip::Consecutive(1), ..Options::default() }, || 0).unwrap();
    breaker.try_acquire().unwrap().failure();
    let snapshot = breaker.snapshot();
    let document = serde_json::to_string(&snapshot).unwrap();
    assert!(document.contains(r#""state":{"open":{"retry_after":"#), "{document}");
    assert_eq!(serde_json::from_str::<Snapshot>(&document).unwrap(), snapshot);
}
