//! Who is forgotten, and who is not after an outage.

use super::*;
use crate::disk::MemoryDisk;
use crate::lifecycle::WatcherOptions;
use crate::lifecycle::driver::tests::{Place, life, paused};
use crate::store::Trouble;

async fn minutes(minutes: u64) {
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
}

/// Instances that run, each with a watcher and a caretaker of its own.
async fn cluster(place: &Place) -> Vec<(Driver, Watcher, Caretaker)> {
    let mut all = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let home = place.home(&MemoryDisk::default());
        let watcher = Watcher::spawn(&home, WatcherOptions::default()).unwrap();
        let driver = Driver::spawn(life(id), home.clone(), watcher.members(), None);
        let keep_left = Duration::from_secs(900);
        let options = CaretakerOptions { forget: Some(Forget::default()), keep_left, ..Default::default() };
        let caretaker = Caretaker::spawn(home, &watcher, Some(&driver), options);
        driver.recovered();
        driver.wait_for(|status| status.ready).await;
        all.push((driver, watcher, caretaker));
    }
    all
}

fn forgotten(place: &Place) -> usize {
    place.count(|report| matches!(report, Report::Forgotten { .. }))
}

#[test]
fn who_is_silent_for_long_is_forgotten_once_and_later_its_records_are_deleted() {
    paused(async {
        let place = Place::new();
        let mut all = cluster(&place).await;
        minutes(15).await;
        drop(all.remove(2));
        minutes(9).await;
        assert_eq!(place.record("c").await.unwrap().state, State::Active);
        minutes(3).await;
        assert_eq!(place.record("c").await.unwrap().state, State::Left);
        assert_eq!(forgotten(&place), 1, "by one of three");
        assert!(place.store.get("tokens/c").await.unwrap().is_some());
        minutes(17).await;
        assert_eq!(place.record("c").await, None);
        assert_eq!(place.store.get("tokens/c").await.unwrap(), None);
        assert!(all[0].1.members().borrow().member("c").is_none());
        assert_eq!(
            place.store.list().await.unwrap().records.len(),
            6,
            "of those who are there nothing is deleted"
        );
    });
}

#[test]
fn after_an_outage_of_the_store_nobody_is_forgotten_for_as_long_as_silence_may_be() {
    for trouble in [Trouble::Hangs, Trouble::Fails] {
        paused(async {
            let place = Place::new();
            let mut all = cluster(&place).await;
            minutes(15).await;
            place.store.set_trouble(trouble);
            minutes(20).await;
            // One of them died meanwhile. It is silent for longer than it may be, and few enough are to forget it.
            drop(all.remove(3));
            place.store.set_trouble(Trouble::None);
            minutes(9).await;
            assert_eq!(forgotten(&place), 0, "{trouble:?}");
            assert_eq!(place.record("d").await.unwrap().state, State::Active);
            minutes(4).await;
            assert_eq!(place.record("d").await.unwrap().state, State::Left);
            assert_eq!(forgotten(&place), 1, "{trouble:?}");
        });
    }
}
