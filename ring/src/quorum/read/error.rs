//! Why a read has no result.

use std::fmt;
use std::sync::Arc;

use crate::instance::Instance;
use crate::quorum::outcome::Cause;

/// One call of a read failed.
#[derive(Debug)]
pub struct CallError<E> {
    /// Who failed.
    pub instance: Arc<Instance>,
    /// What happened.
    pub cause: Cause<E>,
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance {}: {}", self.instance.id, self.cause)
    }
}

/// Why a read has no result.
#[non_exhaustive]
#[derive(Debug)]
pub enum ReadError<E> {
    /// Do not try again: an instance answered with an error that others would answer with, too.
    Terminal(CallError<E>),
    /// Try again later: more units failed than may.
    TooManyFailed {
        /// How many may fail.
        max: usize,
        /// Every failure until then, in the order of arrival; of one instance of each unit.
        errors: Vec<CallError<E>>,
    },
}

impl<E: fmt::Display> fmt::Display for ReadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Terminal(error) => error.fmt(f),
            ReadError::TooManyFailed { max, errors } => {
                write!(f, "{} failed where {max} may", errors.len())?;
                errors.first().map_or(Ok(()), |first| write!(f, "; first {first}"))
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for ReadError<E> {}
