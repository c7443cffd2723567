//! Whose data, and what are they allowed: tenant ids, limits and overrides under the names of Loki, validation.

pub mod id;
pub mod labels;
pub mod limits;
pub mod org;
pub mod overrides;
pub mod units;
pub mod validate;
pub mod yaml;

pub use id::{IdError, TenantId};
pub use limits::{Limits, StreamRetention};
pub use org::{HEADER, Org, OrgError, Tenancy};
pub use overrides::{Overrides, Reloaded, Snapshot};
pub use validate::{Reason, Rejection, Validator, Verdict};
pub use yaml::Warning;
