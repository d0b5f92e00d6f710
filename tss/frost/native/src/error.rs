//! What can go wrong, who did it, and how it crosses the C boundary.

use std::os::raw::c_char;

use frost_secp256k1_tr::{Error, Identifier};

/// Most members of one committee (adaptive attacks on larger ones: eprint 2025/1001).
pub(crate) const MAX_MEMBERS: usize = 128;
const MESSAGE_BYTES: usize = 160;

/// A null pointer where bytes are needed.
pub const HOLDFAST_FROST_NULL: i32 = 100;
/// Wrong length.
pub const HOLDFAST_FROST_LENGTH: i32 = 101;
/// Not a point of the curve, or not a scalar in range.
pub const HOLDFAST_FROST_ELEMENT: i32 = 102;
/// Decodes, but is not the one canonical form.
pub const HOLDFAST_FROST_CANONICAL: i32 = 103;
/// A member number that is zero, too large, repeated or out of order.
pub const HOLDFAST_FROST_MEMBER: i32 = 104;
/// Verifying shares and group key do not lie on one polynomial.
pub const HOLDFAST_FROST_INCONSISTENT: i32 = 105;
/// A proof of knowledge in an R1 package is wrong; culprits are named.
pub const HOLDFAST_FROST_PROOF: i32 = 200;
/// A key share does not fit the commitments; culprits are named.
pub const HOLDFAST_FROST_SHARE: i32 = 201;
/// A signature share is wrong; culprits are named.
pub const HOLDFAST_FROST_SIGNATURE_SHARE: i32 = 202;
/// Steps out of order, or other inputs than in the step before.
pub const HOLDFAST_FROST_ORDER: i32 = 300;
/// Threshold or member count out of range.
pub const HOLDFAST_FROST_THRESHOLD: i32 = 301;
/// Somebody who is no member takes part; the numbers are named.
pub const HOLDFAST_FROST_STRANGER: i32 = 302;
/// Too few members take part; those missing are named where known.
pub const HOLDFAST_FROST_TOO_FEW: i32 = 303;
/// The handle is unknown or closed.
pub const HOLDFAST_FROST_HANDLE: i32 = 304;
/// More nonces than the engine keeps.
pub const HOLDFAST_FROST_TOO_MANY: i32 = 305;
/// The nonce handle is unknown or was used.
pub const HOLDFAST_FROST_NONCE: i32 = 400;
/// The package holds another commitment than the nonce's; the nonce is burnt.
pub const HOLDFAST_FROST_COMMITMENT: i32 = 402;
/// The handle was made by another process (fork).
pub const HOLDFAST_FROST_FORKED: i32 = 403;
/// The engine panicked; its state was dropped.
pub const HOLDFAST_FROST_PANIC: i32 = 500;
/// The engine's own result did not verify; nothing was released.
pub const HOLDFAST_FROST_SELF_CHECK: i32 = 502;
/// The FROST crate refused for a reason that should be impossible here.
pub const HOLDFAST_FROST_INTERNAL: i32 = 503;

/// Filled by every entry that fails.
#[repr(C)]
pub struct HoldfastFrostError {
    /// One of the codes of this interface.
    pub code: i32,
    /// How many culprits are named.
    pub count: u16,
    /// Member numbers, ascending; only the first `count` count.
    pub culprits: [u16; 128],
    /// A sentence in UTF-8, ended by a zero byte; it never holds a secret.
    pub message: [c_char; 160],
}

/// An error inside the crate.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: i32,
    pub(crate) culprits: Vec<u16>,
    message: String,
}

impl Fault {
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, culprits: Vec::new(), message: message.into() }
    }

    /// The same fault with these members named, sorted and without repeats.
    pub(crate) fn by(mut self, culprits: impl IntoIterator<Item = u16>) -> Self {
        self.culprits.extend(culprits);
        self.culprits.sort_unstable();
        self.culprits.dedup();
        self
    }

    /// Writes the fault where C can read it; what does not fit is cut.
    pub(crate) fn write(&self, target: &mut HoldfastFrostError) {
        target.code = self.code;
        target.culprits = [0; MAX_MEMBERS];
        target.count = self.culprits.len().min(MAX_MEMBERS) as u16;
        for (slot, culprit) in target.culprits.iter_mut().zip(&self.culprits) {
            *slot = *culprit;
        }
        target.message = [0; MESSAGE_BYTES];
        let mut end = self.message.len().min(MESSAGE_BYTES - 1);
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        for (slot, byte) in target.message.iter_mut().zip(self.message.bytes().take(end)) {
            *slot = byte as c_char;
        }
    }
}

/// The member number of an identifier made from one.
pub(crate) fn member(identifier: &Identifier) -> u16 {
    identifier.serialize().iter().rev().take(2).rev().fold(0, |sum, byte| sum << 8 | u16::from(*byte))
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::InvalidProofOfKnowledge { .. } => HOLDFAST_FROST_PROOF,
            Error::InvalidSecretShare { .. } => HOLDFAST_FROST_SHARE,
            Error::InvalidSignatureShare { .. } => HOLDFAST_FROST_SIGNATURE_SHARE,
            Error::InvalidMinSigners | Error::InvalidMaxSigners => HOLDFAST_FROST_THRESHOLD,
            Error::FieldError(_) | Error::GroupError(_) | Error::IdentityCommitment => HOLDFAST_FROST_ELEMENT,
            _ => HOLDFAST_FROST_INTERNAL,
        };
        let culprits: Vec<u16> = error.culprits().iter().map(member).collect();
        Self::new(code, error.to_string()).by(culprits)
    }
}
