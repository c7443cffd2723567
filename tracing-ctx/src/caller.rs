//! The request as those see it who decide about its trace: trust policies, samplers, makers of spans.

use http::{Extensions, HeaderMap, Method, Request, Uri};

/// What there is to know about a request before its body.
///
/// A server's layer makes it. Whoever has a request of his own makes it from that, for a sampler or for a test:
///
/// ```
/// use forebay_tracing_ctx::sampler::{Rule, SampleInput};
/// use forebay_tracing_ctx::{Caller, Sampler, TraceId};
/// use http::Request;
///
/// let no_probe =
///     Rule::new(|input: &SampleInput<'_>| input.caller.is_none_or(|caller| caller.uri.path() != "/ready"));
/// for (path, sampled) in [("/ready", false), ("/", true)] {
///     let request = Request::get(path).body(()).expect("valid");
///     let caller = Caller::from(&request);
///     let mut input = SampleInput::root(TraceId::random());
///     input.caller = Some(&caller);
///     assert_eq!(no_probe.sample(&input).sampled, sampled);
/// }
/// ```
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

impl<'a, B> From<&'a Request<B>> for Caller<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}
