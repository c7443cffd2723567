//! What sends log lines to the pipeline, and whatever else speaks Loki's push API: [`ship`] reads them from files,
//! [`loggen`] makes them up. Beside them stands what the pipeline's own programs and tests share with these two.

pub mod clock;
pub mod figures;
pub mod http_client;
pub mod log;
pub mod loggen;
pub mod logproto;
pub mod random;
pub mod ship;
