//! May this pass now, and if not, when: exact token buckets whose quotas change while they run.
//!
//! A bucket is one 64-bit word counting *tokens*, not time, read against what the rate has minted since an
//! origin. [`Limiter`] is one bucket for many threads, [`bucket`] is the arithmetic alone.

pub mod bucket;
mod cell;
mod decision;
mod limiter;
mod quota;
mod rate;

pub use decision::{Bound, Denied, RetryAfter, Snapshot};
pub use limiter::{Limiter, Permit};
pub use quota::{Oversize, Quota};
pub use rate::{Rate, RateError};
