//! What a server tells whoever called it about the trace: in a field of one's choice, or as the draft of the
//! W3C has it.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{TRACEPARENT_LEN, TraceContext, TraceParent, hex};

/// The field that browsers show to scripts.
static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What stands before the value of a `traceparent`.
const METRIC: &[u8] = b"trace;desc=";

/// Which fields a response gets.
#[derive(Debug, Clone, Default)]
pub(super) struct ResponseFields {
    pub(super) trace_id: Option<HeaderName>,
    pub(super) server_timing: bool,
}

impl ResponseFields {
    /// What to put into the response to a request of this context, if anything.
    pub(super) fn stamp(&self, context: &TraceContext) -> Option<Stamp> {
        let wanted = self.trace_id.is_some() || self.server_timing;
        wanted.then(|| Stamp { fields: self.clone(), parent: context.parent })
    }
}

/// Fields to be put into one response.
#[derive(Debug)]
pub(super) struct Stamp {
    fields: ResponseFields,
    parent: TraceParent,
}

impl Stamp {
    /// A response so full that it takes no more fields goes out without them, and without what was there.
    pub(super) fn put(self, headers: &mut HeaderMap) {
        let trace_id: [u8; 32] = hex::encode(&self.parent.trace_id.to_bytes());
        if let Some(name) = &self.fields.trace_id
            && headers.try_insert(name, value(&trace_id)).is_err()
        {
            headers.remove(name);
        }
        if self.fields.server_timing {
            let mut metric = [0; METRIC.len() + TRACEPARENT_LEN];
            metric[..METRIC.len()].copy_from_slice(METRIC);
            metric[METRIC.len()..].copy_from_slice(&self.parent.to_bytes());
            let _ = headers.try_append(&SERVER_TIMING, value(&metric));
        }
    }
}

fn value(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("digits, dashes and a word are a value")
}
