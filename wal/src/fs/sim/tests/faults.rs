//! Faults, what they do, and how they are aimed.

use super::*;

#[test]
fn faults_strike_the_operation_with_their_number() {
    let (fs, file) = with_file();
    let op = fs.op_count();
    fs.fail_at(op, Fault::Partial(io::ErrorKind::Other));
    fs.fail_at(op + 1, Fault::Short);
    assert!(file.write_vectored_at(&[IoSlice::new(&[5; 8])], 0).is_err());
    assert_eq!(fs.peek("/f").unwrap()[..8], [5, 5, 5, 5, 1, 1, 1, 1]);
    assert_eq!(file.write_vectored_at(&[IoSlice::new(&[6; 8])], 0).unwrap(), 4);
    assert_eq!(file.write_vectored_at(&[IoSlice::new(&[7; 8])], 0).unwrap(), 8);
    assert_eq!(fs.count(Op::Write), 3);
}

#[test]
fn an_operation_can_be_aimed_at_by_its_kind() {
    let (fs, file) = with_file();
    let kind = io::ErrorKind::PermissionDenied;
    fs.fail_next(Op::Write, 1, Fault::Error(kind));
    fs.fail_next(Op::Sync, 0, Fault::Error(kind));
    write(&file, &[2], 0).unwrap();
    assert_eq!(fs.open(Path::new("/f")).unwrap().size().unwrap(), 4096, "others pass in between");
    assert_eq!(write(&file, &[2], 0).unwrap_err().kind(), kind);
    assert_eq!(file.sync_data().unwrap_err().kind(), kind);
    write(&file, &[2], 0).unwrap();
    file.sync_data().expect("a fault strikes once");
}

#[test]
fn the_power_may_go_at_an_operation_of_a_kind() {
    let (fs, file) = with_file();
    fs.fail_next(Op::Sync, 0, Fault::PowerCut);
    write(&file, &[2], 0).unwrap();
    assert!(!fs.has_crashed() && file.sync_data().is_err() && fs.has_crashed());
    assert!(write(&file, &[3], 0).is_err());
    assert_eq!(fs.crash(Survive::Everything).peek("/f").unwrap()[0], 2);
    assert_eq!(fs.crash(Survive::Nothing).peek("/f").unwrap()[0], 1);
}

#[test]
fn an_interrupted_operation_has_done_nothing_and_may_be_called_again() {
    let (fs, file) = with_file();
    fs.fail_next(Op::Write, 0, Fault::Interrupt);
    assert_eq!(
        file.write_vectored_at(&[IoSlice::new(&[2])], 0).unwrap_err().kind(),
        io::ErrorKind::Interrupted
    );
    assert_eq!(fs.peek("/f").unwrap()[0], 1);
    write(&file, &[2], 0).unwrap();
    fs.fail_next(Op::Sync, 0, Fault::Interrupt);
    assert_eq!(file.sync_data().unwrap_err().kind(), io::ErrorKind::Interrupted);
    assert_eq!(fs.effects(), 1, "what was to be synced still is");
    file.sync_data().unwrap();
    assert_eq!(fs.crash(Survive::Nothing).peek("/f").unwrap()[0], 2);
}

#[test]
fn a_read_may_flip_a_bit_that_the_media_has_right() {
    let (fs, file) = with_file();
    let mut buf = [0; 8];
    fs.fail_next(Op::Read, 0, Fault::Flip(64 + 11));
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
    assert_eq!(buf, [1, 1 ^ 8, 1, 1, 1, 1, 1, 1]);
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
    assert_eq!(buf, [1; 8]);
}

#[test]
fn a_read_may_give_a_sector_as_it_was() {
    let (fs, file) = with_file();
    write(&file, &[2; 3000], 700).unwrap();
    let mut buf = [0; 4096];
    fs.fail_next(Op::Read, 0, Fault::Stale);
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 4096);
    assert!(buf[512..1024].iter().all(|&byte| byte == 1), "the first that has changed");
    assert!(buf[1024..3700].iter().all(|&byte| byte == 2));
    assert_eq!(fs.peek("/f").unwrap()[800], 2);
    fs.fail_next(Op::Read, 0, Fault::Stale);
    assert_eq!(file.read_at(&mut buf[..10], 1020).unwrap(), 10);
    assert_eq!(buf[..10], [1, 1, 1, 1, 2, 2, 2, 2, 2, 2], "no more of it than was asked for");
}

#[test]
fn operations_take_time_of_the_disks_clock() {
    let (fs, file) = with_file();
    let time = fs.time();
    file.sync_data().unwrap();
    assert_eq!(time.monotonic_ns(), 0);
    fs.set_latency(Op::Sync, 1_000_000);
    fs.fail_next(Op::Sync, 1, Fault::Delay(5));
    file.sync_data().unwrap();
    file.sync_data().unwrap();
    write(&file, &[1], 0).unwrap();
    assert_eq!((time.monotonic_ns(), time.unix_ns()), (2_000_005, 2_000_005));
    fs.advance(95);
    assert_eq!(fs.restart().time().monotonic_ns(), 2_000_100, "the next process starts later");
}

#[test]
fn a_failed_write_back_is_told_once_to_each_handle_that_was_open() {
    let (fs, writer) = with_file();
    let beside = fs.open(Path::new("/f")).unwrap();
    fs.fail_next(Op::Write, 0, Fault::WriteBack(io::ErrorKind::QuotaExceeded));
    write(&writer, &[2], 0).unwrap();
    assert_eq!(fs.effects(), 0, "it counts as clean");
    let later = fs.open(Path::new("/f")).unwrap();
    later.sync_data().expect("nobody tells one that came later");
    for handle in [&beside, &writer] {
        assert_eq!(handle.sync_data().unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        handle.sync_data().expect("each is told once");
    }
    fs.fail_next(Op::Sync, 0, Fault::Error(io::ErrorKind::Other));
    assert!(writer.sync_data().is_err() && beside.sync_data().is_err() && later.sync_data().is_err());
    fs.set_sync_model(SyncModel::Lie);
    fs.fail_next(Op::Write, 0, Fault::WriteBack(io::ErrorKind::Other));
    write(&writer, &[2], 0).unwrap();
    writer.sync_data().expect("somebody else was told");
}

#[test]
fn a_trace_tells_the_last_operations_and_what_they_met() {
    let (fs, file) = with_file();
    fs.fail_next(Op::Write, 1, Fault::Short);
    write(&file, &[2; 10], 100).unwrap();
    write(&file, &[2; 10], 100).unwrap();
    fs.rename(Path::new("/f"), Path::new("/g")).unwrap();
    fs.crash_at(fs.op_count());
    file.sync_data().unwrap_err();
    file.sync_data().unwrap_err();
    let expected = "     0 Open /f\n     1 Write /g at 100..110\n     2 Write /g at 100..110: Short\n     \
                    3 Write /g at 105..110\n     4 Rename /f to /g\n     5 Sync /g: PowerCut\n";
    assert_eq!(fs.trace(), expected);
    assert_eq!(fs.restart().trace(), "", "the next process begins anew");
}
