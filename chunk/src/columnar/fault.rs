//! What is wrong with a group's streams, told before it is known which group of which chunk it is.

use super::stream::Kind;
use crate::error::to_u64;
use crate::{Error, Section};

/// Why a group could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A stream contradicts the format or another stream, at this byte of it when decompressed.
    Corrupt { kind: Kind, offset: usize, what: String },
    /// It would take more than is allowed.
    Limit { limit: &'static str, value: usize, max: usize },
    /// Told in full already.
    Whole(Error),
}

impl Fault {
    pub(crate) fn corrupt(kind: Kind, offset: usize, what: impl Into<String>) -> Self {
        Self::Corrupt { kind, offset, what: what.into() }
    }

    pub(crate) fn limit(limit: &'static str, value: usize, max: usize) -> Self {
        Self::Limit { limit, value, max }
    }

    /// The error that it is in the group of that number.
    pub(crate) fn into_error(self, group: usize) -> Error {
        match self {
            Self::Corrupt { kind, offset, what } => {
                let section = Section::Values { group, kind: kind.byte() };
                Error::Corrupt { section, offset: to_u64(offset), what }
            }
            Self::Limit { limit, value, max } => Error::limit(limit, value, max),
            Self::Whole(error) => error,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Whole(error)
    }
}
