//! The request as those see it who decide about its trace: trust policies, samplers, makers of spans.

use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::Sampler;
use crate::sampler::{Decision, SampleInput};

/// What there is to know about a request before its body.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Caller<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// Where it goes.
    pub uri: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What the layers before this one know about it, for example the peer's address.
    pub extensions: &'a Extensions,
}

impl<'a> Caller<'a> {
    pub(super) fn new<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// A sampler that sees whose request a span is for.
pub(super) struct Informed<'a, S> {
    pub(super) sampler: &'a S,
    pub(super) caller: &'a Caller<'a>,
}

impl<S: Sampler> Sampler for Informed<'_, S> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        let mut input = *input;
        input.caller = Some(self.caller);
        self.sampler.sample(&input)
    }
}
