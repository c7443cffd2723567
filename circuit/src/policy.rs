//! [`Options`] that are right: every number in range, every duration in nanoseconds, the trip condition as a
//! [`Rule`] over numbered windows.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::in_flight::InFlight;
use crate::observer::Cause;
use crate::options::{OnDrop, Options, OptionsError, Verdict};
use crate::trip::{Rate, Trip, Window};
use crate::window::TimeWindow;
use crate::word::Word;

/// What a breaker goes by. Breakers of a registry share one.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) rule: Rule,
    /// The windows that the rule looks at, in its order.
    pub(crate) gauges: Box<[Gauge]>,
    /// Which [`Word`] bits an automatic closed breaker has.
    pub(crate) flags: u64,
    pub(crate) slow_call_ns: u64,
    pub(crate) on_drop: OnDrop,
    pub(crate) half_open_probes: u16,
    pub(crate) verdict: Verdict,
    pub(crate) half_open_max_wait_ns: u64,
    pub(crate) reset_after_ns: u64,
    pub(crate) backoff: Backoff,
    pub(crate) count_calls: bool,
}

/// A rate, and what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) rate: Rate,
    /// Slow calls, or else failures.
    pub(crate) slow: bool,
}

/// A [`Trip`] whose rates are places in [`Policy::gauges`].
#[derive(Debug)]
pub(crate) enum Rule {
    Consecutive(u32),
    Rate(usize),
    SlowInFlight(u32),
    Any(Box<[Rule]>),
    All(Box<[Rule]>),
}

impl Policy {
    /// Whether a breaker needs [`Meters`](crate::meters::Meters).
    pub(crate) fn is_metered(&self) -> bool {
        self.flags & Word::METERED != 0
    }

    /// Whether the rule looks at slow calls.
    pub(crate) fn minds_slow(&self) -> bool {
        self.rule.has_slow_in_flight() || self.gauges.iter().any(|gauge| gauge.slow)
    }
}

impl Rule {
    /// Whether it holds, and because of which condition, where `leaf` knows of the conditions.
    pub(crate) fn holds(&self, leaf: &impl Fn(&Self) -> Option<Cause>) -> Option<Cause> {
        match self {
            Self::Any(rules) => rules.iter().find_map(|rule| rule.holds(leaf)),
            Self::All(rules) => {
                let mut first = None;
                for rule in rules {
                    let cause = rule.holds(leaf)?;
                    first = first.or(Some(cause));
                }
                first
            }
            condition => leaf(condition),
        }
    }

    /// The conditions, from left to right.
    pub(crate) fn for_each(&self, visit: &mut impl FnMut(&Self)) {
        match self {
            Self::Any(rules) | Self::All(rules) => rules.iter().for_each(|rule| rule.for_each(visit)),
            condition => visit(condition),
        }
    }

    pub(crate) fn has_slow_in_flight(&self) -> bool {
        self.has(|condition| matches!(condition, Self::SlowInFlight(_)))
    }

    fn has(&self, which: impl Fn(&Self) -> bool) -> bool {
        let mut found = false;
        self.for_each(&mut |condition| found |= which(condition));
        found
    }
}

impl TryFrom<Options> for Policy {
    type Error = OptionsError;

    fn try_from(options: Options) -> Result<Self, OptionsError> {
        let mut compiler = Compiler::default();
        let rule = compiler.rule(&options.trip, 1)?;
        let gauges = compiler.gauges.into_boxed_slice();
        let watches = rule.has_slow_in_flight();
        if watches {
            let least = Duration::from_nanos(InFlight::LEAST_SLOW_CALL_NS);
            OptionsError::at_least("slow_call", options.slow_call, least)?;
        }
        OptionsError::at_least("slow_call", options.slow_call, Duration::from_nanos(1))?;
        check_waits(&options)?;
        check_probes(&options)?;

        let timed = watches || options.on_drop == OnDrop::FailIfSlow || gauges.iter().any(|gauge| gauge.slow);
        let counted = rule.has(|condition| matches!(condition, Rule::Consecutive(_)));
        let flags = [
            (Word::TIMED, timed),
            (Word::METERED, !gauges.is_empty() || watches),
            (Word::WATCHED, watches),
            (Word::COUNTED, counted),
            (Word::JUDGED, true),
            (Word::DROPS_COUNT, options.on_drop != OnDrop::Ignore),
        ];
        let (open_ns, cap_ns) = (saturating_ns(options.open_for), saturating_ns(options.max_open_for));
        Ok(Self {
            rule,
            gauges,
            flags: flags.into_iter().filter(|(_, set)| *set).fold(0, |flags, (flag, _)| flags | flag),
            slow_call_ns: saturating_ns(options.slow_call),
            on_drop: options.on_drop,
            half_open_probes: u16::try_from(options.half_open_probes).unwrap_or(u16::MAX),
            verdict: options.verdict,
            half_open_max_wait_ns: saturating_ns(options.half_open_max_wait),
            reset_after_ns: saturating_ns(options.reset_after),
            backoff: Backoff::new(open_ns, cap_ns, options.jitter_percent, options.seed),
            count_calls: options.count_calls,
        })
    }
}

fn check_waits(options: &Options) -> Result<(), OptionsError> {
    let instant = Duration::from_nanos(1);
    OptionsError::at_least("open_for", options.open_for, instant)?;
    OptionsError::at_least("max_open_for", options.max_open_for, options.open_for)?;
    OptionsError::at_least("half_open_max_wait", options.half_open_max_wait, instant)?;
    OptionsError::range("jitter_percent", options.jitter_percent, 0, 100_u32)
}

fn check_probes(options: &Options) -> Result<(), OptionsError> {
    OptionsError::range("half_open_probes", options.half_open_probes, 1, Options::MAX_PROBES)?;
    match options.verdict {
        Verdict::Successes(needed) => {
            OptionsError::range("verdict.successes", needed, 1, Options::MAX_PROBES)
        }
        Verdict::Rate { of, max_failures } => {
            OptionsError::range("verdict.of", of, 1, Options::MAX_PROBES)?;
            OptionsError::range("verdict.max_failures", max_failures, 0, of - 1)
        }
    }
}

/// Gathers windows and counts conditions on the way through a [`Trip`].
#[derive(Default)]
struct Compiler {
    gauges: Vec<Gauge>,
    conditions: usize,
}

impl Compiler {
    fn rule(&mut self, trip: &Trip, level: usize) -> Result<Rule, OptionsError> {
        if level > Options::MAX_CONDITIONS || self.conditions >= Options::MAX_CONDITIONS {
            return Err(OptionsError::TooManyConditions { most: Options::MAX_CONDITIONS });
        }
        match trip {
            Trip::Any(trips) => Ok(Rule::Any(self.rules(trips, level)?)),
            Trip::All(trips) => Ok(Rule::All(self.rules(trips, level)?)),
            condition => {
                self.conditions += 1;
                self.condition(condition)
            }
        }
    }

    fn rules(&mut self, trips: &[Trip], level: usize) -> Result<Box<[Rule]>, OptionsError> {
        if trips.is_empty() {
            return Err(OptionsError::NoConditions { most: Options::MAX_CONDITIONS });
        }
        trips.iter().map(|trip| self.rule(trip, level + 1)).collect()
    }

    fn condition(&mut self, trip: &Trip) -> Result<Rule, OptionsError> {
        match *trip {
            Trip::Consecutive(failures) => {
                OptionsError::range("trip.consecutive", failures, 1, u32::MAX)?;
                Ok(Rule::Consecutive(failures))
            }
            Trip::SlowInFlight(calls) => {
                OptionsError::range("trip.slow_in_flight", calls, 1, u32::MAX)?;
                Ok(Rule::SlowInFlight(calls))
            }
            Trip::FailureRate(rate) => self.gauge(Gauge { rate, slow: false }),
            Trip::SlowRate(rate) => self.gauge(Gauge { rate, slow: true }),
            Trip::Any(_) | Trip::All(_) => Err(OptionsError::NoConditions { most: Options::MAX_CONDITIONS }),
        }
    }

    fn gauge(&mut self, gauge: Gauge) -> Result<Rule, OptionsError> {
        let Rate { permille, min_calls, over } = gauge.rate;
        OptionsError::range("permille", permille, 1, 1_000_u32)?;
        let most_calls = match over {
            Window::Calls(calls) => {
                OptionsError::range("window.calls", calls, 1, Options::MAX_WINDOW_CALLS)?;
                calls
            }
            Window::Time { span, slices } => {
                OptionsError::range("window.slices", slices, 1, Options::MAX_SLICES)?;
                OptionsError::at_least("window.span", span, Duration::from_nanos(u64::from(slices)))?;
                slices * TimeWindow::CALLS_OF_A_SLICE
            }
        };
        OptionsError::range("min_calls", min_calls, 1, most_calls)?;
        self.gauges.push(gauge);
        Ok(Rule::Rate(self.gauges.len() - 1))
    }
}

/// Whole nanoseconds; beyond 584 years, 584 years.
pub(crate) fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
