//! The words that a configuration file has for options.

#![cfg(feature = "serde")]

use std::time::Duration;

use forebay_chunk::loki::Schema;
use forebay_chunk::{BuilderOptions, Codec, CorruptionPolicy, FlushPolicy, FlushReason, Format, Limits};

#[test]
fn options_left_out_have_their_defaults_and_unknown_ones_are_refused() {
    let options: BuilderOptions =
        serde_json::from_str(r#"{"format":"loki-v3","codec":"gzip","limits":{"max_line_bytes":9}}"#).unwrap();
    let limits = Limits { max_line_bytes: 9, ..Limits::default() };
    let expected =
        BuilderOptions { format: Format::LokiV3, codec: Codec::Gzip, limits, ..BuilderOptions::default() };
    assert_eq!(options, expected);
    let text = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<BuilderOptions>(&text).unwrap(), options);
    assert!(serde_json::from_str::<BuilderOptions>(r#"{"block_sise":1}"#).is_err());
    assert!(serde_json::from_str::<Limits>(r#"{"max_lines":1}"#).is_err());

    let policy: FlushPolicy = serde_json::from_str(r#"{"max_idle":{"secs":60,"nanos":0}}"#).unwrap();
    assert_eq!(policy, FlushPolicy { max_idle: Duration::from_secs(60), ..FlushPolicy::default() });
}

#[test]
fn words_are_those_that_are_printed() {
    for codec in Codec::ALL {
        assert_eq!(serde_json::to_value(codec).unwrap(), codec.as_str());
    }
    for format in [Format::LokiV1, Format::LokiV2, Format::LokiV3, Format::LokiV4] {
        assert_eq!(serde_json::to_value(format).unwrap(), format.to_string());
    }
    for reason in [FlushReason::MaxAge, FlushReason::WalPinned, FlushReason::NotOwned] {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
    assert_eq!(serde_json::to_value(CorruptionPolicy::SkipBlock).unwrap(), "skip-block");
    assert_eq!(serde_json::to_value(Schema::V13).unwrap(), "v13");
}
