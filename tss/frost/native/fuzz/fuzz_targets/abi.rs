//! Every entry of the C interface with inputs that were right once and then damaged.
//!
//! The fuzzer's bytes choose an entry and describe damage (flipped bits, cuts, tails, copied ranges, noise) to
//! inputs of a real committee of three. Must hold, whatever comes: no panic, no internal error, a code and a report
//! that agree, no success for what was changed where it may not be, and no nonce that signs twice.
#![no_main]

mod calls;
mod damage;
mod world;

use libfuzzer_sys::fuzz_target;

use crate::world::World;

fuzz_target!(|data: &[u8]| World::with(|world| calls::run(world, data)));
