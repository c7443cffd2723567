//! The retention rules that the tenants' limits say, compiled.

use std::sync::Arc;

use forebay_retention::{LokiLimits, LokiOverrides, LokiStream, PolicySet};
use forebay_tenant::{Limits, Overrides, StreamRetention};

use forebay_agent::log::chain;

/// The policies that the limits of the moment say.
pub(super) fn compile(overrides: &Overrides) -> Arc<PolicySet> {
    let limits = overrides.load();
    let defaults = limits.defaults();
    let own = limits.tenants().map(|(tenant, limits)| (tenant, overridden(limits, defaults)));
    let global =
        LokiLimits { period: defaults.retention_period, streams: streams(&defaults.retention_stream) };
    match PolicySet::from_loki(&global, own) {
        Ok(policies) => Arc::new(policies),
        Err(error) => {
            // Without policies everything is kept.
            tracing::error!(error = %chain(&error), "retention rules do not compile, nothing is deleted");
            Arc::new(PolicySet::empty())
        }
    }
}

fn overridden(limits: &Limits, defaults: &Limits) -> LokiOverrides {
    LokiOverrides {
        period: (limits.retention_period != defaults.retention_period).then_some(limits.retention_period),
        streams: (limits.retention_stream != defaults.retention_stream)
            .then(|| streams(&limits.retention_stream)),
    }
}

fn streams(rules: &[StreamRetention]) -> Vec<LokiStream> {
    let rule = |r: &StreamRetention| LokiStream {
        selector: r.selector.clone(),
        priority: r.priority,
        period: r.period,
    };
    rules.iter().map(rule).collect()
}
