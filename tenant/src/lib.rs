//! Whose data, and what are they allowed: tenant ids, limits and overrides under the names of Loki,
//! validation, and the count of active streams.
//!
//! A log pipeline that many teams share has to know whose request it has in hand, which limits are theirs,
//! and which of the lines keep to them; and it has to go on doing so while somebody edits the limits. Loki's
//! `limits_config` and `overrides` are the files that operators already have. This crate reads them as they
//! are, with the same names, units and rules, and says where they are wrong: line, column, path, what was
//! found, what was expected, and which name was probably meant.
//!
//! # What it does not do
//!
//! It limits no rates: it says what a tenant's rate is, and a limiter keeps it. It reads no files, headers or
//! clocks: text, bytes and times are arguments. It has no type for labels: they are sorted `&[(&str, &str)]`.
//!
//! # Example
//!
//! ```
//! use forebay_tenant::{Admission, Limits, Overrides, Streams, Tenancy, Validator, Verdict, labels};
//!
//! // Once: the defaults, and the file that the operators edit.
//! let overrides = Overrides::new(Limits::default());
//! let reloaded = overrides.reload("
//! overrides:
//!   team-a:
//!     max_line_size: 8B
//!     max_line_size_truncate: yes
//!     max_global_streams_per_user: 3
//!     per_stream_rate_limit: 3MB
//! ")?;
//! assert_eq!(
//!     reloaded.warnings[0].to_string(),
//!     "line 7 column 5: overrides.team-a.per_stream_rate_limit: recognised, not used",
//! );
//! let streams = Streams::new();
//!
//! // For each push: whose it is, and what they are allowed.
//! let org = Tenancy::Multi.resolve(Some(b"team-a"))?;
//! let tenant = org.single()?;
//! let snapshot = overrides.load();
//! let limits = snapshot.limits(tenant.as_str());
//! let now_ns = 1_767_312_000_000_000_000;
//! let validator = Validator::new(limits, now_ns);
//!
//! // For each stream: its labels, and whether there is room for it.
//! let mut unescaped = String::new();
//! let pairs = labels::parse(r#"{env="prod",app="api"}"#, &mut unescaped)?;
//! validator.labels(&pairs).map_err(|rejection| rejection.to_string())?;
//! let limit = limits.stream_limit(3, 10); // three replicas, ten ingesters
//! assert_eq!(streams.admit(tenant.as_str(), 0x5eed, 0, limit), Admission::New);
//!
//! // For each entry.
//! assert_eq!(validator.entry(now_ns, b"fine", &[]), Verdict::Accept);
//! assert_eq!(validator.entry(now_ns, "1234567é".as_bytes(), &[]), Verdict::Truncate { keep: 7 });
//! let late = now_ns - 8 * 86_400_000_000_000;
//! let Verdict::Discard(rejection) = validator.entry(late, b"late", &[]) else { panic!() };
//! assert_eq!(rejection.reason().as_str(), "greater_than_max_sample_age");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! - A request sees one snapshot of the limits; a reload never tears a rate from its burst. A file with a
//!   mistake anywhere changes nothing.
//! - A name that Loki has loads, with a warning if it has no effect here. A name that nobody knows is an
//!   error.
//! - A limit that is set is never lifted by rounding: a share of a stream limit is at least one stream.
//! - Every id has at least one character: `a||b` is refused, not read as a tenant without a name.
//! - A line is cut between characters, and with its identifier is no longer than the limit.
//! - Streams never exceed their limit, except where the limit was lowered; active ones go on. Refused ones
//!   leave no trace.
//! - Checking what is accepted allocates nothing; a refusal allocates when it is printed.
//! - No text, however hostile, makes a reader panic, recurse without bound, or allocate more than in
//!   proportion to its length plus the alias budget of 16 MiB.
//!
//! # Limits
//!
//! Ids 150 bytes; headers 64 KiB, 64 bytes of metadata for each tenant; label sets 1 MiB and 4096 labels;
//! YAML 64 levels, 8 Mi nodes, and 1 Mi nodes or 16 MiB of text repeated by aliases ([`yaml::Budget`]);
//! durations 292 years; times 1677 to 2262.
//!
//! Not here yet: rates of single streams and of policies, enforced and blocked labels, automatic stream
//! sharding, discovery of levels and service names. Their limits load with a warning.
//!
//! # Time, disk, chance
//!
//! Times are arguments: `i64` nanoseconds since 1970 for [`Validator`], `u64` nanoseconds since any origin
//! for [`Streams`]. There is no disk. Chance only seeds hash tables, and nothing that can be seen depends on
//! it but the order of [`Streams::tenants`] and [`Snapshot::tenants`].
//!
//! # Features
//!
//! - `serde`: [`Limits`] and [`Reason`] can be written and [`TenantId`] also read.

pub mod id;
pub mod labels;
pub mod limits;
pub mod org;
pub mod overrides;
pub mod streams;
pub mod units;
pub mod validate;
pub mod yaml;

pub use id::{IdError, TenantId};
pub use limits::{Limits, StreamRetention};
pub use org::{HEADER, Org, OrgError, Tenancy};
pub use overrides::{Overrides, Reloaded, Snapshot};
pub use streams::{Admission, Streams};
pub use validate::{Reason, Rejection, Validator, Verdict};
pub use yaml::Warning;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_requests_share_can_be_shared() {
        fn shared<T: Send + Sync + std::fmt::Debug>() {}
        shared::<(TenantId, Org, Tenancy, Limits, Overrides, Snapshot, Streams)>();
        shared::<(Validator<'_>, Verdict, Rejection<'_>, labels::LabelError)>();
        shared::<(yaml::Node, yaml::Error, yaml::Table<u8>, Warning)>();
    }
}
