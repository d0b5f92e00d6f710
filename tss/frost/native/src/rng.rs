//! Where randomness comes from: the operating system.

#[cfg(not(feature = "test-seed"))]
pub(crate) use rand_core::OsRng as Rng;

#[cfg(not(feature = "test-seed"))]
pub(crate) fn rng() -> Rng {
    Rng
}

#[cfg(feature = "test-seed")]
pub(crate) use seeded::rng;
#[cfg(feature = "test-seed")]
pub use seeded::seed;

#[cfg(all(feature = "test-seed", not(debug_assertions)))]
compile_error!("test-seed makes every secret predictable: it never goes into a release build");

/// Repeatable randomness for Rust tests; not reachable from C.
#[cfg(feature = "test-seed")]
mod seeded {
    use std::sync::Mutex;

    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore, SeedableRng};

    use crate::registry::lock;

    static SOURCE: Mutex<Option<ChaCha20Rng>> = Mutex::new(None);

    /// Starts the sequence again from `seed`.
    pub fn seed(seed: u64) {
        *lock(&SOURCE) = Some(ChaCha20Rng::seed_from_u64(seed));
    }

    /// A generator whose own seed is the next number of the sequence.
    pub(crate) fn rng() -> ChaCha20Rng {
        let mut source = lock(&SOURCE);
        let source = source.get_or_insert_with(|| ChaCha20Rng::seed_from_u64(0));
        ChaCha20Rng::seed_from_u64(source.next_u64())
    }
}
