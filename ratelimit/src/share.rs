//! What one of several instances lets pass, so that all of them together keep to one global limit.
//!
//! S1: the rates of all instances add up to no more than the global one, at every instant, as long as each
//! knows of at least as many healthy instances as serve and, if weighted, of the same demands: while one has heard
//! of them and another has not, the sum is off by as much as they have changed. For that a count that rises is
//! believed at once, and one that falls only after it has stayed down; shares are rounded down, unless to nothing.
//! Fixed parts add up as the operator has them, and local ones to the whole for each.
//! S2: a refusal quotes the limit that the operator configured, not the part that came of it.

use std::fmt;
use std::time::Duration;

use crate::decision::Denied;
use crate::quota::Quota;
use crate::rate::Rate;

/// How a global limit is divided.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Strategy {
    /// Not at all: every instance lets the whole of it pass, as if it were alone.
    #[default]
    Local,
    /// Into equal parts among the healthy instances: right where a balancer spreads requests evenly.
    Even,
    /// By demand: `floor` of the limit in equal parts, so that an instance that nobody came to has something
    /// for the first who does, and the rest in proportion to what was asked of each.
    Weighted {
        /// From 1/65536 to 1, or zero; 0.1 is a good beginning. Zero starves an instance until its demand was heard of.
        floor: f64,
    },
    /// This part of it, from 1/65536 to 1, or zero, whoever else there may be.
    Fixed(f64),
}

/// How a [`Share`] behaves when what it knows changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareOptions {
    /// How the limit is divided; not at all by default.
    pub strategy: Strategy,
    /// How long a number of instances has to stay down before the others take over its part; 30 s by default.
    /// Too short, and while an instance is only thought to be gone, more than the limit passes.
    pub settle: Duration,
    /// The smallest burst of a part, in tokens; zero by default. Bursts are not divided, so this matters only
    /// where the global burst is smaller than the largest request.
    pub min_burst: u64,
}

impl Default for ShareOptions {
    fn default() -> Self {
        Self { strategy: Strategy::Local, settle: Duration::from_secs(30), min_burst: 0 }
    }
}

/// A share that is none.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ShareError {
    /// A part of a limit lies between nothing and all of it, and is not too small to be told from nothing.
    #[error("a share of {0} is neither 0 nor within 1/65536 to 1")]
    OutOfRange(f64),
}

/// The part of this instance.
///
/// It is told what the membership says ([`instances`](Self::instances)) and, if weighted, what is asked of whom
/// ([`demand`](Self::demand)); and says which [`Quota`] to hold a key to here. The rate is divided and the burst
/// is not: a request arrives at one instance, as large as it is.
///
/// ```
/// use forebay_ratelimit::{Keyed, Quota, Rate, Share, ShareOptions, Strategy};
///
/// let mut share = Share::new(ShareOptions { strategy: Strategy::Even, ..Default::default() })?;
/// share.instances(4, 0);
/// let global = Quota::new(Rate::per_second(400), 50);
/// assert_eq!(share.quota(global), Quota::new(Rate::per_second(100), 50));
///
/// let tenants: Keyed<String> = Keyed::new(Default::default());
/// assert!(tenants.allow("blue", 50, share.quota(global)));
/// let denied = tenants.try_acquire("blue", 50, share.quota(global)).unwrap_err();
/// let refusal = share.explain(global, denied).to_string();
/// assert!(refusal.ends_with("this is 1/4 of the global limit of 400/s, burst 50"));
/// # Ok::<(), forebay_ratelimit::ShareError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    options: ShareOptions,
    /// The number that is believed; zero before any was told.
    instances: u32,
    /// The largest number told since it first was below `instances`, and when that was.
    fewer: Option<(u32, u64)>,
    /// What this instance is asked for, as a part of what all are.
    weight: Option<f64>,
    part: Fraction,
}

/// A part of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fraction {
    parts: u32,
    of: u32,
}

const WHOLE: Fraction = Fraction { parts: 1, of: 1 };

/// Parts have at most so many binary digits, so that a demand that wavers does not make ever new quotas.
const DIGITS: u32 = 16;

/// The smallest part that an operator may want, and the smallest that a weight may come to: of 2^31.
const SMALLEST: f64 = 1.0 / 65_536.0;
const MOST_DIGITS: u32 = 31;

impl Share {
    /// All of the limit, until something is known of others; a fixed part from the beginning.
    ///
    /// # Errors
    /// [`ShareError`] if a floor or a fixed part is neither zero nor within 1/65536 to 1.
    pub fn new(options: ShareOptions) -> Result<Self, ShareError> {
        if let Strategy::Weighted { floor: part } | Strategy::Fixed(part) = options.strategy
            && part != 0.0
            && !(SMALLEST..=1.0).contains(&part)
        {
            return Err(ShareError::OutOfRange(part));
        }
        let mut share = Self { options, instances: 0, fewer: None, weight: None, part: WHOLE };
        share.divide();
        Ok(share)
    }

    /// So many instances are healthy, this one included. To be told again and again, for a number that falls is
    /// believed at the first call after it has stayed down. None at all, which is what a membership says that
    /// has not heard of anybody, counts as this one alone: the full rate.
    pub fn instances(&mut self, healthy: u32, now_ns: u64) {
        let healthy = healthy.max(1);
        let settle_ns = u64::try_from(self.options.settle.as_nanos()).unwrap_or(u64::MAX);
        if healthy >= self.instances {
            (self.instances, self.fewer) = (healthy, None);
        } else {
            let (most, since_ns) = self.fewer.unwrap_or((healthy, now_ns));
            let most = most.max(healthy);
            self.fewer = Some((most, since_ns));
            if now_ns.saturating_sub(since_ns) >= settle_ns {
                self.instances = most;
                self.fewer = (healthy < most).then_some((healthy, now_ns));
            }
        }
        self.divide();
    }

    /// What is asked of this instance and of all of them, this one included, in any one unit: such as
    /// [`Demand::per_second`], as each publishes it. A part that shrinks does so at once; one that grows, by a
    /// twentieth at least. Numbers that make no sense (not finite, negative, nothing at all) count as equal
    /// demand. Only [`Strategy::Weighted`] asks for it.
    pub fn demand(&mut self, own: f64, total: f64) {
        let sensible = own.is_finite() && total.is_finite() && own >= 0.0 && total > 0.0;
        self.weight = sensible.then(|| (own / total).min(1.0));
        self.divide();
    }

    /// The quota of this instance under the `global` one: its part of the rate, rounded down (but not to
    /// nothing), and the whole burst. Unlimited and zero stay what they are.
    pub fn quota(&self, global: Quota) -> Quota {
        let burst = global.burst.max(self.options.min_burst);
        Quota { rate: part_of(global.rate, self.part), burst, ..global }
    }

    /// The part of this instance, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        f64::from(self.part.parts) / f64::from(self.part.of)
    }

    /// The number of instances that is believed; zero before any was told.
    pub fn believed_instances(&self) -> u32 {
        self.instances
    }

    /// A refusal that was decided under [`quota`](Self::quota), with the limit that it came of.
    pub fn explain(&self, global: Quota, denied: Denied) -> ShareDenied {
        ShareDenied { denied, global, part: self.part }
    }

    fn divide(&mut self) {
        let of = self.instances.max(1);
        let even = Fraction { parts: 1, of };
        self.part = match (self.options.strategy, self.weight) {
            (Strategy::Local, _) => WHOLE,
            (Strategy::Even, _) | (Strategy::Weighted { .. }, None) => even,
            (Strategy::Weighted { floor }, Some(weight)) => {
                // Adds up to one over all instances: floor + (1 - floor).
                let new = steps(floor / f64::from(of) + (1.0 - floor) * weight);
                let old = self.part;
                let [before, after] =
                    [(old, new), (new, old)].map(|(part, other)| u64::from(part.parts) * u64::from(other.of));
                let grows_little = after > before && (after - before) < before / 20;
                if grows_little { old } else { new }
            }
            (Strategy::Fixed(part), _) => steps(part),
        };
    }
}

/// Rounded down by less than 2^-11 of it, or by a part in 2^31 if that is more, but not to nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^31, and saturating")]
fn steps(part: f64) -> Fraction {
    if part <= 0.0 {
        return Fraction { parts: 0, of: 1 };
    }
    let mut digits = DIGITS;
    while digits < MOST_DIGITS && part * f64::from(1_u32 << digits) < 2_048.0 {
        digits += 1;
    }
    let of = 1 << digits;
    Fraction { parts: ((part * f64::from(of)) as u32).clamp(1, of), of }
}

/// Rounded down to what 64 bits can say, but not to nothing: one token in 584 years is the least.
fn part_of(rate: Rate, Fraction { parts, of }: Fraction) -> Rate {
    if rate.is_unlimited() || rate.is_zero() || parts == of {
        return rate;
    }
    let (tokens, per_ns) = rate.parts();
    let (mut tokens, mut per_ns) =
        (u128::from(tokens) * u128::from(parts), u128::from(per_ns) * u128::from(of));
    if tokens == 0 {
        return Rate::ZERO;
    }
    let divisor = gcd(tokens, per_ns);
    (tokens, per_ns) = (tokens / divisor, per_ns / divisor);
    while tokens > u128::from(u64::MAX) || per_ns > u128::from(u64::MAX) {
        (tokens, per_ns) = (tokens / 2, per_ns.div_ceil(2));
    }
    match (u64::try_from(tokens), u64::try_from(per_ns)) {
        (Ok(tokens @ 1..), Ok(per_ns)) => Rate::per(tokens, Duration::from_nanos(per_ns)),
        _ => Rate::per(1, Duration::MAX),
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A refusal by the part of one instance, as the operator and the tenant know the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShareDenied {
    /// What was decided here, under the part.
    pub denied: Denied,
    /// The limit that was configured.
    pub global: Quota,
    part: Fraction,
}

/// `500 tokens exceed the rate of 100/s: …; this is 1/4 of the global limit of 400/s, burst 1000`.
impl fmt::Display for ShareDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { denied, global, part: Fraction { parts, of } } = self;
        write!(f, "{denied}; this is ")?;
        match (*parts, *of) {
            (1, 1) => write!(f, "all")?,
            (1, of) => write!(f, "1/{of}")?,
            (parts, of) => write!(f, "{:.1} %", f64::from(parts) * 100.0 / f64::from(of))?,
        }
        write!(f, " of the global limit of {global}")
    }
}

impl std::error::Error for ShareDenied {}

/// What is asked for lately: an exponentially weighted moving average, in 24 bytes.
///
/// To be told of every request, also of those that are refused: a share that follows what was admitted would
/// only confirm itself.
///
/// ```
/// use forebay_ratelimit::Demand;
/// use std::time::Duration;
///
/// let mut demand = Demand::new(Duration::from_secs(10));
/// (0..600).for_each(|tick| demand.record(500, tick * 100_000_000)); // a minute of 500 every 100 ms
/// let per_second = demand.per_second(60_000_000_000);
/// assert!((4_800.0..5_200.0).contains(&per_second));
/// assert!((demand.per_second(70_000_000_000) - per_second / 2.0).abs() < 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    half_life_ns: u64,
    latest_ns: u64,
    /// Tokens, each counted half as much for every half-life that has passed.
    faded: f64,
}

impl Demand {
    /// Nothing yet. What happened one `half_life` ago (at least a nanosecond) counts half.
    pub fn new(half_life: Duration) -> Self {
        let half_life_ns = u64::try_from(half_life.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { half_life_ns, latest_ns: 0, faded: 0.0 }
    }

    /// `tokens` were asked for. An instant before the latest counts as that.
    #[expect(clippy::cast_precision_loss, reason = "an average, not an account")]
    pub fn record(&mut self, tokens: u64, now_ns: u64) {
        self.faded = self.faded_by(now_ns) + tokens as f64;
        self.latest_ns = self.latest_ns.max(now_ns);
    }

    /// Tokens a second.
    #[expect(clippy::cast_precision_loss, reason = "an average, not an account")]
    pub fn per_second(&self, now_ns: u64) -> f64 {
        self.faded_by(now_ns) * std::f64::consts::LN_2 * 1e9 / self.half_life_ns as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "an average, not an account")]
    fn faded_by(&self, now_ns: u64) -> f64 {
        let age = now_ns.saturating_sub(self.latest_ns) as f64 / self.half_life_ns as f64;
        self.faded * (-age).exp2()
    }
}
