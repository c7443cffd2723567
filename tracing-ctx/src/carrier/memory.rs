//! A carrier in memory: pairs of a name and bytes, as the headers of a Kafka record are.

use http::header::{HeaderName, HeaderValue};

use super::{Extractor, Injector};

/// A list of named fields, in order. Names have no case, and several fields may have the same one.
///
/// ```
/// use forebay_tracing_ctx::carrier::{self, Fields};
/// use forebay_tracing_ctx::{TraceContext, random_u64, sampler::Always};
///
/// let mut record = Fields::default();
/// record.push("content-type", "text/plain");
/// let sent = TraceContext::root(random_u64, &Always);
/// carrier::inject(&sent, &mut record);
///
/// let received = carrier::extract(&record).into_context().expect("sent");
/// assert_eq!(received.parent, sent.parent);
/// assert!(received.remote);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    /// Appends a field behind those that are there.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.0.push((name.into(), value.into()));
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

impl<N: Into<String>, V: Into<Vec<u8>>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl Extractor for Fields {
    type Value<'a> = &'a [u8];

    fn values(&self, name: &'static HeaderName) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(|field| field.0.eq_ignore_ascii_case(name.as_str())).map(|field| field.1)
    }
}

impl Injector for Fields {
    fn replace(&mut self, name: &'static HeaderName, value: Option<HeaderValue>) {
        self.0.retain(|field| !field.0.eq_ignore_ascii_case(name.as_str()));
        if let Some(value) = value {
            self.push(name.as_str(), value.as_bytes());
        }
    }

    fn append(&mut self, name: &'static HeaderName, value: HeaderValue) {
        self.push(name.as_str(), value.as_bytes());
    }
}
