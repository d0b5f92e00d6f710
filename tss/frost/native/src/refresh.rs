//! Refresh: the same key in new shares. Every member deals a polynomial whose constant term is zero.
//!
//! The crate deals (refresh part1 and part2); the check of a share and the sum are ours, because the crate's
//! check names nobody. An R1 package here is t - 1 commitments without a proof: a constant term of zero can
//! move no key, and who deals for others without knowing the polynomial cannot deal shares that fit.

use std::collections::BTreeMap;
use std::sync::Mutex;

use frost_core::Group;
use frost_secp256k1_tr::keys::dkg::{round1, round2};
use frost_secp256k1_tr::keys::refresh::{refresh_dkg_part1, refresh_dkg_part2};
use frost_secp256k1_tr::keys::{
    KeyPackage, PublicKeyPackage, SigningShare, VerifiableSecretSharingCommitment, VerifyingShare,
};
use frost_secp256k1_tr::{Field, Identifier, Secp256K1Group, Secp256K1ScalarField, Signature};
use zeroize::Zeroizing;

use crate::error::*;
use crate::guard::{guarded, input, output, place};
use crate::key::{self, Key};
use crate::polynomial::{self, Point};
use crate::registry::{Registry, lock};
use crate::rng::rng;
use crate::wire::{self, Exponent};

static REFRESHES: Registry<Refresh> = Registry::new("refresh");

pub(crate) type Dealt = BTreeMap<Identifier, VerifiableSecretSharingCommitment>;

/// One member's secrets between the rounds.
struct Refresh {
    me: u16,
    members: Vec<u16>,
    threshold: u16,
    phase: Mutex<Phase>,
}

enum Phase {
    /// After begin: the polynomial, and the package that was sent.
    Begun { secret: Box<round1::SecretPackage>, package: Vec<u8> },
    /// After share: our own share, and the R1 map that the last step must repeat.
    Shared { secret: Box<round2::SecretPackage>, r1: Vec<u8> },
    /// Used up, by success or by failure.
    Spent,
}

fn out_of_order() -> Fault {
    Fault::new(HOLDFAST_FROST_ORDER, "this refresh step comes out of order: begin a new attempt")
}

fn package_bytes(threshold: u16) -> usize {
    wire::POINT * usize::from(threshold - 1)
}

/// The commitments of a polynomial whose constant term is zero, which is left out.
fn read_package(threshold: u16, bytes: &[u8]) -> Result<VerifiableSecretSharingCommitment, Fault> {
    const WHAT: &str = "a refresh package";
    if bytes.len() != package_bytes(threshold) || bytes.is_empty() {
        return Err(wire::length(WHAT, bytes.len(), package_bytes(threshold)));
    }
    let commitment = VerifiableSecretSharingCommitment::deserialize(bytes.chunks_exact(wire::POINT))
        .map_err(|_| wire::element(WHAT))?;
    wire::canonical(WHAT, bytes, &commitment.serialize_whole()?)?;
    Ok(commitment)
}

/// All packages of a refresh, decoded; they come from exactly these members.
fn read_r1(bytes: &[u8], members: &[u16], threshold: u16) -> Result<Dealt, Fault> {
    let entries = wire::map("refresh packages", bytes)?;
    wire::exactly("refresh packages", &entries, members)?;
    wire::decode_each(&entries, |raw| read_package(threshold, raw))
}

/// The sum's coefficients with the zero constant term in front.
fn coefficients<'a>(packages: impl IntoIterator<Item = &'a VerifiableSecretSharingCommitment>) -> Vec<Point> {
    let mut all = vec![Secp256K1Group::identity()];
    all.extend(polynomial::sum(packages));
    all
}

/// The Feldman check with a zero constant term.
fn share_holds(package: &VerifiableSecretSharingCommitment, receiver: Identifier, share: Exponent) -> bool {
    Secp256K1Group::generator() * share == polynomial::at(&coefficients([package]), member(&receiver))
}

/// The group after the refresh: the same key, and new verifying shares for those who took part.
fn refreshed(threshold: u16, old: &PublicKeyPackage, packages: &Dealt) -> Result<PublicKeyPackage, Fault> {
    let strangers: Vec<u16> =
        packages.keys().filter(|id| !old.verifying_shares().contains_key(id)).map(member).collect();
    if !strangers.is_empty() {
        let text = "a refresh takes only members who hold a share: leave the others out";
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by(strangers));
    }
    let count = packages.len();
    if count < usize::from(threshold) {
        let text = format!("{count} members refresh a key that needs {threshold}: take more of them");
        return Err(Fault::new(HOLDFAST_FROST_TOO_FEW, text));
    }
    let sum = coefficients(packages.values());
    let mut shares = BTreeMap::new();
    for (id, share) in old.verifying_shares().iter().filter(|(id, _)| packages.contains_key(id)) {
        let moved = share.to_element() + polynomial::at(&sum, member(id));
        shares.insert(*id, VerifyingShare::new(moved));
    }
    Ok(PublicKeyPackage::new(shares, *old.verifying_key(), Some(threshold)))
}

/// Our new key: the old share and all that was dealt to us, every share checked, all culprits named.
pub(crate) fn combine(old: &Key, packages: &Dealt, shares: &[u8]) -> Result<Key, Fault> {
    let (threshold, package, public) = old.parts();
    let id = *package.identifier();
    let members: Vec<u16> = packages.keys().map(member).collect();
    let entries = wire::map("refresh shares", shares)?;
    wire::exactly("refresh shares", &entries, &members)?;
    let shares = wire::decode_each(&entries, |raw| wire::share("a refresh share", raw))?;
    let holds = |sender, share| packages.get(sender).is_some_and(|package| share_holds(package, id, share));
    let culprits: Vec<u16> = shares
        .iter()
        .filter(|(sender, share)| !holds(sender, **share))
        .map(|(sender, _)| member(sender))
        .collect();
    if !culprits.is_empty() {
        let text = "refresh shares do not fit their commitments: complain about their senders";
        return Err(Fault::new(HOLDFAST_FROST_SHARE, text).by(culprits));
    }
    let public = refreshed(threshold, public, packages)?;
    let moved = shares.values().fold(package.signing_share().to_scalar(), |sum, share| sum + share);
    let share = SigningShare::new(moved);
    let package = KeyPackage::new(id, share, VerifyingShare::from(share), *public.verifying_key(), threshold);
    Key::new(member(&id), threshold, package, public)
}

/// What the crate's part2 expects around a commitment; it never reads the proof.
fn as_package(commitment: &VerifiableSecretSharingCommitment) -> round1::Package {
    let unread = Signature::new(Secp256K1Group::generator(), Secp256K1ScalarField::one());
    round1::Package::new(commitment.clone(), unread)
}

impl Refresh {
    fn share(&self, r1: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let mut phase = lock(&self.phase);
        let Phase::Begun { package, .. } = &*phase else {
            return Err(out_of_order());
        };
        let mut others = read_r1(r1, &self.members, self.threshold)?;
        let id = wire::identifier(self.me)?;
        let own = others.remove(&id).map(|own| own.serialize_whole()).transpose()?;
        if own.as_ref() != Some(package) {
            let text = "our own refresh package comes back changed: the relay lies, begin a new attempt";
            return Err(Fault::new(HOLDFAST_FROST_ORDER, text));
        }
        let Phase::Begun { secret, .. } = std::mem::replace(&mut *phase, Phase::Spent) else {
            return Err(out_of_order());
        };
        let others = others.iter().map(|(id, commitment)| (*id, as_package(commitment))).collect();
        let (secret, packages) = refresh_dkg_part2(*secret, &others)?;
        let secret = Box::new(secret);
        let mut bytes = Zeroizing::new(Vec::with_capacity(wire::SCALAR * self.members.len()));
        for receiver in &self.members {
            let own = SigningShare::new(secret.secret_share());
            let share =
                packages.get(&wire::identifier(*receiver)?).map_or(own, |package| *package.signing_share());
            bytes.extend_from_slice(&Zeroizing::new(share.serialize()));
        }
        *phase = Phase::Shared { secret, r1: r1.to_vec() };
        Ok(bytes)
    }

    fn finish(&self, old: &Key, r1: &[u8], shares: &[u8]) -> Result<Key, Fault> {
        // Taken first: whatever happens below, this refresh's secrets are gone afterwards.
        let phase = std::mem::replace(&mut *lock(&self.phase), Phase::Spent);
        let Phase::Shared { secret, r1: agreed } = phase else {
            return Err(out_of_order());
        };
        if agreed != r1 {
            let text = "the refresh packages differ from those of the step before: begin a new attempt";
            return Err(Fault::new(HOLDFAST_FROST_ORDER, text));
        }
        let (threshold, package, _) = old.parts();
        if member(package.identifier()) != self.me || threshold != self.threshold {
            let text = "this key is not the one that is refreshed: pass our own";
            return Err(Fault::new(HOLDFAST_FROST_ORDER, text));
        }
        let own = Zeroizing::new(SigningShare::new(secret.secret_share()).serialize());
        if wire::map("refresh shares", shares)?.get(&self.me).copied() != Some(own.as_slice()) {
            let text = "our own refresh share comes back changed: begin a new attempt";
            return Err(Fault::new(HOLDFAST_FROST_SHARE, text).by([self.me]));
        }
        combine(old, &read_r1(r1, &self.members, self.threshold)?, shares)
    }
}

/// Begins a refresh (the crate's refresh part1).
///
/// Returns: 0, or a code (104, 301, 302 when we are not among the members).
/// Args: member: our number; members, members_len: all who take part, u16 each, ascending; threshold: t.
/// Out:  refresh: a handle for [`holdfast_frost_refresh_drop`]; r1: our package, 33·(t - 1) bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_refresh_begin(
    member: u16,
    members: *const u8,
    members_len: usize,
    threshold: u16,
    refresh: *mut u64,
    r1: *mut u8,
    r1_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let members = wire::members(input(members, members_len)?)?;
            let count = members.len() as u16;
            wire::check_threshold(threshold, count)?;
            let (target, handle) = (output(r1, r1_len, package_bytes(threshold))?, place(refresh)?);
            if !members.contains(&member) {
                let text = format!("member {member} is not among those who refresh: it keeps its old share");
                return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([member]));
            }
            let (secret, package) = refresh_dkg_part1(wire::identifier(member)?, count, threshold, rng())?;
            let package = package.commitment().serialize_whole()?;
            target.copy_from_slice(&package);
            let phase = Mutex::new(Phase::Begun { secret: Box::new(secret), package });
            *handle = REFRESHES.insert(Refresh { me: member, members, threshold, phase })?;
            Ok(())
        })
    }
}

/// Makes the shares for all who take part (the crate's refresh part2).
///
/// Returns: 0, or a code; nothing is used up on 1xx (culprits named) and 30x.
/// Args: refresh: the handle, fresh from begin; r1, r1_len: a map of all packages, ours included.
/// Out:  shares: 32 bytes for each who takes part, ascending, ours included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_refresh_share(
    refresh: u64,
    r1: *const u8,
    r1_len: usize,
    shares: *mut u8,
    shares_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let state = REFRESHES.get(refresh)?;
            let target = output(shares, shares_len, wire::SCALAR * state.members.len())?;
            target.copy_from_slice(&state.share(input(r1, r1_len)?)?);
            Ok(())
        })
    }
}

/// Ends a refresh: checks all shares and makes our new key beside the old one. The refresh is used up, also by
/// an error; the old key stays as it is.
///
/// Returns: 0, or a code (201 with culprits, 300 when r1 is not that of the share step).
/// Args: refresh: the handle; old: our key; r1, r1_len: the same map; shares, shares_len: all shares for us.
/// Out:  key: a handle; public: the public layout, 38 + 35 bytes for each who takes part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_refresh_finish(
    refresh: u64,
    old: u64,
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
            let (state, old) = (REFRESHES.get(refresh)?, key::find(old)?);
            let finished = state.finish(&old, input(r1, r1_len)?, input(shares, shares_len)?)?;
            key::hand_out(finished, key, public, public_len)
        })
    }
}

/// Makes our refreshed key again from the old one and the decrypted transcript.
///
/// Returns: 0, or a code with culprits (1xx, 201).
/// Args: old: our key before the refresh; r1, r1_len: a map of all packages; shares, shares_len: all for us.
/// Out:  key: a handle; public: the public layout, 38 + 35 bytes for each who took part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_refresh_restore(
    old: u64,
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
            let old = key::find(old)?;
            let r1 = input(r1, r1_len)?;
            let members: Vec<u16> = wire::map("refresh packages", r1)?.into_keys().collect();
            let packages = read_r1(r1, &members, old.parts().0)?;
            key::hand_out(combine(&old, &packages, input(shares, shares_len)?)?, key, public, public_len)
        })
    }
}

/// Computes the group after a refresh, as an outsider can.
///
/// Returns: 0, or a code with culprits (1xx, 302, 303).
/// Args: old, old_len: the public layout before; r1, r1_len: a map of all packages.
/// Out:  public: the public layout after, 38 + 35 bytes for each who took part.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_refresh_public(
    old: *const u8,
    old_len: usize,
    r1: *const u8,
    r1_len: usize,
    public: *mut u8,
    public_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let (threshold, old) = wire::public(input(old, old_len)?)?;
            let r1 = input(r1, r1_len)?;
            let members: Vec<u16> = wire::map("refresh packages", r1)?.into_keys().collect();
            let packages = read_r1(r1, &members, threshold)?;
            let bytes = wire::write_public(threshold, &refreshed(threshold, &old, &packages)?)?;
            output(public, public_len, bytes.len())?.copy_from_slice(&bytes);
            Ok(())
        })
    }
}

/// Checks a refresh share that somebody shows us against its sender's package.
///
/// Returns: 0 when there is an answer, or 1xx for a malformed package or member number.
/// Args: package, package_len: the sender's package; member: the receiver; share, share_len: the share.
/// Out:  valid: 1 or 0; a malformed or zero share gives 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_refresh_check(
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
            let threshold = (package.len() / wire::POINT).min(MAX_MEMBERS) as u16 + 1;
            let package = read_package(threshold, package)?;
            let receiver = wire::identifier(member)?;
            let share = wire::share("a refresh share", input(share, share_len)?);
            *target = i32::from(share.is_ok_and(|share| share_holds(&package, receiver, share)));
            Ok(())
        })
    }
}

/// Forgets a refresh and wipes its secrets; a second time is no error.
///
/// Returns: 0, or 403 in a forked process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_refresh_drop(refresh: u64, error: *mut HoldfastFrostError) -> i32 {
    unsafe { guarded(error, || REFRESHES.remove(refresh)) }
}
