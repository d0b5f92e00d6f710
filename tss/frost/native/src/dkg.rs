//! Key generation: the crate's part1 and part2, its part3 with faster checks, and every culprit named.

use std::collections::BTreeMap;
use std::sync::Mutex;

use frost_core::keys::CoefficientCommitment;
use frost_core::keys::dkg::{compute_proof_of_knowledge, verify_proof_of_knowledge};
use frost_core::{Ciphersuite, Group};
use frost_secp256k1_tr::keys::dkg::{self, round1, round2};
use frost_secp256k1_tr::keys::{
    KeyPackage, PublicKeyPackage, SigningShare, VerifiableSecretSharingCommitment, VerifyingShare,
};
use frost_secp256k1_tr::{Field, Identifier, Secp256K1Group, Secp256K1ScalarField, SigningKey};
use zeroize::Zeroizing;

use crate::error::*;
use crate::guard::{guarded, input, output, place};
use crate::key::{self, Key};
use crate::polynomial;
use crate::registry::{Registry, lock};
use crate::rng::rng;
use crate::wire::{self, Exponent};

static DKGS: Registry<Dkg> = Registry::new("DKG");

pub(crate) type R1Map = BTreeMap<Identifier, round1::Package>;

/// One member's secrets between the rounds.
struct Dkg {
    me: u16,
    members: u16,
    threshold: u16,
    phase: Mutex<Phase>,
}

enum Phase {
    /// After part1: the polynomial, and the package that was sent.
    Dealt { secret: Box<round1::SecretPackage>, package: Vec<u8> },
    /// After part2: our own share, and the R1 map that all later steps must repeat.
    Shared { secret: Box<round2::SecretPackage>, r1: Vec<u8>, packages: R1Map },
    /// Used up, by success or by failure.
    Spent,
}

fn out_of_order() -> Fault {
    Fault::new(HOLDFAST_FROST_ORDER, "this DKG step comes out of order: begin a new attempt")
}

/// All R1 packages of a DKG with `members` members, decoded, every proof checked.
pub(crate) fn read_r1(bytes: &[u8], members: u16, threshold: u16) -> Result<R1Map, Fault> {
    wire::check_threshold(threshold, members)?;
    let entries = wire::map("R1 packages", bytes)?;
    wire::complete("R1 packages", &entries, members)?;
    let packages = wire::decode_each(&entries, |raw| wire::r1_package(threshold, raw))?;
    let culprits: Vec<u16> = packages
        .iter()
        .filter(|(id, package)| !proof_holds(**id, package))
        .map(|(id, _)| member(id))
        .collect();
    if culprits.is_empty() {
        return Ok(packages);
    }
    Err(wrong_proof().by(culprits))
}

pub(crate) fn wrong_proof() -> Fault {
    Fault::new(
        HOLDFAST_FROST_PROOF,
        "a proof of knowledge does not verify: end this attempt and name its sender",
    )
}

pub(crate) fn proof_holds(sender: Identifier, package: &round1::Package) -> bool {
    verify_proof_of_knowledge(sender, package.commitment(), package.proof_of_knowledge()).is_ok()
}

/// How many members an R1 map has; the roster of a finished DKG is the map itself.
pub(crate) fn count_r1(bytes: &[u8]) -> Result<u16, Fault> {
    Ok(wire::map("R1 packages", bytes)?.len() as u16)
}

/// The Feldman check: does this share lie on the sender's committed polynomial?
pub(crate) fn share_holds(package: &round1::Package, receiver: Identifier, share: Exponent) -> bool {
    let place = member(&receiver);
    Secp256K1Group::generator() * share == polynomial::at(&polynomial::points(package.commitment()), place)
}

/// The shares for one receiver from all members, decoded; wrong ones name their senders.
fn read_shares(bytes: &[u8], members: u16) -> Result<BTreeMap<Identifier, Exponent>, Fault> {
    let entries = wire::map("key shares", bytes)?;
    wire::complete("key shares", &entries, members)?;
    wire::decode_each(&entries, |raw| wire::share("a key share", raw))
}

/// The crate's part3, with the commitments evaluated by Horner's rule and all culprits named.
pub(crate) fn finish(
    me: u16,
    threshold: u16,
    r1: &R1Map,
    shares: &BTreeMap<Identifier, Exponent>,
) -> Result<Key, Fault> {
    let id = wire::identifier(me)?;
    let holds = |sender, share| r1.get(sender).is_some_and(|package| share_holds(package, id, share));
    let culprits: Vec<u16> = shares
        .iter()
        .filter(|(sender, share)| !holds(sender, **share))
        .map(|(sender, _)| member(sender))
        .collect();
    if !culprits.is_empty() {
        let text = "key shares do not fit their commitments: complain about their senders";
        return Err(Fault::new(HOLDFAST_FROST_SHARE, text).by(culprits));
    }
    let public = dealt_group(threshold, r1);
    let sum = shares.values().fold(Secp256K1ScalarField::zero(), |sum, share| sum + share);
    let share = SigningShare::new(sum);
    let package = KeyPackage::new(id, share, VerifyingShare::from(share), *public.verifying_key(), threshold);
    let (package, public) = wire::Suite::post_dkg(package, public)?;
    Key::new(me, threshold, package, public)
}

/// The group that a DKG's polynomials make, before the crate's tweak.
pub(crate) fn dealt_group(threshold: u16, r1: &R1Map) -> PublicKeyPackage {
    let sum = polynomial::sum(r1.values().map(|package| package.commitment()));
    polynomial::group(threshold, &sum, r1.keys())
}

/// Recomputes a member's key from a transcript: the same arithmetic as [`finish`], from the decrypted shares alone.
pub(crate) fn restore(me: u16, threshold: u16, r1: &[u8], shares: &[u8]) -> Result<Key, Fault> {
    let members = count_r1(r1)?;
    let packages = read_r1(r1, members, threshold)?;
    let shares = read_shares(shares, members)?;
    let id = wire::identifier(me)?;
    if !packages.contains_key(&id) {
        let text = format!("member {me} is not in this transcript: take your own number");
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([me]));
    }
    finish(me, threshold, &packages, &shares)
}

/// Begins a DKG (part1).
///
/// Returns: 0, or a code (104, 301).
/// Args: member: our number; members: n; threshold: t.
/// Out:  dkg: a handle for [`holdfast_frost_dkg_drop`]; r1: our R1 package, 33·t + 64 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_dkg_begin(
    member: u16,
    members: u16,
    threshold: u16,
    dkg: *mut u64,
    r1: *mut u8,
    r1_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            wire::check_threshold(threshold, members)?;
            let (target, handle) = (output(r1, r1_len, wire::r1_bytes(threshold))?, place(dkg)?);
            let id = own_number(member, members)?;
            let (secret, package) = part1(id, members, threshold)?;
            let package = wire::write_r1(&package)?;
            target.copy_from_slice(&package);
            let phase = Mutex::new(Phase::Dealt { secret: Box::new(secret), package });
            *handle = DKGS.insert(Dkg { me: member, members, threshold, phase })?;
            Ok(())
        })
    }
}

/// The crate's part1; for the one member of 1 of 1, which the crate refuses, its steps with one coefficient.
fn part1(
    id: Identifier,
    members: u16,
    threshold: u16,
) -> Result<(round1::SecretPackage, round1::Package), Fault> {
    if threshold > 1 {
        return Ok(dkg::part1(id, members, threshold, rng())?);
    }
    let secret = Zeroizing::new(SigningKey::new(&mut rng()).to_scalar());
    let point = CoefficientCommitment::new(Secp256K1Group::generator() * *secret);
    let commitment = VerifiableSecretSharingCommitment::new(vec![point]);
    let proof = compute_proof_of_knowledge(id, &[*secret], &commitment, rng())?;
    let package = round1::Package::new(commitment.clone(), proof);
    Ok((round1::SecretPackage::new(id, vec![*secret], commitment, threshold, members), package))
}

pub(crate) fn own_number(member: u16, members: u16) -> Result<Identifier, Fault> {
    if member > members {
        let text =
            format!("member {member} is beyond the {members} of this DKG: take your number from the roster");
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([member]));
    }
    wire::identifier(member)
}

/// Makes the shares for all members (part2) after checking every R1 package.
///
/// Returns: 0, or a code; nothing is used up on 1xx, 2xx (culprits named) and 30x.
/// Args: dkg: the handle, fresh from begin; r1, r1_len: a map of all n packages, ours included.
/// Out:  shares: n times 32 bytes, for the members 1 to n, ours included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_dkg_share(
    dkg: u64,
    r1: *const u8,
    r1_len: usize,
    shares: *mut u8,
    shares_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let state = DKGS.get(dkg)?;
            let target = output(shares, shares_len, wire::SCALAR * usize::from(state.members))?;
            target.copy_from_slice(&state.share(input(r1, r1_len)?)?);
            Ok(())
        })
    }
}

impl Dkg {
    fn share(&self, r1: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut phase = lock(&self.phase);
        let Phase::Dealt { package, .. } = &*phase else {
            return Err(out_of_order());
        };
        let all = read_r1(r1, self.members, self.threshold)?;
        let mut others = all.clone();
        let id = wire::identifier(self.me)?;
        let own = others.remove(&id).map(|own| wire::write_r1(&own)).transpose()?;
        if own.as_ref() != Some(package) {
            let text = "our own R1 package comes back changed: the relay lies, begin a new attempt";
            return Err(Fault::new(HOLDFAST_FROST_ORDER, text));
        }
        let Phase::Dealt { secret, .. } = std::mem::replace(&mut *phase, Phase::Spent) else {
            return Err(out_of_order());
        };
        let (secret, packages) = dkg::part2(*secret, &others)?;
        let secret = Box::new(secret);
        let mut bytes = Zeroizing::new(Vec::with_capacity(wire::SCALAR * usize::from(self.members)));
        for receiver in 1..=self.members {
            let own = SigningShare::new(secret.secret_share());
            let share =
                packages.get(&wire::identifier(receiver)?).map_or(own, |package| *package.signing_share());
            bytes.extend_from_slice(&Zeroizing::new(share.serialize()));
        }
        *phase = Phase::Shared { secret, r1: r1.to_vec(), packages: all };
        Ok(bytes)
    }

    fn finish(&self, r1: &[u8], shares: &[u8]) -> Result<Key, Fault> {
        // Taken first: whatever happens below, this DKG's secrets are gone afterwards.
        let phase = std::mem::replace(&mut *lock(&self.phase), Phase::Spent);
        let Phase::Shared { secret, r1: agreed, packages } = phase else {
            return Err(out_of_order());
        };
        if agreed != r1 {
            let text = "the R1 packages differ from those of the step before: begin a new attempt";
            return Err(Fault::new(HOLDFAST_FROST_ORDER, text));
        }
        let shares = read_shares(shares, self.members)?;
        let id = wire::identifier(self.me)?;
        if shares.get(&id) != Some(&secret.secret_share()) {
            let text = "our own key share comes back changed: begin a new attempt";
            return Err(Fault::new(HOLDFAST_FROST_SHARE, text).by([self.me]));
        }
        finish(self.me, self.threshold, &packages, &shares)
    }
}

/// Ends a DKG (part3): checks all shares and makes our key. The DKG is used up, also by an error.
///
/// Returns: 0, or a code (201 with culprits, 300 when r1 is not that of the share step).
/// Args: dkg: the handle; r1, r1_len: the same map; shares, shares_len: a map of all n shares for us.
/// Out:  key: a handle for [`holdfast_frost_key_drop`](crate::holdfast_frost_key_drop);
///       public: the public layout, 38 + 35·n bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_dkg_finish(
    dkg: u64,
    r1: *const u8,
    r1_len: usize,
    shares: *const u8,
    shares_len: usize,
    key: *mut u64,
    public: *mut u8,
    public_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let state = DKGS.get(dkg)?;
            let finished = state.finish(input(r1, r1_len)?, input(shares, shares_len)?)?;
            key::hand_out(finished, key, public, public_len)
        })
    }
}

/// Forgets a DKG and wipes its secrets; a second time is no error.
///
/// Returns: 0, or 403 in a forked process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_dkg_drop(dkg: u64, error: *mut HoldfastFrostError) -> i32 {
    unsafe { guarded(error, || DKGS.remove(dkg)) }
}

/// Whether a scalar is zero, which no key share may be.
pub(crate) fn is_zero(value: &Exponent) -> bool {
    *value == Secp256K1ScalarField::zero()
}
