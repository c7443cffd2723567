//! What is known of a call under way: which generation admitted it, when, and where it is counted.

use crate::in_flight::Place;

/// The right to one call, bound to a generation. Goes back to
/// [`Machine::settle`](crate::machine::Machine::settle) of the machine that issued it, once.
///
/// Three words, and no option, for it is moved about on the path that costs a few nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not settled keeps a half-open slot until the round is over"]
pub(crate) struct Ticket {
    /// The generation, and in the lowest bit whether [`Tally`](crate::tally::Tally) waits for its end.
    generation: u64,
    /// When it was issued, or [`NEVER`](Self::NEVER).
    started_ns: u64,
    /// Half-open: which round. Closed: where the call is counted as in flight, or 0.
    mark: u64,
}

impl Ticket {
    /// The end of time, when nothing begins.
    const NEVER: u64 = u64::MAX;
    /// Of no generation: its result counts nowhere.
    pub(crate) const VOID: Self = Self { generation: u64::MAX - 1, started_ns: Self::NEVER, mark: 0 };

    /// Of a permit that has reported: no generation, tallied or not, is so high.
    pub(crate) const SETTLED: Self = Self { generation: u64::MAX - 3, started_ns: Self::NEVER, mark: 0 };

    /// Of a closed breaker.
    #[inline]
    pub(crate) fn of(generation: u64) -> Self {
        Self { generation: generation << 1, started_ns: Self::NEVER, mark: 0 }
    }

    /// That knows when it was issued.
    pub(crate) fn started(self, now_ns: u64) -> Self {
        Self { started_ns: now_ns, ..self }
    }

    /// That is counted as in flight.
    pub(crate) fn at(self, place: Place) -> Self {
        Self { mark: place.bits(), ..self }
    }

    /// A probe of a half-open round.
    pub(crate) fn in_round(self, round: u32) -> Self {
        Self { mark: u64::from(round), ..self }
    }

    pub(crate) fn round(&self) -> u64 {
        self.mark
    }

    /// Whose end the tally waits for.
    pub(crate) fn tallied(self) -> Self {
        Self { generation: self.generation | 1, ..self }
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation >> 1
    }

    /// Whether nobody waits for its end but the windows and the machine.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.generation & 1 | self.mark == 0
    }

    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.generation == Self::SETTLED.generation
    }

    #[inline]
    pub(crate) fn is_tallied(&self) -> bool {
        self.generation & 1 == 1
    }

    /// Where the call is counted as in flight. A round of probes is no such place.
    #[inline]
    pub(crate) fn place(&self) -> Option<Place> {
        Place::from_bits(self.mark)
    }

    /// Whether it knows when it was issued.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.started_ns != Self::NEVER
    }

    /// How long the call has taken, if that matters.
    #[inline]
    pub(crate) fn elapsed_ns(&self, now_ns: u64) -> Option<u64> {
        self.is_timed().then(|| now_ns.saturating_sub(self.started_ns))
    }
}
