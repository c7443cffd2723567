//! The reference pipeline.
