//! How late an entry may be.

use std::time::Duration;

use forebay_chunk::{Append, Builder, BuilderOptions, Direction, Entry, Error, Profile};

#[path = "support/owned.rs"]
mod owned;
use owned::collect;

fn within(window: Duration) -> BuilderOptions {
    BuilderOptions { out_of_order: Some(window), ..BuilderOptions::default() }
}

fn append(builder: &mut Builder, timestamp_ns: i64) -> Result<Append, Error> {
    builder.append(Entry::new(timestamp_ns, &format!("at {timestamp_ns}")))
}

#[test]
fn an_entry_older_than_the_window_is_refused_to_the_nanosecond() {
    let window = Duration::from_nanos(100);
    let columnar = BuilderOptions { out_of_order: Some(window), ..BuilderOptions::columnar(Profile::Fast) };
    for options in [within(window), columnar] {
        let mut builder = Builder::new(options).unwrap();
        for stored in [50, 1000, 900, 950, 900 + 1] {
            assert_eq!(append(&mut builder, stored), Ok(Append::Stored), "{stored}");
        }
        let refused = Error::OutOfOrder { timestamp_ns: 899, cutoff_ns: 900 };
        assert_eq!(refused.to_string(), "entry at 899 ns is too old, the oldest that is taken is at 900 ns");
        assert_eq!(append(&mut builder, 899), Err(refused));
        // The newest counts, not the last, and what is refused moves nothing.
        assert_eq!(append(&mut builder, 900), Ok(Append::Duplicate));
        assert_eq!(append(&mut builder, 1001), Ok(Append::Stored));
        let refused = Error::OutOfOrder { timestamp_ns: 900, cutoff_ns: 901 };
        assert_eq!(append(&mut builder, 900), Err(refused));
        assert_eq!(builder.entries(), 6);
        assert_eq!(collect(&mut builder.snapshot(..).entries(Direction::Forward)).unwrap().len(), 6);
    }
}

#[test]
fn the_window_reaches_over_the_blocks_and_chunks_of_a_stream() {
    let mut first = Builder::new(within(Duration::from_nanos(10))).unwrap();
    assert_eq!(first.highest_ns(), None);
    append(&mut first, 500).unwrap();
    assert!(first.cut().is_some());
    let refused = Error::OutOfOrder { timestamp_ns: 489, cutoff_ns: 490 };
    assert_eq!(append(&mut first, 489), Err(refused.clone()));

    let highest_ns = first.highest_ns().unwrap();
    let mut second = Builder::new(*first.options()).unwrap().with_highest(highest_ns);
    assert_eq!(append(&mut second, 489), Err(refused));
    assert_eq!(append(&mut second, 490), Ok(Append::Stored));
    assert_eq!((second.highest_ns(), second.bounds()), (Some(500), Some((490, 490))));
}

#[test]
fn without_a_window_anything_is_taken_and_at_the_ends_of_time_nothing_overflows() {
    let mut any = Builder::new(BuilderOptions::default()).unwrap();
    for time in [i64::MAX, 0, i64::MIN] {
        assert_eq!(append(&mut any, time), Ok(Append::Stored));
    }
    let mut wide = Builder::new(within(Duration::MAX)).unwrap().with_highest(-1);
    assert_eq!(append(&mut wide, i64::MIN), Ok(Append::Stored));
    let mut none = Builder::new(within(Duration::ZERO)).unwrap().with_highest(i64::MIN);
    assert_eq!(append(&mut none, i64::MIN), Ok(Append::Stored));
    assert_eq!(append(&mut none, i64::MAX), Ok(Append::Stored));
    assert!(append(&mut none, i64::MAX - 1).is_err());
}
