//! What a power cut leaves, and what a failed sync does.

mod faults;

use std::io::IoSlice;

use super::*;
use crate::fs::{File, Fs, conformance, write_all};

fn write(file: &SimFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    write_all(file, &mut [IoSlice::new(bytes)], offset)
}

/// A disk with a durable file `/f` of one page of ones.
fn with_file() -> (SimFs, SimFile) {
    let fs = SimFs::new(1);
    fs.plant("/f", &[1; 4096]).unwrap();
    let file = fs.open(Path::new("/f")).unwrap();
    (fs, file)
}

#[test]
fn the_simulated_disk_conforms() {
    let fs = SimFs::new(0);
    fs.create_dir(Path::new("/c")).unwrap();
    conformance::suite(&fs, Path::new("/c"));
}

#[test]
fn unsynced_bytes_survive_in_any_subset_and_synced_bytes_always() {
    let (fs, file) = with_file();
    write(&file, &[2; 8192], 0).unwrap();
    assert_eq!(fs.effects(), 3, "two pages and a length");
    assert_eq!(fs.crash(Survive::Nothing).peek("/f").unwrap(), [1; 4096]);
    assert_eq!(fs.crash(Survive::Everything).peek("/f").unwrap(), [2; 8192]);
    assert_eq!(fs.crash(Survive::Only(0)).peek("/f").unwrap(), [2; 4096]);
    let hole = fs.crash(Survive::AllBut(0)).peek("/f").unwrap();
    assert_eq!((&hole[..4096], &hole[4096..]), (&[1; 4096][..], &[2; 4096][..]));
    file.sync_data().unwrap();
    assert_eq!(fs.effects(), 0);
    assert_eq!(fs.crash(Survive::Nothing).peek("/f").unwrap(), [2; 8192]);
}

#[test]
fn a_page_tears_between_sectors_and_never_inside_one() {
    let fs = SimFs::new(1);
    fs.plant("/f", &[1; 8192]).unwrap();
    let file = fs.open(Path::new("/f")).unwrap();
    write(&file, &[2; 4096], 0).unwrap();
    let mut torn = 0;
    for seed in 0..64 {
        let bytes = fs.crash(Survive::Seeded(seed)).peek("/f").unwrap();
        let sectors: Vec<&[u8]> = bytes[..4096].chunks(512).collect();
        assert!(sectors.iter().all(|s| s.iter().all(|b| b == &s[0])));
        torn += usize::from(sectors.iter().any(|s| s[0] != bytes[0]));
    }
    assert!(torn > 8, "{torn} of 64 images are torn");
}

#[test]
fn a_file_of_a_page_tears_between_any_two_bytes() {
    let fs = SimFs::new(1);
    fs.plant("/f", &[1; 100]).unwrap();
    let file = fs.open(Path::new("/f")).unwrap();
    write(&file, &[2; 100], 0).unwrap();
    let inside = |seed| {
        let bytes = fs.crash(Survive::Seeded(seed)).peek("/f").unwrap();
        bytes.iter().any(|byte| *byte != bytes[0])
    };
    assert!((0..64).filter(|&seed| inside(seed)).count() > 8);
}

#[test]
fn every_subset_of_the_effects_can_be_asked_for() {
    let (fs, file) = with_file();
    write(&file, &[2; 4096], 0).unwrap();
    fs.create_new(Path::new("/a")).unwrap();
    fs.create_new(Path::new("/b")).unwrap();
    assert_eq!(fs.effects(), 3);
    let images: std::collections::BTreeSet<_> = (0..8)
        .map(|mask| {
            let image = fs.crash(Survive::Subset(mask));
            (image.names("/").unwrap(), image.peek("/f").unwrap()[0])
        })
        .collect();
    assert_eq!(images.len(), 8, "no two are alike");
    assert_eq!(fs.crash(Survive::Subset(0b101)).names("/").unwrap(), ["a", "f"]);
    assert_eq!(fs.crash(Survive::Subset(0b101)).peek("/f").unwrap(), [2; 4096]);
}

#[test]
fn the_disk_may_begin_with_the_newest() {
    let (fs, file) = with_file();
    assert_eq!(fs.crash(Survive::Last).peek("/f").unwrap(), [1; 4096], "nothing is to be written");
    write(&file, &[2; 8192], 0).unwrap();
    fs.create_new(Path::new("/a")).unwrap();
    write(&file, &[3; 10], 0).unwrap();
    let last = fs.crash(Survive::Last);
    assert_eq!(last.names("/").unwrap(), ["f"]);
    assert_eq!(last.peek("/f").unwrap()[8..12], [3, 3, 2, 2], "the page, with all that it went through");
    let reversed = fs.crash(Survive::Reversed);
    assert_eq!(reversed.names("/").unwrap(), ["a", "f"]);
    assert_eq!(reversed.peek("/f").unwrap(), [2; 8192], "what was written over it came before it");
}

#[test]
fn a_fragile_block_may_be_lost_with_what_was_synced_in_it() {
    let fs = SimFs::new(1);
    fs.plant("/f", &[1; 5 * 4096]).unwrap();
    let file = fs.open(Path::new("/f")).unwrap();
    write(&file, &[2; 10], 9000).unwrap();
    let image = |seed| fs.crash(Survive::Seeded(seed)).peek("/f").unwrap();
    let is_whole = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 1);
    assert!((0..32).all(|seed| is_whole(&image(seed)[9010..])), "a write damages nothing beside it");
    fs.set_fragile(8192);
    let ruined = (0..32).map(image).filter(|bytes| !is_whole(&bytes[9010..])).inspect(|bytes| {
        assert!(is_whole(&bytes[..8192]) && is_whole(&bytes[16384..]), "one block of two pages");
        assert!(!is_whole(&bytes[8192..8200]) && !is_whole(&bytes[12288..12296]));
    });
    assert!((8..24).contains(&ruined.count()));
    file.sync_data().unwrap();
    assert!(is_whole(&image(0)[9010..]), "what no write is under way in is safe");
}

/// Something of everything, by chance.
fn wander(fs: &SimFs, seed: u64) {
    let mut chance = Chance(seed);
    for _ in 0..200 {
        let path = format!("/{}", chance.below(4));
        let path = Path::new(&path);
        let byte = chance.next().to_le_bytes()[0];
        let _ = match chance.below(12) {
            0 => fs.create_new(path).map(drop),
            1 => fs.rename(path, Path::new("/0")),
            2 => fs.remove(path),
            3 => fs.sync_dir(Path::new("/")),
            4..8 => fs.open(path).and_then(|file| file.sync_data()),
            _ => fs.open(path).and_then(|file| write(&file, &[byte; 900], chance.next() % 9000)),
        };
        let fault = [Fault::Error(io::ErrorKind::Other), Fault::Short, Fault::Late(io::ErrorKind::Other)];
        if chance.below(5) == 0 {
            fs.fail_next([Op::Sync, Op::Write, Op::SyncDir][chance.below(3)], 0, fault[chance.below(3)]);
        }
    }
}

#[test]
fn the_same_calls_with_the_same_seed_make_the_same_disk() {
    let image = |seed, calls| {
        let fs = SimFs::new(seed);
        wander(&fs, calls);
        let crashed = fs.crash(Survive::Seeded(9));
        let disks = [&fs, &crashed].map(|fs| format!("{:?}", fs.state.lock().disk));
        (disks, fs.op_count(), fs.effects())
    };
    for calls in 0..8 {
        assert!(image(3, calls) == image(3, calls));
    }
    assert!((0..40).any(|calls| image(3, calls) != image(4, calls)), "the seed decides about failed syncs");
}

#[test]
fn names_survive_only_with_their_directory() {
    let fs = SimFs::new(0);
    let file = fs.create_new(Path::new("/a")).unwrap();
    write(&file, b"x", 0).unwrap();
    file.sync_all().unwrap();
    assert!(fs.crash(Survive::Nothing).peek("/a").is_err(), "a synced file may lose its name");
    fs.sync_dir(Path::new("/")).unwrap();
    fs.rename(Path::new("/a"), Path::new("/b")).unwrap();
    assert_eq!(fs.crash(Survive::Nothing).names("/").unwrap(), ["a"]);
    assert_eq!(fs.crash(Survive::Everything).names("/").unwrap(), ["b"]);
    fs.sync_dir(Path::new("/")).unwrap();
    fs.remove(Path::new("/b")).unwrap();
    assert_eq!(fs.crash(Survive::Nothing).peek("/b").unwrap(), b"x", "a removed file comes back");
}

#[test]
fn a_failed_sync_leaves_what_its_model_says() {
    for (model, seen) in [(SyncModel::KeepCache, 2), (SyncModel::RevertCache, 1), (SyncModel::Lie, 2)] {
        let lost = (0..16).filter(|&seed| {
            let fs = SimFs::new(seed);
            fs.plant("/f", &[1; 4096]).unwrap();
            let file = fs.open(Path::new("/f")).unwrap();
            fs.set_sync_model(model);
            write(&file, &[2; 4096], 0).unwrap();
            fs.fail_next(Op::Sync, 0, Fault::Error(io::ErrorKind::Other));
            assert_eq!(file.sync_data().is_ok(), model == SyncModel::Lie);
            file.sync_data().expect("the second sync has nothing to do");
            let after = fs.crash(Survive::Nothing).peek("/f").unwrap()[0];
            assert!(after == 2 || fs.peek("/f").unwrap()[0] == seen);
            after == 1
        });
        let lost = lost.count();
        assert!((1..16).contains(&lost), "{model:?}: {lost} of 16 lost");
    }
}

#[test]
fn a_failed_sync_of_a_directory_leaves_what_its_model_says() {
    let other = Fault::Error(io::ErrorKind::Other);
    for (model, cached) in
        [(SyncModel::KeepCache, true), (SyncModel::RevertCache, false), (SyncModel::Lie, true)]
    {
        let lost = (0..16).filter(|&seed| {
            let fs = SimFs::new(seed);
            fs.set_sync_model(model);
            fs.create_new(Path::new("/a")).unwrap();
            fs.create_dir(Path::new("/d")).unwrap();
            fs.fail_next(Op::SyncDir, 0, other);
            assert_eq!(fs.sync_dir(Path::new("/")).is_ok(), model == SyncModel::Lie);
            assert_eq!(fs.effects(), 1, "a directory's name is still to be synced");
            fs.sync_dir(Path::new("/")).expect("the second sync has little to do");
            let durable = fs.crash(Survive::Nothing).names("/").unwrap();
            assert!(durable.contains(&"d".to_owned()));
            let lost = !durable.contains(&"a".to_owned());
            assert_eq!(fs.names("/").unwrap().contains(&"a".to_owned()), cached || !lost);
            lost
        });
        let lost = lost.count();
        assert!((1..16).contains(&lost), "{model:?}: {lost} of 16 lost");
    }
}

#[test]
fn a_full_disk_takes_overwrites_and_nothing_new() {
    let (fs, file) = with_file();
    fs.set_budget(Some(8192));
    write(&file, &[3; 4096], 0).unwrap();
    let error = write(&file, &[3; 12_000], 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs.allocated(), 8192, "what fitted was written");
    assert_eq!(file.allocate(12_000).unwrap_err().kind(), io::ErrorKind::StorageFull);
    let free = || fs.free_bytes(Path::new("/")).unwrap();
    assert_eq!(free(), 0);
    fs.set_budget(Some(8192 + 5000));
    assert_eq!(free(), 4096, "in whole pages");
    fs.set_budget(None);
    assert_eq!(free(), u64::MAX);
    write(&file, &[3; 12_000], 0).unwrap();
}

#[test]
fn after_the_crash_nothing_works_and_a_restart_keeps_the_cache() {
    let (fs, file) = with_file();
    let lock = fs.try_lock(Path::new("/LOCK")).unwrap().unwrap();
    write(&file, &[2; 10], 0).unwrap();
    fs.crash_at(fs.op_count());
    assert!(write(&file, &[3; 10], 0).is_err());
    assert!(file.sync_data().is_err() && fs.has_crashed());
    let next = fs.restart();
    assert_eq!(next.peek("/f").unwrap()[..10], [2; 10]);
    assert_eq!(next.crash(Survive::Nothing).peek("/f").unwrap()[..10], [1; 10]);
    assert!(next.try_lock(Path::new("/LOCK")).unwrap().is_some());
    drop(lock);
}
