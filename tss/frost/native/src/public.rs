//! What anybody can check or compute from a DKG's public messages.

use std::collections::BTreeMap;

use frost_secp256k1_tr::keys::{PublicKeyPackage, Tweak};

use crate::dkg::{count_r1, dealt_group, own_number, proof_holds, read_r1, share_holds, wrong_proof};
use crate::error::*;
use crate::guard::{guarded, input, output, place};
use crate::wire::{self, Path};

/// Checks one R1 package as it arrives.
///
/// Returns: 0, or a code with the sender as culprit (1xx, 200).
/// Args: member: the sender; members, threshold: n and t; package, package_len: its bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_r1_check(
    member: u16,
    members: u16,
    threshold: u16,
    package: *const u8,
    package_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            wire::check_threshold(threshold, members)?;
            let id = own_number(member, members)?;
            let decoded = wire::r1_package(threshold, input(package, package_len)?)
                .map_err(|fault| fault.by([member]))?;
            if proof_holds(id, &decoded) { Ok(()) } else { Err(wrong_proof().by([member])) }
        })
    }
}

/// Checks a key share that somebody shows us against its sender's R1 package (Feldman).
///
/// Returns: 0 when there is an answer, or 1xx for a malformed package or member number.
/// Args: package, package_len: the sender's R1 package; member: the receiver; share, share_len: the share.
/// Out:  valid: 1 or 0; a malformed or zero share gives 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_share_check(
    package: *const u8,
    package_len: usize,
    member: u16,
    share: *const u8,
    share_len: usize,
    valid: *mut i32,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = place(valid)?;
            let package = input(package, package_len)?;
            let threshold = package.len().saturating_sub(wire::PROOF) / wire::POINT;
            let package = wire::r1_package(threshold.min(MAX_MEMBERS) as u16, package)?;
            let receiver = wire::identifier(member)?;
            let share = wire::share("a key share", input(share, share_len)?);
            *target = i32::from(share.is_ok_and(|share| share_holds(&package, receiver, share)));
            Ok(())
        })
    }
}

/// Computes a group's public layout from its R1 packages, as an outsider can.
///
/// Returns: 0, or a code with culprits (1xx, 200).
/// Args: r1, r1_len: a map of all n packages; threshold: t.
/// Out:  public: the public layout, 38 + 35·n bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_public_derive(
    r1: *const u8,
    r1_len: usize,
    threshold: u16,
    public: *mut u8,
    public_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let r1 = input(r1, r1_len)?;
            let packages = read_r1(r1, count_r1(r1)?, threshold)?;
            // The crate's post_dkg adds this tweak too: P = lift_x(A) + H_TapTweak(x(A))·G.
            let derived = dealt_group(threshold, &packages).tweak::<&[u8]>(None);
            let bytes = wire::write_public(threshold, &derived)?;
            output(public, public_len, bytes.len())?.copy_from_slice(&bytes);
            Ok(())
        })
    }
}

/// The key under which a path's signatures verify (BIP341).
///
/// Returns: 0, or 1xx.
/// Args: group: the group key, 33 bytes; path, path_len: the path.
/// Out:  key: x-only, 32 bytes; parity: 1 when its y is odd.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_public_tweak(
    group: *const u8,
    group_len: usize,
    path: *const u8,
    path_len: usize,
    key: *mut u8,
    key_len: usize,
    parity: *mut i32,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let (target, odd) = (output(key, key_len, 32)?, place(parity)?);
            let group = wire::lone_group_key(input(group, group_len)?)?;
            let path = Path::decode(input(path, path_len)?)?;
            let bytes = path
                .public(&PublicKeyPackage::new(BTreeMap::new(), group, None))
                .verifying_key()
                .serialize()?;
            if let Some((sign, x)) = bytes.split_first() {
                *odd = i32::from(*sign == 3);
                target.copy_from_slice(x);
            }
            Ok(())
        })
    }
}
