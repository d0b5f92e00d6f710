//! One signing session seen by anybody: checks shares one by one and adds them up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use frost_core::{
    BindingFactorList, Challenge, Ciphersuite, Field, GroupCommitment, compute_binding_factor_list,
    compute_group_commitment, derive_interpolating_value, verify_signature_share_precomputed,
};
use frost_secp256k1_tr::keys::{EvenY, KeyPackage, PublicKeyPackage};
use frost_secp256k1_tr::round1::SigningNonces;
use frost_secp256k1_tr::round2::SignatureShare;
use frost_secp256k1_tr::{Error, Identifier, Secp256K1ScalarField, Signature, SigningPackage, VerifyingKey};

use crate::error::*;
use crate::guard::{guarded, input, output, place};
use crate::recent::Recent;
use crate::registry::{Registry, lock, own_process};
use crate::wire::{self, Path, Suite};

static SESSIONS: Registry<Arc<Session>> = Registry::new("session");

/// A coordinator signs too: its own share is made and checked in the session that it opened.
static OPENED: Recent<Session> = Recent::new(128);

/// Groups as a path sees them, decoded and tweaked; most sessions are of one group and few paths.
static GROUPS: Recent<Group> = Recent::new(32);

/// The public side of a group on one path, with even y.
struct Group {
    threshold: u16,
    public: PublicKeyPackage,
}

/// What every share of one package is checked against; made once, so that a check costs the same at any t.
pub(crate) struct Session {
    path: Path,
    package: SigningPackage,
    group: Arc<Group>,
    verified: Mutex<BTreeMap<Identifier, Vec<u8>>>,
    factors: BindingFactorList<Suite>,
    commitment: GroupCommitment<Suite>,
    challenge: Challenge<Suite>,
}

/// Refuses a package whose signers are too few or not of this group.
fn check_signers(package: &SigningPackage, threshold: u16, public: &PublicKeyPackage) -> Result<(), Fault> {
    let known = public.verifying_shares();
    let strangers: Vec<u16> =
        package.signing_commitments().keys().filter(|id| !known.contains_key(id)).map(member).collect();
    if !strangers.is_empty() {
        let text = "the signing package names signers who are no members: refuse its sender";
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by(strangers));
    }
    let count = package.signing_commitments().len();
    if count < usize::from(threshold) {
        let text = format!("the signing package names {count} signers: {threshold} are needed");
        return Err(Fault::new(HOLDFAST_FROST_TOO_FEW, text));
    }
    Ok(())
}

impl Session {
    fn new(layout: &[u8], package: &[u8]) -> Result<Self, Fault> {
        let (path, package) = wire::signing_package(package)?;
        let group = group(layout, &path)?;
        check_signers(&package, group.threshold, &group.public)?;
        let key = group.public.verifying_key();
        let factors = compute_binding_factor_list(&package, key, &[])?;
        let commitment = compute_group_commitment(&package, &factors)?;
        let challenge = Suite::challenge(&commitment.clone().to_element(), key, package.message())?;
        Ok(Self { path, package, group, verified: Mutex::default(), factors, commitment, challenge })
    }

    /// Opens a session of a group, given by its public layout; the same again while it is among the last.
    fn opened(layout: &[u8], package: &[u8]) -> Result<Arc<Self>, Fault> {
        own_process()?;
        let session = Self::of(layout, package)?;
        OPENED.keep(layout, package, &session);
        Ok(session)
    }

    /// The session of a package: the one that was opened for it, or a new one.
    pub(crate) fn of(layout: &[u8], package: &[u8]) -> Result<Arc<Self>, Fault> {
        match OPENED.get(layout, package) {
            Some(session) => Ok(session),
            None => Ok(Arc::new(Self::new(layout, package)?)),
        }
    }

    /// Which key it is for, and whose commitments it holds.
    pub(crate) fn parts(&self) -> (&Path, &SigningPackage) {
        (&self.path, &self.package)
    }

    /// A signer's share, made of what every share of this package is checked against: `round2::sign` without its
    /// own second computation of the factors, the group commitment and the challenge. The caller has checked that
    /// the package holds the nonces' commitments, and gives the key of this session's path.
    pub(crate) fn share(&self, nonces: &SigningNonces, key: &KeyPackage) -> Result<Vec<u8>, Fault> {
        let id = key.identifier();
        let Some(factor) = self.factors.get(id) else {
            return Err(Fault::new(HOLDFAST_FROST_INTERNAL, "a signer has no binding factor: report it"));
        };
        let lambda = derive_interpolating_value(id, &self.package)?;
        let share = Suite::compute_signature_share(
            &self.commitment,
            nonces,
            factor.clone(),
            lambda,
            key,
            self.challenge,
        );
        Ok(share.serialize())
    }

    /// Whether `bytes` are the signature share of this member, which must be one of the package's.
    pub(crate) fn verify_share(&self, identifier: Identifier, bytes: &[u8]) -> Result<bool, Fault> {
        if self.package.signing_commitment(&identifier).is_none() {
            let text = "this member is no signer of the package: ask one who is";
            return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([member(&identifier)]));
        }
        if lock(&self.verified).get(&identifier).is_some_and(|known| known == bytes) {
            return Ok(true);
        }
        let Some(verifying_share) = self.group.public.verifying_shares().get(&identifier) else {
            return Err(Fault::new(HOLDFAST_FROST_INTERNAL, "a signer has no verifying share: report it"));
        };
        if wire::scalar("a signature share", bytes).is_err() {
            return Ok(false);
        }
        let verdict = verify_signature_share_precomputed(
            identifier,
            &self.package,
            &self.factors,
            &self.commitment,
            &SignatureShare::deserialize(bytes)?,
            verifying_share,
            self.challenge,
        );
        match verdict {
            Ok(()) => {
                lock(&self.verified).insert(identifier, bytes.to_vec());
                Ok(true)
            }
            Err(Error::InvalidSignatureShare { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds the shares up; when the sum does not verify, all culprits are found.
    fn aggregate(&self, shares: &BTreeMap<u16, &[u8]>) -> Result<Vec<u8>, Fault> {
        self.check_shares_complete(shares)?;
        let decoded: Option<Vec<_>> =
            shares.values().map(|bytes| wire::scalar("a signature share", bytes).ok()).collect();
        if let Some(scalars) = decoded {
            let z = scalars.into_iter().fold(Secp256K1ScalarField::zero(), |sum, share| sum + share);
            let signature = Signature::new(self.commitment.clone().to_element(), z);
            if self.group.public.verifying_key().verify(self.package.message(), &signature).is_ok() {
                return Ok(signature.serialize()?);
            }
        }
        let mut culprits = Vec::new();
        for (member, bytes) in shares {
            if !self.verify_share(wire::identifier(*member)?, bytes)? {
                culprits.push(*member);
            }
        }
        if culprits.is_empty() {
            let text = "all shares verify but their sum does not: report it and ask for a new session";
            return Err(Fault::new(HOLDFAST_FROST_SELF_CHECK, text));
        }
        let text = "signature shares do not verify: start a session without their signers";
        Err(Fault::new(HOLDFAST_FROST_SIGNATURE_SHARE, text).by(culprits))
    }

    fn check_shares_complete(&self, shares: &BTreeMap<u16, &[u8]>) -> Result<(), Fault> {
        let signers: Vec<u16> = self.package.signing_commitments().keys().map(member).collect();
        let strangers: Vec<u16> = shares.keys().copied().filter(|one| !signers.contains(one)).collect();
        if !strangers.is_empty() {
            let text = "shares come from members who are no signers of the package: leave them out";
            return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by(strangers));
        }
        let missing: Vec<u16> = signers.into_iter().filter(|one| !shares.contains_key(one)).collect();
        if !missing.is_empty() {
            let text = "signature shares are missing: wait for them or start another session";
            return Err(Fault::new(HOLDFAST_FROST_TOO_FEW, text).by(missing));
        }
        Ok(())
    }
}

impl Path {
    /// As a signing package holds it.
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Internal => vec![0],
            Self::Key => vec![1],
            Self::Root(root) => [&[2], root.as_slice()].concat(),
        }
    }
}

fn group(layout: &[u8], path: &Path) -> Result<Arc<Group>, Fault> {
    let way = path.encode();
    if let Some(group) = GROUPS.get(layout, &way) {
        return Ok(group);
    }
    let (threshold, public) = wire::public(layout)?;
    let group = Arc::new(Group { threshold, public: path.public(&public).into_even_y(None) });
    GROUPS.keep(layout, &way, &group);
    Ok(group)
}

/// Opens a session for checking and adding up shares.
///
/// Returns: 0, or a code (1xx, 302 strangers, 303 too few signers).
/// Args: public, public_len: the group's public layout.
///       package, package_len: the signing package.
/// Out:  session: a handle for [`holdfast_frost_session_drop`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_session_open(
    public: *const u8,
    public_len: usize,
    package: *const u8,
    package_len: usize,
    session: *mut u64,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = place(session)?;
            let (public, package) = (input(public, public_len)?, input(package, package_len)?);
            *target = SESSIONS.insert(Session::opened(public, package)?)?;
            Ok(())
        })
    }
}

/// Checks one signature share alone.
///
/// Returns: 0 when there is an answer, or a code (302 for a member who is no signer of the package).
/// Args: session: the handle; member: the sender; share, share_len: its bytes, of any form.
/// Out:  valid: 1 or 0; malformed bytes give 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_session_check(
    session: u64,
    member: u16,
    share: *const u8,
    share_len: usize,
    valid: *mut i32,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let session = SESSIONS.get(session)?;
            let verdict = session.verify_share(wire::identifier(member)?, input(share, share_len)?)?;
            *place(valid)? = i32::from(verdict);
            Ok(())
        })
    }
}

/// Adds up the shares of exactly the package's signers.
///
/// Returns: 0, or a code (202 with all culprits, 302, 303 with those missing).
/// Args: session: the handle; shares, shares_len: a map of 32-byte shares.
/// Out:  signature: 64 bytes, valid under BIP340 for the path's key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_session_aggregate(
    session: u64,
    shares: *const u8,
    shares_len: usize,
    signature: *mut u8,
    signature_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = output(signature, signature_len, wire::SIGNATURE)?;
            let session = SESSIONS.get(session)?;
            let shares = wire::map("the signature shares", input(shares, shares_len)?)?;
            target.copy_from_slice(&session.aggregate(&shares)?);
            Ok(())
        })
    }
}

/// Closes a session; closing it twice is no error.
///
/// Returns: 0, or 403 in a forked process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_session_drop(session: u64, error: *mut HoldfastFrostError) -> i32 {
    unsafe { guarded(error, || SESSIONS.remove(session)) }
}

/// Verifies a BIP340 signature over a 32-byte message.
///
/// Returns: 0, or 100 for a null pointer.
/// Args: key: x-only, 32 bytes; message: 32 bytes; signature: 64 bytes.
/// Out:  valid: 1 or 0; malformed input gives 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_signature_verify(
    key: *const u8,
    key_len: usize,
    message: *const u8,
    message_len: usize,
    signature: *const u8,
    signature_len: usize,
    valid: *mut i32,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = place(valid)?;
            let (key, message) = (input(key, key_len)?, input(message, message_len)?);
            let signature = input(signature, signature_len)?;
            *target = i32::from(message.len() == 32 && verify(key, message, signature));
            Ok(())
        })
    }
}

fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let even = [&[2u8], key].concat();
    match (VerifyingKey::deserialize(&even), Signature::deserialize(signature)) {
        (Ok(key), Ok(signature)) => key.verify(message, &signature).is_ok(),
        _ => false,
    }
}
