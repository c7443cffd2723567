//! Limits read from YAML, all or nothing.
//! Invariant: a node that is refused leaves the limits and the warnings as they were.

use std::time::Duration;

use super::table::{LIMITS, RetentionField, STREAM_RETENTION};
use super::{Limits, Strategy, StreamRetention};
use crate::yaml::{Error, Node, Warning};

/// The least that a rule for selected streams may keep.
const MIN_STREAM_PERIOD: Duration = Duration::from_hours(24);

impl Limits {
    /// Takes over what a mapping under Loki's names says, `limits_config` or one tenant of `overrides`.
    ///
    /// Scalars and lists replace what was there; a null scalar keeps it, a null list empties it. Names that
    /// Loki has or had and this crate does not use become warnings.
    ///
    /// # Errors
    /// [`Error`] with the place of the first unknown name or unreadable value; then nothing is taken over.
    pub fn apply(&mut self, node: &Node, warnings: &mut Vec<Warning>) -> Result<(), Error> {
        let mut limits = self.clone();
        limits.apply_in_place(node, warnings)?;
        *self = limits;
        Ok(())
    }

    /// The same without a copy, for limits that are dropped if the node is refused: then a part is taken over.
    pub(crate) fn apply_in_place(&mut self, node: &Node, warnings: &mut Vec<Warning>) -> Result<(), Error> {
        let mark = warnings.len();
        let applied = node.fields(&LIMITS, warnings, |set, value, warnings| set(self, value, warnings));
        if applied.is_err() {
            warnings.truncate(mark);
        }
        applied
    }
}

/// Sets one limit from the node under its name.
pub(super) type Setter = fn(&mut Limits, &Node, &mut Vec<Warning>) -> Result<(), Error>;

/// Sets a scalar, unless the node is null.
pub(super) fn scalar<'n, T>(
    field: &mut T,
    node: &'n Node,
    read: impl FnOnce(&'n Node) -> Result<T, Error>,
) -> Result<(), Error> {
    if !node.is_null() {
        *field = read(node)?;
    }
    Ok(())
}

pub(super) fn rate(node: &Node) -> Result<f64, Error> {
    let value = node.f64()?;
    match value.is_finite() && value >= 0.0 {
        true => Ok(value),
        false => Err(node.expected("a number of zero or more")),
    }
}

pub(super) fn string(node: &Node) -> Result<String, Error> {
    node.str().map(str::to_owned)
}

pub(super) fn strategy(node: &Node) -> Result<Strategy, Error> {
    match node.str() {
        Ok("global") => Ok(Strategy::Global),
        Ok("local") => Ok(Strategy::Local),
        _ => Err(node.expected("global or local")),
    }
}

pub(super) fn retention_stream(
    limits: &mut Limits,
    node: &Node,
    warnings: &mut Vec<Warning>,
) -> Result<(), Error> {
    limits.retention_stream = node.items(warnings, stream_retention)?;
    Ok(())
}

fn stream_retention(node: &Node, warnings: &mut Vec<Warning>) -> Result<StreamRetention, Error> {
    let (mut selector, mut period, mut priority) = (None, None, 0);
    node.fields(&STREAM_RETENTION, warnings, |field, value, _| {
        match field {
            RetentionField::Selector => selector = Some(string(value)?),
            RetentionField::Period => period = Some(stream_period(value)?),
            RetentionField::Priority => scalar(&mut priority, value, Node::i32)?,
        }
        Ok(())
    })?;
    Ok(StreamRetention {
        selector: selector.ok_or_else(|| node.missing("selector"))?,
        period: period.ok_or_else(|| node.missing("period"))?,
        priority,
    })
}

fn stream_period(node: &Node) -> Result<Duration, Error> {
    let period = node.duration()?;
    match period >= MIN_STREAM_PERIOD {
        true => Ok(period),
        false => Err(node.expected("a retention of at least 24h")),
    }
}
