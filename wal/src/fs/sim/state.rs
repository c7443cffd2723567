//! The state of a simulated disk and machine: what every operation goes through.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::fate::Chance;
use super::fault::{Fault, Faults, Op, SyncModel};
use super::inode::Failures;
use super::page::PAGE;
use super::trace::{Subject, Trace};

pub(super) struct State {
    pub(super) disk: Disk,
    pub(super) chance: Chance,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) faults: Faults,
    pub(super) crash_at: Option<u64>,
    pub(super) crashed: bool,
    pub(super) budget: Option<u64>,
    pub(super) sync_model: SyncModel,
    pub(super) now_ns: u64,
    pub(super) trace: Trace,
}

impl State {
    pub(super) fn new(disk: Disk, chance: Chance) -> Self {
        Self {
            disk,
            chance,
            locks: BTreeSet::new(),
            faults: Faults::default(),
            crash_at: None,
            crashed: false,
            budget: None,
            sync_model: SyncModel::default(),
            now_ns: 0,
            trace: Trace::default(),
        }
    }

    /// Another disk as full as this one and with the same kernel, later.
    pub(super) fn successor(&self, disk: Disk) -> Self {
        let (budget, sync_model, now_ns) = (self.budget, self.sync_model, self.now_ns);
        Self { budget, sync_model, now_ns, ..Self::new(disk, self.chance.clone()) }
    }

    /// One operation: the fault it meets, if not its end.
    pub(super) fn begin(&mut self, op: Op) -> io::Result<Option<Fault>> {
        if self.crashed || self.crash_at == Some(self.faults.ops()) {
            if !std::mem::replace(&mut self.crashed, true) {
                self.trace.add(self.faults.ops(), op, Some(Fault::PowerCut));
            }
            return Err(io::Error::other("simulated power cut"));
        }
        let number = self.faults.ops();
        let (fault, took) = self.faults.meet(op);
        self.trace.add(number, op, fault);
        self.now_ns = self.now_ns.saturating_add(took);
        match fault {
            Some(Fault::PowerCut) => {
                self.crashed = true;
                self.begin(op)
            }
            Some(Fault::Interrupt) => Err(io::ErrorKind::Interrupted.into()),
            fault => Ok(fault),
        }
    }

    /// One operation that either happens whole or fails.
    pub(super) fn op<T>(&mut self, op: Op, run: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        match self.begin(op)? {
            Some(Fault::Error(kind) | Fault::Partial(kind)) => Err(kind.into()),
            Some(Fault::Late(kind)) => run(&mut self.disk).and_then(|_| Err(kind.into())),
            _ => run(&mut self.disk),
        }
    }

    /// The next operation is about this.
    pub(super) fn on(&mut self, subject: impl Into<Subject>) -> &mut Self {
        self.trace.about(subject.into());
        self
    }

    /// How many pages may still be allocated.
    pub(super) fn free_pages(&self) -> u64 {
        self.budget.map_or(u64::MAX, |budget| budget.saturating_sub(self.disk.allocated()) / PAGE)
    }

    /// Syncs a file, by a handle that has been told of so many failures.
    pub(super) fn sync(&mut self, number: u64, told: &mut u64) -> io::Result<()> {
        let late = match self.begin(Op::Sync)? {
            Some(Fault::Error(kind) | Fault::Partial(kind)) => {
                self.lose(number, kind);
                None
            }
            fault => {
                self.disk.inode(number).persist();
                if let Some(Fault::Late(kind)) = fault { Some(kind) } else { None }
            }
        };
        let failures = self.disk.inode(number).failures;
        let untold = std::mem::replace(told, failures.count) < failures.count;
        match late.or(failures.last.filter(|_| untold)) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    /// Fails to bring a file to the media.
    pub(super) fn lose(&mut self, number: u64, kind: io::ErrorKind) {
        let inode = self.disk.inode(number);
        inode.lose(&mut self.chance);
        if self.sync_model == SyncModel::RevertCache {
            inode.revert();
        }
        if self.sync_model != SyncModel::Lie {
            inode.failures = Failures { count: inode.failures.count + 1, last: Some(kind) };
        }
    }

    /// Syncs the names in a directory.
    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        match self.begin(Op::SyncDir)? {
            Some(Fault::Error(kind) | Fault::Partial(kind)) => {
                let revert = self.sync_model == SyncModel::RevertCache;
                self.disk.lose_dir(dir, &mut self.chance, revert)?;
                if self.sync_model == SyncModel::Lie { Ok(()) } else { Err(kind.into()) }
            }
            late => {
                self.disk.sync_dir(dir)?;
                if let Some(Fault::Late(kind)) = late { Err(kind.into()) } else { Ok(()) }
            }
        }
    }
}
