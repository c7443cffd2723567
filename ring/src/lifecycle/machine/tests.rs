//! Lives against a store and a disk that fail at will.

use self::world::World;
use crate::lifecycle::{Event, LifecyclerOptions};

mod histories;
mod losses;
mod rivals;
mod starts;
mod stops;
mod tokens;
mod world;

/// It serves, and has for a while.
fn served(options: LifecyclerOptions) -> World {
    let mut world = World::new(options);
    world.on(Event::Start);
    world.run();
    assert!(world.is_served());
    world
}
