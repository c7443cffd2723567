//! Defaults plus what is different for some tenants, swapped whole.
//! Invariant: a request sees one [`Snapshot`] from its start to its end; a file that is refused changes
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use crate::id::TenantId;
use crate::limits::Limits;
use crate::yaml::{self, Entry, Error, Node, Status, Table, Warning, WarningKind};

/// The limits in force, which a reload replaces while requests go on.
///
/// ```
/// use forebay_tenant::{Limits, Overrides};
///
/// let overrides = Overrides::new(Limits::default());
/// overrides.reload("overrides: {team-a: {max_line_size: 1MB}}")?;
///
/// let snapshot = overrides.load();
/// assert_eq!(snapshot.limits("team-a").max_line_size, 1 << 20);
/// assert_eq!(snapshot.limits("team-b").max_line_size, 256 << 10);
///
/// let refused = overrides.reload("overrides: {team-a: {max_line_sise: 2MB}}").unwrap_err();
/// assert_eq!(refused.to_string(), "line 1 column 22: overrides.team-a: \
///     unknown key `max_line_sise`, the nearest known is `max_line_size`");
/// assert_eq!(overrides.load().limits("team-a").max_line_size, 1 << 20);
/// # Ok::<(), forebay_tenant::yaml::Error>(())
/// ```
#[derive(Debug)]
pub struct Overrides {
    current: ArcSwap<Snapshot>,
}

/// The limits of all tenants at one moment. Immutable.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    defaults: Arc<Limits>,
    tenants: HashMap<Box<str>, Arc<Limits>, RandomState>,
}

/// What a reload did.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Whether any tenant's limits are different now.
    pub changed: bool,
    /// What the file holds without effect.
    pub warnings: Vec<Warning>,
}

#[derive(Debug, Clone, Copy)]
enum Section {
    Overrides,
}

static FILE: Table<Section> = Table::new(&[
    ("configs", Status::Recognised),
    ("multi_kv_config", Status::Recognised),
    ("overrides", Status::Used(Section::Overrides)),
]);

impl Overrides {
    /// Limits that are the same for every tenant until a file says otherwise.
    #[must_use]
    pub fn new(defaults: Limits) -> Self {
        Self { current: ArcSwap::from_pointee(Snapshot::new(defaults)) }
    }

    /// The limits in force. Once per request: what is looked up in one snapshot fits together. Never blocks.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a snapshot into force.
    pub fn store(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    /// Reads a runtime configuration over the defaults in force, and puts it into force.
    ///
    /// A tenant whose limits stay the same keeps its [`Arc`], so [`Arc::ptr_eq`] says whether a limiter needs
    /// new rates. Of reloads at the same time, the last to finish wins.
    ///
    /// # Errors
    /// As [`Snapshot::parse`]; what is in force stays in force.
    pub fn reload(&self, text: &str) -> Result<Reloaded, Error> {
        let before = self.load();
        let mut warnings = Vec::new();
        let mut after = Snapshot::parse(text, Arc::clone(&before.defaults), &mut warnings)?;
        let changed = after != *before;
        if changed {
            after.share_with(&before);
            self.store(after);
        }
        Ok(Reloaded { changed, warnings })
    }
}

impl Snapshot {
    /// The same limits for every tenant.
    #[must_use]
    pub fn new(defaults: Limits) -> Self {
        Self { defaults: Arc::new(defaults), tenants: HashMap::default() }
    }

    /// Reads a runtime configuration: a mapping with `overrides`, from tenants to limits under Loki's names.
    ///
    /// What a tenant does not set is as in `defaults`. A null tenant has no override. Tenants that no request
    /// can name become warnings, as do `configs`, `multi_kv_config`, and limits that are not per tenant.
    ///
    /// # Errors
    /// [`Error`] with the place of the first mistake.
    pub fn parse(text: &str, defaults: Arc<Limits>, warnings: &mut Vec<Warning>) -> Result<Self, Error> {
        Self::read(&yaml::parse(text)?, defaults, warnings)
    }

    /// The same from a tree that was parsed already.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn read(node: &Node, defaults: Arc<Limits>, warnings: &mut Vec<Warning>) -> Result<Self, Error> {
        let mut snapshot = Self { defaults, tenants: HashMap::default() };
        node.fields(&FILE, warnings, |section, value, warnings| match section {
            Section::Overrides => {
                value.entries(warnings, |entry, warnings| snapshot.read_tenant(entry, warnings))
            }
        })?;
        Ok(snapshot)
    }

    /// The limits of a tenant: its own, or the defaults. O(1), no allocation.
    #[must_use]
    pub fn limits(&self, tenant: &str) -> &Arc<Limits> {
        self.tenants.get(tenant).unwrap_or(&self.defaults)
    }

    /// The limits of tenants that have none of their own.
    #[must_use]
    pub fn defaults(&self) -> &Arc<Limits> {
        &self.defaults
    }

    /// The tenants with limits of their own, in no order.
    pub fn tenants(&self) -> impl ExactSizeIterator<Item = (&str, &Arc<Limits>)> {
        self.tenants.iter().map(|(tenant, limits)| (&**tenant, limits))
    }

    fn read_tenant(&mut self, entry: &Entry, warnings: &mut Vec<Warning>) -> Result<(), Error> {
        let mut limits = Limits::clone(&self.defaults);
        limits.apply_in_place(entry.value(), warnings)?;
        if TenantId::parse(entry.key()).is_err() {
            warnings.push(Warning::at(entry.position(), WarningKind::NoSuchTenant));
        }
        if let Some(strategy) = entry.value().entry("ingestion_rate_strategy") {
            let warning = Warning::at(strategy.position(), WarningKind::NotPerTenant);
            warnings.push(warning.in_field(strategy.key()));
            limits.ingestion_rate_strategy = self.defaults.ingestion_rate_strategy;
        }
        if !entry.value().is_null() {
            self.tenants.insert(entry.key().into(), Arc::new(limits));
        }
        Ok(())
    }

    fn share_with(&mut self, before: &Self) {
        for (tenant, limits) in &mut self.tenants {
            if let Some(kept) = before.tenants.get(tenant).filter(|kept| *kept == limits) {
                *limits = Arc::clone(kept);
            }
        }
    }
}
