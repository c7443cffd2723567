//! The state of a simulated disk and machine: what every operation goes through.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::fate::Chance;
use super::fault::{Fault, Faults, Op, SyncModel};
use super::page::PAGE;

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
            self.crashed = true;
            return Err(io::Error::other("simulated power cut"));
        }
        let (fault, took) = self.faults.meet(op);
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

    /// How many pages may still be allocated.
    pub(super) fn free_pages(&self) -> u64 {
        self.budget.map_or(u64::MAX, |budget| budget.saturating_sub(self.disk.allocated()) / PAGE)
    }

    /// Syncs a file.
    pub(super) fn sync(&mut self, number: u64) -> io::Result<()> {
        match self.begin(Op::Sync)? {
            Some(Fault::Error(kind) | Fault::Partial(kind)) => {
                let inode = self.disk.inode(number);
                inode.lose(&mut self.chance);
                if self.sync_model == SyncModel::RevertCache {
                    inode.revert();
                }
                self.verdict(kind)
            }
            late => {
                self.disk.inode(number).persist();
                if let Some(Fault::Late(kind)) = late { Err(kind.into()) } else { Ok(()) }
            }
        }
    }

    /// Syncs the names in a directory.
    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        match self.begin(Op::SyncDir)? {
            Some(Fault::Error(kind) | Fault::Partial(kind)) => {
                let revert = self.sync_model == SyncModel::RevertCache;
                self.disk.lose_dir(dir, &mut self.chance, revert)?;
                self.verdict(kind)
            }
            late => {
                self.disk.sync_dir(dir)?;
                if let Some(Fault::Late(kind)) = late { Err(kind.into()) } else { Ok(()) }
            }
        }
    }

    /// What a sync that has lost something answers.
    fn verdict(&self, kind: io::ErrorKind) -> io::Result<()> {
        if self.sync_model == SyncModel::Lie { Ok(()) } else { Err(kind.into()) }
    }
}
