//! Handles to simulated files: every call is one operation, and may meet its fault.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};

use super::page::PAGE;
use super::trace::Subject;
use super::{Fault, Op, SimFs};
use crate::fs::File;

/// An open file of a [`SimFs`].
pub struct SimFile {
    pub(super) fs: SimFs,
    pub(super) number: u64,
    /// Failures to write the file back that this handle knows of.
    pub(super) told: AtomicU64,
}

impl SimFile {
    fn part(&self, offset: u64, len: usize) -> Subject {
        Subject::File(self.number, offset..offset.saturating_add(len as u64))
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("inode", &self.number).finish_non_exhaustive()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.fs.state.lock();
        let inode = state.disk.inode(self.number);
        inode.handles = inode.handles.saturating_sub(1);
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.fs.state.lock();
        let fault = state.on(self.part(offset, buf.len())).begin(Op::Read)?;
        let len = match fault {
            Some(Fault::Error(kind) | Fault::Partial(kind) | Fault::Late(kind)) => return Err(kind.into()),
            Some(Fault::Short) => buf.len().div_ceil(2),
            _ => buf.len(),
        };
        let inode = state.disk.inode(self.number);
        let n = inode.read(&mut buf[..len], offset);
        match fault {
            Some(Fault::Flip(bit)) if n > 0 => {
                let bit = usize::try_from(bit % (n as u64 * 8)).expect("inside of the buffer");
                buf[bit / 8] ^= 1 << (bit % 8);
            }
            Some(Fault::Stale) => inode.make_stale(&mut buf[..n], offset),
            _ => {}
        }
        Ok(n)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut state = self.fs.state.lock();
        let mut bytes = bufs.iter().map(|buf| &buf[..]).collect::<Vec<_>>().concat();
        let fault = state.on(self.part(offset, bytes.len())).begin(Op::Write)?;
        match fault {
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Partial(_)) => bytes.truncate(bytes.len() / 2),
            Some(Fault::Short) => bytes.truncate(bytes.len().div_ceil(2)),
            _ => {}
        }
        let free = state.free_pages();
        let inode = state.disk.inode(self.number);
        if free != u64::MAX {
            while !bytes.is_empty() && inode.holes(offset, offset + bytes.len() as u64) > free {
                let end = offset + bytes.len() as u64;
                let page = (end - 1) / PAGE * PAGE;
                bytes.truncate(usize::try_from(page.saturating_sub(offset)).unwrap_or(usize::MAX));
            }
            if bytes.is_empty() && !matches!(fault, Some(Fault::Partial(_) | Fault::Late(_))) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        inode.write(&bytes, offset);
        match fault {
            Some(Fault::Partial(kind) | Fault::Late(kind)) => Err(kind.into()),
            Some(Fault::WriteBack(kind)) => {
                state.lose(self.number, kind);
                Ok(bytes.len())
            }
            _ => Ok(bytes.len()),
        }
    }

    fn size(&self) -> io::Result<u64> {
        let number = self.number;
        self.fs.op(Op::Size, self.part(0, 0), |disk| Ok(disk.inode(number).len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let number = self.number;
        self.fs.op(Op::SetLen, Subject::File(number, 0..len), |disk| {
            disk.inode(number).set_len(len);
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.fs.state.lock();
        let fault = state.on(Subject::File(self.number, 0..len)).begin(Op::Allocate)?;
        if let Some(Fault::Error(kind) | Fault::Partial(kind)) = fault {
            return Err(kind.into());
        }
        let free = state.free_pages();
        let inode = state.disk.inode(self.number);
        if inode.holes(0, len) > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inode.allocate(len);
        if let Some(Fault::Late(kind)) = fault { Err(kind.into()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut told = self.told.load(Ordering::Relaxed);
        let outcome = self.fs.state.lock().on(self.part(0, 0)).sync(self.number, &mut told);
        self.told.store(told, Ordering::Relaxed);
        outcome
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
