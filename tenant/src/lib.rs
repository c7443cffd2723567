//! Whose data, and what are they allowed: tenant ids, limits and overrides under the names of Loki, validation.

pub mod units;
pub mod yaml;
