//! The trace context: what travels with a piece of work, and what the current piece of work is.
//!
//! The current context is a value of the thread that only [`scope`] and the futures of
//! [`task`](crate::task) set, each putting back what was there before. So whatever is current on return was
//! current on entry, also after a panic.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use crate::sampler::SampleInput;
use crate::{Baggage, Sampler, SpanId, TraceId, TraceParent, TraceState};

/// A span, what the vendors along the way have noted about its trace, and what the application sends along.
///
/// Cloning copies it and counts up to two references. What is current is behind an `Arc`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TraceContext {
    /// The trace, the span that is at work, and the flags.
    pub parent: TraceParent,
    /// Notes of vendors, to be passed on.
    pub state: TraceState,
    /// What the application sends along with all work that follows from this.
    pub baggage: Baggage,
    /// Whether the span is at work in another process, from which this was received.
    pub remote: bool,
}

impl TraceContext {
    /// A context of this process without notes and baggage.
    #[inline]
    pub const fn new(parent: TraceParent) -> Self {
        Self { parent, state: TraceState::EMPTY, baggage: Baggage::EMPTY, remote: false }
    }

    /// A new trace with ids from `source`, sampled if `sampler` says so.
    pub fn root(source: impl FnMut() -> u64, sampler: &(impl Sampler + ?Sized)) -> Self {
        let root = Self::new(TraceParent::root(source));
        sampler.sample(&SampleInput::root(root.trace_id())).apply(root)
    }

    /// The same trace, seen from a span of this process that is sampled if `sampler` says so.
    ///
    /// The flag and the threshold in the state change together with the span id, which nobody else may have
    /// seen.
    #[must_use]
    pub fn child_sampled(&self, span_id: SpanId, sampler: &(impl Sampler + ?Sized)) -> Self {
        self.clone().into_child_sampled(span_id, sampler)
    }

    /// [`child_sampled`](Self::child_sampled) without a copy.
    pub(crate) fn into_child_sampled(mut self, span_id: SpanId, sampler: &(impl Sampler + ?Sized)) -> Self {
        let decision = sampler.sample(&SampleInput::child(&self));
        self.parent = self.parent.child(span_id);
        self.remote = false;
        decision.apply(self)
    }

    /// The same trace, seen from a span of this process that is sampled if `sampler` would sample the first span
    /// of the trace: whatever was decided for `self` does not count.
    #[must_use]
    pub fn child_resampled(&self, span_id: SpanId, sampler: &(impl Sampler + ?Sized)) -> Self {
        sampler.sample(&SampleInput::anew(self)).apply(self.child(span_id))
    }

    /// The same trace with the same decision, seen from a span of this process.
    #[must_use]
    pub fn child(&self, span_id: SpanId) -> Self {
        let Self { parent, state, baggage, .. } = self.clone();
        Self { parent: parent.child(span_id), state, baggage, remote: false }
    }

    /// The trace.
    #[inline]
    pub const fn trace_id(&self) -> TraceId {
        self.parent.trace_id
    }

    /// The span that is at work.
    #[inline]
    pub const fn span_id(&self) -> SpanId {
        self.parent.parent_id
    }

    /// Whether the trace is to be recorded.
    #[inline]
    pub const fn is_sampled(&self) -> bool {
        self.parent.flags.is_sampled()
    }

    /// A span `trace` of level INFO with the fields `trace_id` and `span_id`, for the log lines of work that
    /// no server's layer started: a consumer of a queue, a job.
    ///
    /// ```
    /// use forebay_tracing_ctx::sampler::Always;
    /// use forebay_tracing_ctx::{TraceContext, context, random_u64};
    ///
    /// let trace = TraceContext::root(random_u64, &Always);
    /// let span = trace.span();
    /// context::scope(trace, || span.in_scope(|| tracing::info!("a line with both ids")));
    /// ```
    #[cfg(feature = "tracing")]
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!("trace", trace_id = %self.trace_id(), span_id = %self.span_id())
    }
}

/// What [`scope`] and [`with_trace`](crate::TraceFutureExt::with_trace) take: one context for all who work on it.
impl From<TraceContext> for Option<Arc<TraceContext>> {
    fn from(context: TraceContext) -> Self {
        Some(Arc::new(context))
    }
}

thread_local! {
    // Whoever sets it puts back what was there, so there is nothing to drop when the thread ends. Without a
    // destructor it can be reached at any time, also while the thread is being torn down, and without a look
    // at whether it can.
    static CURRENT: Cell<ManuallyDrop<Option<Arc<TraceContext>>>> = const { Cell::new(ManuallyDrop::new(None)) };
}

/// The context of the work this thread is doing now; counts a reference. `None` outside of any.
#[inline]
pub fn current() -> Option<Arc<TraceContext>> {
    look(Option::clone)
}

/// The ids and flags of [`current`], for log lines: a copy of 32 bytes.
#[inline]
pub fn current_parent() -> Option<TraceParent> {
    look(|current| current.as_ref().map(|context| context.parent))
}

/// What is current, seen by code that does not run others' code.
fn look<T>(at: impl FnOnce(&Option<Arc<TraceContext>>) -> Option<T>) -> Option<T> {
    let mut current = None;
    swap(&mut current);
    let seen = at(&current);
    swap(&mut current);
    seen
}

/// Runs `work` with this context current, or with none.
///
/// This is for work that does not wait; futures have [`with_trace`](crate::TraceFutureExt::with_trace).
///
/// ```
/// use forebay_tracing_ctx::sampler::Always;
/// use forebay_tracing_ctx::{TraceContext, context, random_u64};
///
/// let trace = TraceContext::root(random_u64, &Always);
/// context::scope(trace.clone(), || {
///     let here = context::current();
///     assert_eq!(here.as_deref(), Some(&trace));
///     // A thread begins outside of any trace. This hands it over.
///     let thread = std::thread::spawn(|| context::scope(here, context::current_parent));
///     assert_eq!(thread.join().unwrap(), Some(trace.parent));
/// });
/// assert_eq!(context::current(), None);
/// ```
pub fn scope<R>(context: impl Into<Option<Arc<TraceContext>>>, work: impl FnOnce() -> R) -> R {
    let mut slot = context.into();
    let _entered = Entered::new(&mut slot);
    work()
}

/// While this lives, the context of the slot is current and the slot holds what was current before.
///
/// Not to be stored anywhere: a guard that outlives a younger one would put back the wrong context.
pub(crate) struct Entered<'slot> {
    slot: &'slot mut Option<Arc<TraceContext>>,
}

impl<'slot> Entered<'slot> {
    #[inline]
    pub(crate) fn new(slot: &'slot mut Option<Arc<TraceContext>>) -> Self {
        swap(slot);
        Self { slot }
    }
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        swap(self.slot);
    }
}

#[inline]
fn swap(slot: &mut Option<Arc<TraceContext>>) {
    let before = CURRENT.replace(ManuallyDrop::new(slot.take()));
    *slot = ManuallyDrop::into_inner(before);
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::sampler::{Always, Never};

    fn context(seed: u64) -> TraceContext {
        TraceContext::root(|| seed, &Never)
    }

    #[test]
    fn scopes_nest_and_put_back_what_was_there() {
        assert_eq!(current(), None);
        scope(context(1), || {
            scope(context(2), || assert_eq!(current().as_deref(), Some(&context(2))));
            assert_eq!(current().as_deref(), Some(&context(1)));
            scope(None, || assert_eq!((current(), current_parent()), (None, None)));
            assert_eq!(current_parent(), Some(context(1).parent));
        });
        assert_eq!(current(), None);
    }

    #[test]
    fn a_panic_puts_back_what_was_there() {
        scope(context(1), || {
            let work = AssertUnwindSafe(|| scope(context(2), || panic!("on purpose")));
            catch_unwind(work).unwrap_err();
            assert_eq!(current().as_deref(), Some(&context(1)));
        });
    }

    #[test]
    fn a_child_keeps_all_but_the_span_and_is_of_this_process() {
        let mut received = context(1);
        received.state = "a=1".parse().unwrap();
        received.remote = true;
        let span_id = SpanId::from_source(|| 9);
        let child = received.child(span_id);
        assert_eq!((child.trace_id(), child.span_id()), (received.trace_id(), span_id));
        assert_eq!((child.state, child.remote), (received.state, false));
    }

    #[test]
    fn a_root_is_sampled_if_the_sampler_says_so() {
        assert!(TraceContext::root(|| 1, &Always).is_sampled());
        assert!(!TraceContext::root(|| 1, &Never).is_sampled());
    }

    #[test]
    fn a_thread_that_is_torn_down_has_contexts_as_any_other() {
        struct Last(std::sync::mpsc::Sender<Option<Arc<TraceContext>>>);
        impl Drop for Last {
            fn drop(&mut self) {
                assert_eq!(current(), None);
                self.0.send(scope(context(1), current)).unwrap();
            }
        }
        thread_local!(static LAST: Cell<Option<Last>> = const { Cell::new(None) });
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            LAST.set(Some(Last(sender)));
            scope(context(2), || assert!(current().is_some()));
        })
        .join()
        .unwrap();
        let answer = receiver.recv().expect("sent by the destructor");
        assert_eq!(answer.as_deref(), Some(&context(1)));
    }
}
