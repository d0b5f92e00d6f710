//! Repair: t helpers give a member its lost share again, and none of them learns anything (eprint 2017/1155).
//!
//! Every helper splits its weighted share into one delta per helper, every helper adds the deltas it got to a
//! sigma, and the sigmas add up to the lost share. The crate's parts check nothing; here each delta is published
//! in the exponent as well, so that a wrong delta or sigma names its sender.

use std::collections::{BTreeMap, BTreeSet};

use frost_core::{Group, compute_lagrange_coefficient};
use frost_secp256k1_tr::keys::repairable::{
    Delta, Sigma, repair_share_part1, repair_share_part2, repair_share_part3,
};
use frost_secp256k1_tr::{Identifier, Secp256K1Group};
use zeroize::Zeroizing;

use crate::error::*;
use crate::guard::{guarded, input, output, place};
use crate::key::{self, Key};
use crate::polynomial::Point;
use crate::rng::rng;
use crate::wire::{self, Exponent, Suite};

/// The helpers of a repair: at least t, ascending, all holding a share, the receiver not among them.
fn helpers(
    bytes: &[u8],
    receiver: u16,
    threshold: u16,
    known: impl Fn(&Identifier) -> bool,
) -> Result<Vec<Identifier>, Fault> {
    let members = wire::members(bytes)?;
    let everyone: Vec<u16> = members.iter().copied().chain([receiver]).collect();
    let mut strangers = Vec::new();
    for one in everyone {
        if !known(&wire::identifier(one)?) {
            strangers.push(one);
        }
    }
    if !strangers.is_empty() {
        let text = "a repair is between members who hold a share of the key: leave the others out";
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by(strangers));
    }
    if members.contains(&receiver) {
        let text = "whoever lost its share cannot help to repair it: take other helpers";
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([receiver]));
    }
    if members.len() < usize::from(threshold) {
        let text = format!("{} helpers repair a key that needs {threshold}: take more", members.len());
        return Err(Fault::new(HOLDFAST_FROST_TOO_FEW, text));
    }
    members.into_iter().map(wire::identifier).collect()
}

fn split(key: &Key, receiver: u16, bytes: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Fault> {
    let (threshold, package, public) = key.parts();
    let known = |id: &Identifier| public.verifying_shares().contains_key(id);
    let helpers = helpers(bytes, receiver, threshold, known)?;
    if !helpers.contains(package.identifier()) {
        let text = "we are not among the helpers of this repair: it does not concern us";
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([member(package.identifier())]));
    }
    let receiver = wire::identifier(receiver)?;
    let parts = repair_share_part1::<Suite, _>(&helpers, package, &mut rng(), receiver)?;
    let mut deltas = Zeroizing::new(Vec::with_capacity(wire::SCALAR * helpers.len()));
    let mut commitments = Vec::with_capacity(wire::POINT * helpers.len());
    for delta in parts.values() {
        deltas.extend_from_slice(&Zeroizing::new(delta.serialize()));
        commitments.extend(wire::write_point(Secp256K1Group::generator() * delta.to_scalar())?);
    }
    Ok((deltas, commitments))
}

/// Do a helper's commitments add up to its weighted verifying share?
fn commitments_hold(
    public: &[u8],
    receiver: u16,
    sender: u16,
    all: &[u8],
    given: &[u8],
) -> Result<bool, Fault> {
    let (threshold, public) = wire::public(public)?;
    let shares = public.verifying_shares();
    let helpers = helpers(all, receiver, threshold, |id: &Identifier| shares.contains_key(id))?;
    let sender = wire::identifier(sender)?;
    let Some(share) = shares.get(&sender).filter(|_| helpers.contains(&sender)) else {
        let text = "the sender is no helper of this repair: refuse it";
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([member(&sender)]));
    };
    let Ok(points) = wire::points("delta commitments", given) else {
        return Ok(false);
    };
    let set: BTreeSet<Identifier> = helpers.iter().copied().collect();
    let weight = compute_lagrange_coefficient::<Suite>(&set, Some(wire::identifier(receiver)?), sender)?;
    let sum = points.iter().fold(Secp256K1Group::identity(), |sum, point| sum + point);
    Ok(points.len() == helpers.len() && sum == share.to_element() * weight)
}

fn opens(point: Point, value: Result<Exponent, Fault>) -> i32 {
    i32::from(value.is_ok_and(|value| Secp256K1Group::generator() * value == point))
}

fn add_up(deltas: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let entries = wire::map("deltas", deltas)?;
    let parts = wire::decode_each(&entries, |raw| wire::scalar("a delta", raw).map(Delta::new))?;
    let all = Zeroizing::new(parts.into_values().map(|delta| delta.to_scalar()).collect::<Vec<_>>());
    let deltas: Vec<Delta> = all.iter().map(|value| Delta::new(*value)).collect();
    Ok(Zeroizing::new(repair_share_part2(&deltas).serialize()))
}

fn finish(receiver: u16, public: &[u8], sigmas: &[u8]) -> Result<Key, Fault> {
    let (threshold, public) = wire::public(public)?;
    let entries = wire::map("sigmas", sigmas)?;
    let parts: BTreeMap<_, Sigma> =
        wire::decode_each(&entries, |raw| wire::scalar("a sigma", raw).map(Sigma::new))?;
    let sigmas: Vec<Sigma> = parts.into_values().collect();
    let package = repair_share_part3(&sigmas, wire::identifier(receiver)?, &public)?;
    key::check_polynomial(threshold, &public)?;
    Key::new(receiver, threshold, package, public)
}

/// Splits our share for a repair (the crate's repair part1).
///
/// Returns: 0, or a code (104, 302 strangers, 303 too few helpers).
/// Args: key: our key; receiver: who lost its share; helpers, helpers_len: all helpers, u16 each, ascending.
/// Out:  deltas: 32 bytes for each helper; commitments: 33 bytes for each, the deltas in the exponent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_repair_split(
    key: u64,
    receiver: u16,
    helpers: *const u8,
    helpers_len: usize,
    deltas: *mut u8,
    deltas_len: usize,
    commitments: *mut u8,
    commitments_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let helpers = input(helpers, helpers_len)?;
            let secret = output(deltas, deltas_len, wire::SCALAR * (helpers.len() / 2))?;
            let open = output(commitments, commitments_len, wire::POINT * (helpers.len() / 2))?;
            let (deltas, commitments) = split(&*key::find(key)?, receiver, helpers)?;
            secret.copy_from_slice(&deltas);
            open.copy_from_slice(&commitments);
            Ok(())
        })
    }
}

/// Checks a helper's commitments: they add up to its weighted verifying share.
///
/// Returns: 0 when there is an answer, or a code (1xx for the public layout, 302, 303).
/// Args: public, public_len: the group; receiver: who lost its share; sender: the helper; helpers, helpers_len:
///       all helpers; commitments, commitments_len: the sender's.
/// Out:  valid: 1 or 0; malformed commitments give 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_repair_check(
    public: *const u8,
    public_len: usize,
    receiver: u16,
    sender: u16,
    helpers: *const u8,
    helpers_len: usize,
    commitments: *const u8,
    commitments_len: usize,
    valid: *mut i32,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = place(valid)?;
            let (public, all) = (input(public, public_len)?, input(helpers, helpers_len)?);
            let given = input(commitments, commitments_len)?;
            *target = i32::from(commitments_hold(public, receiver, sender, all, given)?);
            Ok(())
        })
    }
}

/// Checks a delta or sigma: its value in the exponent is the sum of these points.
///
/// Returns: 0 when there is an answer, or 1xx for malformed points.
/// Args: points, points_len: points of 33 bytes one after the other; value, value_len: the scalar.
/// Out:  valid: 1 or 0; a malformed scalar gives 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_repair_opens(
    points: *const u8,
    points_len: usize,
    value: *const u8,
    value_len: usize,
    valid: *mut i32,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = place(valid)?;
            let points = wire::points("delta commitments", input(points, points_len)?)?;
            let sum = points.into_iter().fold(Secp256K1Group::identity(), |sum, point| sum + point);
            *target = opens(sum, wire::scalar("a delta or sigma", input(value, value_len)?));
            Ok(())
        })
    }
}

/// Adds up the deltas that all helpers sent us (the crate's repair part2).
///
/// Returns: 0, or 1xx with culprits.
/// Args: deltas, deltas_len: a map of 32-byte deltas, checked before.
/// Out:  sigma: 32 bytes for whoever lost its share.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_repair_add(
    deltas: *const u8,
    deltas_len: usize,
    sigma: *mut u8,
    sigma_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = output(sigma, sigma_len, wire::SCALAR)?;
            target.copy_from_slice(&add_up(input(deltas, deltas_len)?)?);
            Ok(())
        })
    }
}

/// Makes our lost key from the sigmas of all helpers (the crate's repair part3), checked against the group.
///
/// Returns: 0, or a code (1xx with culprits, 105, 201 when the sum is not our share).
/// Args: receiver: our number; public, public_len: the group; sigmas, sigmas_len: a map of 32-byte sigmas.
/// Out:  key: a handle for [`holdfast_frost_key_drop`](crate::holdfast_frost_key_drop).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_repair_finish(
    receiver: u16,
    public: *const u8,
    public_len: usize,
    sigmas: *const u8,
    sigmas_len: usize,
    key: *mut u64,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = place(key)?;
            let made = finish(receiver, input(public, public_len)?, input(sigmas, sigmas_len)?)?;
            *target = key::keep(made)?;
            Ok(())
        })
    }
}
