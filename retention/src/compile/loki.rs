//! Retention as Loki's limits state it. The order is Loki's: a tenant's `retention_stream` replaces the global
//! one whole, then the tenant's `retention_period`, then the global one; ties resolve to the shortest.
//! <https://grafana.com/docs/loki/latest/operations/storage/retention/>

use std::time::Duration;

use super::{CompileError, Policy, PolicySet, Scope, Selector, TieBreak};
use crate::policy::Retention;

/// `limits_config`: what holds for every tenant without overrides. The default keeps everything, as Loki's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LokiLimits {
    /// `retention_period`; zero keeps forever.
    pub period: Duration,
    /// `retention_stream`.
    pub streams: Vec<LokiStream>,
}

/// One tenant's `overrides`; what is not set is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LokiOverrides {
    /// `retention_period`; zero keeps forever.
    pub period: Option<Duration>,
    /// `retention_stream`; once set, even to nothing, the global list is not considered.
    pub streams: Option<Vec<LokiStream>>,
}

/// One entry of `retention_stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LokiStream {
    /// Stream selector, such as `{namespace="dev"}`.
    pub selector: String,
    /// The higher one wins.
    pub priority: i32,
    /// How long; zero keeps forever. Loki refuses less than a day, which its index cannot do; here it works.
    pub period: Duration,
}

impl PolicySet {
    /// The set that decides as Loki does with these limits and per-tenant overrides. The ids are the places
    /// in the limits, such as `overrides/acme/retention_stream[0]`.
    ///
    /// # Errors
    /// A selector does not parse; the error names its place. Two overrides of one tenant are a duplicate id.
    pub fn from_loki<'t>(
        defaults: &LokiLimits,
        overrides: impl IntoIterator<Item = (&'t str, LokiOverrides)>,
    ) -> Result<Self, CompileError> {
        let mut set = Self { tie: TieBreak::Shortest, ..Self::empty() };
        let streams = set.push(stream_policies("limits", &Scope::All, &defaults.streams)?)?;
        let period = set.push(vec![period_policy("limits", Scope::All, defaults.period)])?;
        set.others = vec![streams, period];
        for (tenant, own) in overrides {
            let place = format!("overrides/{tenant}");
            let scope = Scope::Tenant(tenant.to_owned());
            let streams = match own.streams {
                Some(own) => set.push(stream_policies(&place, &scope, &own)?)?,
                None => streams,
            };
            let period = match own.period {
                Some(own) => set.push(vec![period_policy(&place, scope, own)])?,
                None => period,
            };
            if set.tenants.insert(tenant.to_owned(), vec![streams, period]).is_some() {
                return Err(CompileError::DuplicateId { id: place });
            }
        }
        Ok(set)
    }
}

fn stream_policies(place: &str, scope: &Scope, streams: &[LokiStream]) -> Result<Vec<Policy>, CompileError> {
    let policy = |(n, stream): (usize, &LokiStream)| {
        let id = format!("{place}/retention_stream[{n}]");
        match Selector::parse_loki(&stream.selector) {
            Ok(selector) => {
                let retention = Retention::from_loki(stream.period);
                Ok(Policy::new(id, scope.clone(), selector, retention).with_priority(stream.priority))
            }
            Err(source) => Err(CompileError::Selector { id, source }),
        }
    };
    streams.iter().enumerate().map(policy).collect()
}

fn period_policy(place: &str, scope: Scope, period: Duration) -> Policy {
    let id = format!("{place}/retention_period");
    Policy::new(id, scope, Selector::everything(), Retention::from_loki(period)).as_fallback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn stream(selector: &str, priority: i32, days: u32) -> LokiStream {
        LokiStream { selector: selector.into(), priority, period: DAY * days }
    }

    fn winner<'s>(set: &'s PolicySet, tenant: &str, app: &str) -> &'s str {
        &set.policy_for(tenant, &[("app", app)]).unwrap().id
    }

    #[test]
    fn the_order_is_tenant_streams_then_global_streams_then_tenant_period_then_global_period() {
        let defaults = LokiLimits { period: DAY * 31, streams: vec![stream(r#"{app="a"}"#, 1, 2)] };
        let own = LokiOverrides { period: Some(DAY * 5), streams: Some(vec![stream(r#"{app="b"}"#, 1, 3)]) };
        let period = LokiOverrides { period: Some(DAY * 5), streams: None };
        let none = LokiOverrides { period: None, streams: Some(vec![]) };
        let set =
            PolicySet::from_loki(&defaults, [("own", own), ("period", period), ("none", none)]).unwrap();

        assert_eq!(winner(&set, "own", "b"), "overrides/own/retention_stream[0]");
        assert_eq!(winner(&set, "own", "a"), "overrides/own/retention_period", "the global list is replaced");
        assert_eq!(winner(&set, "period", "a"), "limits/retention_stream[0]");
        assert_eq!(winner(&set, "period", "b"), "overrides/period/retention_period");
        assert_eq!(winner(&set, "none", "a"), "limits/retention_period", "an empty list replaces too");
        assert_eq!(winner(&set, "unknown", "a"), "limits/retention_stream[0]");
        assert_eq!(winner(&set, "unknown", "c"), "limits/retention_period");
    }

    #[test]
    fn the_higher_priority_wins_and_a_tie_goes_to_the_shortest() {
        let streams = vec![
            stream(r#"{app=~"a|b"}"#, 1, 9),
            stream(r#"{app="a"}"#, 2, 90),
            stream(r#"{app=~"b|c"}"#, 1, 3),
            stream(r#"{app="c"}"#, 1, 0),
        ];
        let set = PolicySet::from_loki(&LokiLimits { period: DAY, streams }, []).unwrap();
        assert_eq!(winner(&set, "t", "a"), "limits/retention_stream[1]");
        assert_eq!(winner(&set, "t", "b"), "limits/retention_stream[2]");
        assert_eq!(winner(&set, "t", "c"), "limits/retention_stream[2]", "forever does not win a tie");
    }

    #[test]
    fn a_period_of_zero_keeps_forever() {
        let set = PolicySet::from_loki(&LokiLimits::default(), []).unwrap();
        assert_eq!(set.policy_for("t", &[]).unwrap().retention, Retention::Forever);
    }

    #[test]
    fn a_bad_selector_names_its_place() {
        let own = LokiOverrides { period: None, streams: Some(vec![stream("{a=", 1, 2)]) };
        match PolicySet::from_loki(&LokiLimits::default(), [("t", own)]) {
            Err(CompileError::Selector { id, source: SelectorError::Expected { at: 3, .. } }) => {
                assert_eq!(id, "overrides/t/retention_stream[0]");
            }
            other => panic!("{other:?}"),
        }
    }

    use crate::selector::SelectorError;
}
