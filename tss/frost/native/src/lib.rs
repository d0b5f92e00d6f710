//! FROST(secp256k1, SHA-256) with Taproot parity, behind a C interface that never hands out a nonce.
//!
//! The arithmetic is ZcashFoundation's `frost-secp256k1-tr` 3.0.0, but for commitments at small places
//! (`polynomial.rs`), which part3 and the refresh evaluate much faster. This crate adds what its
//! caller, a Python process, cannot give: secrets that live behind handles, nonces that are gone at first
//! use, one canonical byte form for every input, and errors that name the culprit.
//!
//! # Rules of the interface
//! - Every entry returns 0 or a code from [`error`]; the same code, culprits and a sentence go to `error`,
//!   which may be null. On failure outputs are unspecified.
//! - An input is a pointer and a length; an output is a buffer of exactly the stated length. A null pointer is
//!   allowed only with length 0. Buffers belong to the caller, who wipes the secret ones.
//! - Handles are numbers, not addresses: a stale one is an error, never a crash. Each belongs to the process
//!   that made it; after `fork` the child is refused.
//! - Entries may be called from any thread. Members are numbered from 1 to n, n at most 128.
//!
//! # Layouts (integers big-endian)
//! | what | bytes |
//! |---|---|
//! | R1 package | t commitments of 33, proof of knowledge 64 |
//! | refresh package | t - 1 commitments of 33 |
//! | members | member u16, strictly ascending, one after the other |
//! | map | repeated: member u16, length u32, bytes; members strictly ascending |
//! | path | `00` internal key, `01` key path, `02` and a 32-byte script root |
//! | public | `01`, t u16, group key 33, count u16, then count times (member u16, verifying share 33) |
//! | package | `01`, message 32, path, count u16, then count times (member u16, commitment 66) |
//!
//! # Safety of every entry
//! Pointers must be valid for their lengths during the call, and outputs must not overlap inputs.

#[cfg(test)]
mod agreement;
mod dkg;
pub mod error;
mod guard;
mod key;
mod memory;
mod polynomial;
mod public;
mod recent;
mod refresh;
mod registry;
mod repair;
mod rng;
mod session;
mod wire;

pub use dkg::*;
pub use error::HoldfastFrostError;
pub use key::*;
pub use public::*;
pub use refresh::*;
pub use repair::*;
#[cfg(feature = "test-seed")]
pub use rng::seed;
pub use session::*;

/// Version of the C interface; it rises with every change a caller can notice.
///
/// Returns: the version.
#[unsafe(no_mangle)]
pub extern "C" fn holdfast_frost_abi_version() -> u32 {
    2
}
