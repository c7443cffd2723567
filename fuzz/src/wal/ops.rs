//! A log's life on a disk that fails and loses power, beside a ledger of what the log has promised.

#[path = "../../../wal/tests/harness/mod.rs"]
mod harness;

use std::io::ErrorKind;

use forebay_wal::format::Checksum;
use forebay_wal::fs::sim::{Fault, SimFs, Survive, SyncModel};
use forebay_wal::{Durability, Options};
use harness::{Session, Step, options};

use super::take;

/// Two bytes of settings, then events, each a byte that says what, and two that say how.
pub fn wal_ops_vs_model(data: &[u8]) {
    let mut input = data;
    let Some([settings, seed]) = take(&mut input) else { return };
    let disk = SimFs::new(seed.into());
    disk.set_sync_model(if settings & 1 == 0 { SyncModel::KeepCache } else { SyncModel::RevertCache });
    let options = Options {
        max_log_bytes: (settings & 2 != 0).then_some(6 * 8192),
        max_spare_segments: if settings & 4 == 0 { 4 } else { 0 },
        checksum: if settings & 8 == 0 { Checksum::Crc32 } else { Checksum::Crc32c },
        quarantine: settings & 16 == 0,
        ..options()
    };
    let mut session = Session::new(disk, options);
    // More says nothing that these do not, and takes long.
    for _ in 0..64 {
        let Some([what, low, high]) = take(&mut input) else { break };
        event(&mut session, what, u16::from_le_bytes([low, high]));
    }
    session.wal = None;
    session.ledger.power_cut();
    session.disk = session.disk.crash(Survive::Nothing);
    session.disk.set_budget(None);
    session.open().expect("the last opening meets no fault");
    assert!(session.step(&Step::Truncate(100)) && session.step(&Step::Append(1)), "and the log goes on");
}

fn event(session: &mut Session, what: u8, how: u16) {
    let level = [Durability::Buffered, Durability::Written, Durability::Synced][usize::from(how % 3)];
    let len = |how: u16| usize::from(how % if how.is_multiple_of(7) { 9000 } else { 900 });
    let lens = || (0..how % 5).map(|index| len(how.wrapping_mul(2 * index + 1))).collect();
    match what % 16 {
        0 | 1 => drop(session.step(&Step::Append(len(how)))),
        2 | 3 => drop(session.step(&Step::With(level, vec![len(how / 3)]))),
        4 => drop(session.step(&Step::Batch(lens()))),
        5 => drop(session.step(&Step::With(level, lens()))),
        6 => drop(session.step(&Step::Sync)),
        7 => drop(session.step(&Step::Truncate(u64::from(how % 101)))),
        8 => drop(session.step(&Step::Rotate)),
        9 => drop(session.step(&Step::Reserve)),
        10 => drop(session.step(&Step::Close)),
        11 => drop(session.step(&Step::Reopen)),
        12 => {
            die(session, u64::from(how % 32));
            session.ledger.power_cut();
            session.disk = session.disk.crash(Survive::Seeded(u64::from(how / 32)));
        }
        13 => {
            die(session, u64::from(how % 32));
            session.disk = session.disk.restart();
        }
        14 => {
            let faults = [
                Fault::Error(ErrorKind::Other),
                Fault::Partial(ErrorKind::Other),
                Fault::Partial(ErrorKind::StorageFull),
                Fault::Late(ErrorKind::Other),
                Fault::Short,
                Fault::Interrupt,
            ];
            let fault = faults[usize::from(how / 32) % faults.len()];
            session.disk.fail_at(session.disk.op_count() + u64::from(how % 32), fault);
        }
        _ => {
            let more = (how.is_multiple_of(2)).then_some(u64::from(how));
            session.disk.set_budget(more.map(|more| session.disk.allocated() + more));
        }
    }
}

/// Appends until the crash that was asked for has happened, or for a while where the log takes nothing.
fn die(session: &mut Session, ahead: u64) {
    session.disk.crash_at(session.disk.op_count() + ahead);
    for len in [3, 600, 50, 2000].into_iter().cycle().take(60) {
        session.step(&Step::Append(len));
        if session.disk.has_crashed() {
            break;
        }
    }
    session.wal = None;
}
