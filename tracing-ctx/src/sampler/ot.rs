//! The member `ot` of a `tracestate`, in which OpenTelemetry keeps what it knows about sampling.
//!
//! ```text
//! ot = list    list = entry *( ";" entry )    entry = key ":" value    key unique, list at most 256 bytes
//!              key = a-z *( a-z / 0-9 )       value = *( A-Z / a-z / 0-9 / "." / "_" / "-" )
//! ot=th:c;rv:6e6d1a75832a2f                   th: rejection threshold, rv: randomness in place of the trace id's
//! ```
//!
//! Entries other than `th` pass unread and in order. A member that is not such a list says nothing, and is
//! replaced as a whole when there is something to say.

use super::Threshold;
use super::threshold::randomness;
use crate::{TraceState, TraceStateError};

const MEMBER: &str = "ot";
const THRESHOLD: &str = "th";
const RANDOMNESS: &str = "rv";

/// What [OpenTelemetry] notes about sampling: the member `ot`.
///
/// [OpenTelemetry]: https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/
impl TraceState {
    /// The threshold with which the span was sampled, `th`. `None` if there is none, or if it or the list
    /// that it is in is outside the grammar.
    pub fn threshold(&self) -> Option<Threshold> {
        find(self.list()?, THRESHOLD)?.parse().ok()
    }

    /// The 56 bits that samplers use in place of the trace id's, `rv`. `None` if there are none, or if they
    /// or the list that they are in is outside the grammar.
    pub fn explicit_randomness(&self) -> Option<u64> {
        randomness(find(self.list()?, RANDOMNESS)?)
    }

    /// Notes the threshold with which the span was sampled, and puts the member at the front. Does nothing if
    /// that, and nothing else, is noted already.
    ///
    /// For a span that is being made only: whoever has seen its context has seen the threshold.
    ///
    /// # Errors
    ///
    /// If the member has no room left. There is then no threshold in it, which is better than a wrong one.
    pub fn set_threshold(&mut self, threshold: Threshold) -> Result<(), TraceStateError> {
        if self.threshold() == Some(threshold) && !self.is_repeated() {
            return Ok(());
        }
        let threshold = threshold.to_string();
        let list = self.list().unwrap_or_default();
        let new = find(list, THRESHOLD).is_none().then_some((THRESHOLD, threshold.as_str()));
        let replaced = entries(list)
            .map(|(key, value)| (key, if key == THRESHOLD { threshold.as_str() } else { value }));
        let list = join(replaced.chain(new));
        self.insert(MEMBER, &list).inspect_err(|_| self.erase_threshold())
    }

    /// Removes the threshold, and puts the member at the front, or removes it if nothing else is in it. Does
    /// nothing if there is no threshold.
    pub fn erase_threshold(&mut self) {
        let Some(list) = self.list() else {
            // Whatever it is, a lenient reader could see a threshold in it.
            self.remove(MEMBER);
            return;
        };
        if find(list, THRESHOLD).is_none() && !self.is_repeated() {
            return;
        }
        let list = join(entries(list).filter(|entry| entry.0 != THRESHOLD));
        if list.is_empty() {
            self.remove(MEMBER);
        } else {
            self.insert(MEMBER, &list).expect("a part of what was there");
        }
    }

    /// Both of the above, for the price of one.
    pub(super) fn threshold_and_randomness(&self) -> (Option<Threshold>, Option<u64>) {
        let Some(list) = self.list() else {
            return (None, None);
        };
        (
            find(list, THRESHOLD).and_then(|text| text.parse().ok()),
            find(list, RANDOMNESS).and_then(randomness),
        )
    }

    /// Whether there is a second member, in which somebody else could read a threshold.
    fn is_repeated(&self) -> bool {
        self.members().filter(|member| member.0 == MEMBER).nth(1).is_some()
    }

    fn list(&self) -> Option<&str> {
        self.get(MEMBER).filter(|value| is_list(value))
    }
}

/// The value of an entry of a valid list.
fn find<'list>(list: &'list str, key: &str) -> Option<&'list str> {
    entries(list).find(|entry| entry.0 == key).map(|entry| entry.1)
}

/// The entries of a valid list, in order.
fn entries(list: &str) -> impl Iterator<Item = (&str, &str)> {
    list.split(';').filter_map(|entry| entry.split_once(':'))
}

fn join<'list>(entries: impl Iterator<Item = (&'list str, &'list str)>) -> String {
    let mut list = String::new();
    for (key, value) in entries {
        if !list.is_empty() {
            list.push(';');
        }
        list.extend([key, ":", value]);
    }
    list
}

/// Quadratic in the number of entries, of which not more than 70 with different keys fit into a member.
fn is_list(text: &str) -> bool {
    text.split(';').enumerate().all(|(at, entry)| {
        let Some((key, value)) = entry.split_once(':') else {
            return false;
        };
        is_key(key) && value.bytes().all(is_value) && entries(text).take(at).all(|before| before.0 != key)
    })
}

fn is_key(key: &str) -> bool {
    let all = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    all && key.starts_with(|first: char| first.is_ascii_lowercase())
}

fn is_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests;
