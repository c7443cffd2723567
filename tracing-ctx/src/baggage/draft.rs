//! Baggage that is being written: members that are within the grammar, without optional spaces and tabs.

use bytes::{BufMut, BytesMut};
use http::HeaderValue;

use super::{Baggage, BaggageError, MAX_BAGGAGE_LEN, MAX_BAGGAGE_MEMBERS};
use crate::ows;

#[derive(Default)]
pub(super) struct Draft {
    text: BytesMut,
    members: usize,
}

impl Draft {
    /// With room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { text: BytesMut::with_capacity(bytes), members: 0 }
    }

    /// Appends a member. Neither keys nor values can have spaces or tabs, so all that it has are padding.
    pub(super) fn push(&mut self, member: &[u8]) {
        if self.members > 0 {
            self.text.put_u8(b',');
        }
        self.members += 1;
        for part in member.split(|&byte| ows::is(byte)) {
            self.text.put_slice(part);
        }
    }

    /// Whether this is within the limits.
    pub(super) fn check(&self) -> Result<(), BaggageError> {
        if self.members > MAX_BAGGAGE_MEMBERS {
            return Err(BaggageError::TooManyMembers { limit: MAX_BAGGAGE_MEMBERS });
        }
        if self.text.len() > MAX_BAGGAGE_LEN {
            return Err(BaggageError::TooLong { found: self.text.len(), limit: MAX_BAGGAGE_LEN });
        }
        Ok(())
    }

    /// What was written, which has to be within the limits.
    pub(super) fn finish(self) -> Baggage {
        if self.members == 0 {
            return Baggage::EMPTY;
        }
        let text = HeaderValue::from_maybe_shared(self.text.freeze());
        Baggage { field: Some(text.expect("members are printable ascii")) }
    }
}
