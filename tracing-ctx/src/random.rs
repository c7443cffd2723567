//! The default source of ids: one generator per thread, seeded by the operating system.
//!
//! No thread waits for another and no draw after the first makes a system call.

use std::cell::Cell;

/// Xoroshiro128++ (Blackman and Vigna, 2019): 128 bits of state, which must not all be zero.
#[derive(Clone, Copy)]
struct Generator {
    a: u64,
    b: u64,
}

thread_local! {
    // A plain value without a destructor: ids can be made even while the thread is being torn down.
    static GENERATOR: Cell<Generator> = const { Cell::new(Generator { a: 0, b: 0 }) };
}

/// 64 random bits from this thread's generator.
///
/// Good enough that ids do not collide; not a secret, and not to be used as one. The first draw of a thread
/// asks the operating system for a seed. A process that forks after that shares its sequence with its child:
/// fork before the first id is made.
///
/// # Panics
///
/// If the operating system has no random bytes to give, on the first draw of a thread.
#[inline]
pub fn random_u64() -> u64 {
    GENERATOR.with(|cell| {
        let mut generator = cell.get();
        if generator.a | generator.b == 0 {
            generator = Generator::from_system();
        }
        let drawn = generator.draw();
        cell.set(generator);
        drawn
    })
}

impl Generator {
    #[cold]
    fn from_system() -> Self {
        let mut seed = [[0; 8]; 2];
        #[expect(clippy::disallowed_methods, reason = "the crate's edge: the seed of the default source")]
        getrandom::fill(seed.as_flattened_mut()).expect("an operating system that gives random bytes");
        let [a, b] = seed.map(u64::from_ne_bytes);
        Self { a, b }
    }

    #[inline]
    fn draw(&mut self) -> u64 {
        let Self { a, b } = *self;
        let drawn = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
        let mixed = a ^ b;
        *self = Self { a: a.rotate_left(49) ^ mixed ^ (mixed << 21), b: mixed.rotate_left(28) };
        drawn
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        let mut generator = Generator { a: 1, b: 2 };
        let drawn = [(); 4].map(|()| generator.draw());
        assert_eq!(
            drawn,
            [393_217, 669_327_710_093_319, 1_732_421_326_133_921_491, 11_394_790_081_659_126_983]
        );
    }

    #[test]
    fn threads_do_not_repeat_each_other() {
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| (0..1000).map(|_| random_u64()).collect::<Vec<_>>()))
            .collect();
        let drawn: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len());
    }

    #[test]
    fn ids_can_be_made_while_a_thread_is_torn_down() {
        struct Last(std::sync::mpsc::Sender<u64>);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.send(random_u64()).unwrap();
            }
        }
        thread_local!(static LAST: Cell<Option<Last>> = const { Cell::new(None) });
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || LAST.set(Some(Last(sender)))).join().unwrap();
        receiver.recv().expect("drawn by the destructor");
    }
}
