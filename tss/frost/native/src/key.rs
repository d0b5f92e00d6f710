//! A member's long-lived key share, its nonces, and the one way to sign with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use frost_core::{Group, compute_lagrange_coefficient};
use frost_secp256k1_tr::keys::{EvenY, KeyPackage, PublicKeyPackage, SigningShare, VerifyingShare};
use frost_secp256k1_tr::round1::SigningNonces;
use frost_secp256k1_tr::{Identifier, Secp256K1Group, round1};
use rand_core::RngCore;
use zeroize::Zeroizing;

use crate::dkg;
use crate::error::*;
use crate::guard::{guarded, input, output, place};
use crate::registry::{Registry, lock};
use crate::rng::rng;
use crate::session::Session;
use crate::wire::{self, NONCE_HANDLE};

static KEYS: Registry<Key> = Registry::new("key");

/// Most unused nonces of one key; a memory bound far above any pool.
const MAX_NONCES: usize = 1 << 16;

type NonceHandle = [u8; NONCE_HANDLE];

/// One member's share of a group key. Secrets are boxed, so that moving a `Key` copies none.
pub(crate) struct Key {
    threshold: u16,
    package: Box<KeyPackage>,
    public: PublicKeyPackage,
    layout: Vec<u8>,
    nonces: Mutex<BTreeMap<NonceHandle, Box<SigningNonces>>>,
}

impl Key {
    /// Ours only when the share fits the public package; an impossible zero share is refused.
    pub(crate) fn new(
        me: u16,
        threshold: u16,
        package: KeyPackage,
        public: PublicKeyPackage,
    ) -> Result<Self, Fault> {
        let package = Box::new(package);
        let expected = public.verifying_shares().get(&wire::identifier(me)?);
        if expected != Some(package.verifying_share()) || dkg::is_zero(&package.signing_share().to_scalar()) {
            let text = "the key share does not fit its verifying share: restore it from the transcript";
            return Err(Fault::new(HOLDFAST_FROST_SHARE, text).by([me]));
        }
        let layout = wire::write_public(threshold, &public)?;
        Ok(Self { threshold, package, public, layout, nonces: Mutex::new(BTreeMap::new()) })
    }

    /// Threshold, secret and public side.
    pub(crate) fn parts(&self) -> (u16, &KeyPackage, &PublicKeyPackage) {
        (self.threshold, &self.package, &self.public)
    }

    fn import(me: u16, secret: &[u8], public: &[u8]) -> Result<Self, Fault> {
        let (threshold, public) = wire::public(public)?;
        let id = wire::identifier(me)?;
        if !public.verifying_shares().contains_key(&id) {
            let text = format!("member {me} is not in the public package: take your own number");
            return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by([me]));
        }
        check_polynomial(threshold, &public)?;
        let share = SigningShare::new(wire::share("a key share", secret)?);
        let package =
            KeyPackage::new(id, share, VerifyingShare::from(share), *public.verifying_key(), threshold);
        Self::new(me, threshold, package, public)
    }

    fn commit(&self, count: usize) -> Result<Vec<u8>, Fault> {
        let mut nonces = lock(&self.nonces);
        if count > MAX_NONCES.saturating_sub(nonces.len()) {
            let text = format!("a key keeps at most {MAX_NONCES} unused nonces: drop some first");
            return Err(Fault::new(HOLDFAST_FROST_TOO_MANY, text));
        }
        let mut rng = rng();
        let mut bytes = Vec::with_capacity(count * (NONCE_HANDLE + wire::COMMITMENT));
        for _ in 0..count {
            let (nonce, commitments) = round1::commit(self.package.signing_share(), &mut rng);
            let nonce = Box::new(nonce);
            let mut handle = [0; NONCE_HANDLE];
            rng.fill_bytes(&mut handle);
            bytes.extend_from_slice(&handle);
            bytes.extend(wire::write_commitments(&commitments)?);
            nonces.insert(handle, nonce);
        }
        Ok(bytes)
    }

    fn sign(&self, handle: &NonceHandle, package: Result<&[u8], Fault>) -> Result<Vec<u8>, Fault> {
        // Gone before anything else can fail: whatever happens below, this nonce never signs again.
        let Some(nonce) = lock(&self.nonces).remove(handle) else {
            let text = "this nonce is unknown or was used: commit again";
            return Err(Fault::new(HOLDFAST_FROST_NONCE, text));
        };
        let session = Session::of(&self.layout, package?)?;
        let (path, package) = session.parts();
        if package.signing_commitment(self.package.identifier()) != Some(*nonce.commitments()) {
            let text = "the package does not hold this nonce's commitment; the nonce is burnt: commit again";
            return Err(Fault::new(HOLDFAST_FROST_COMMITMENT, text));
        }
        let key = Box::new(path.key(&self.package).into_even_y(None));
        let share = session.share(&nonce, &key)?;
        if session.verify_share(*self.package.identifier(), &share)? {
            return Ok(share);
        }
        let text =
            "our own signature share does not verify, nothing was released: check this machine's memory";
        Err(Fault::new(HOLDFAST_FROST_SELF_CHECK, text))
    }
}

/// Refuses verifying shares that are not points of one polynomial of degree t - 1 whose value at 0 is the key.
pub(crate) fn check_polynomial(threshold: u16, public: &PublicKeyPackage) -> Result<(), Fault> {
    let shares = public.verifying_shares();
    let base: BTreeSet<Identifier> = shares.keys().copied().take(usize::from(threshold)).collect();
    let at = |x: Option<Identifier>| {
        let mut sum = Secp256K1Group::identity();
        for (id, share) in shares.iter().take(usize::from(threshold)) {
            sum += share.to_element() * compute_lagrange_coefficient(&base, x, *id)?;
        }
        Ok::<_, Fault>(sum)
    };
    let mut consistent = at(None)? == public.verifying_key().to_element();
    for (id, share) in shares.iter().skip(usize::from(threshold)) {
        consistent &= at(Some(*id))? == share.to_element();
    }
    if consistent {
        return Ok(());
    }
    let text = "verifying shares and group key do not belong together: derive them from the transcript again";
    Err(Fault::new(HOLDFAST_FROST_INCONSISTENT, text))
}

/// Registers a key and writes its public layout; the buffers are checked before the key exists outside.
pub(crate) unsafe fn hand_out(
    key: Key,
    handle: *mut u64,
    public: *mut u8,
    public_len: usize,
) -> Result<(), Fault> {
    unsafe {
        output(public, public_len, key.layout.len())?.copy_from_slice(&key.layout);
        *place(handle)? = KEYS.insert(key)?;
    }
    Ok(())
}

/// The key behind a handle, alive while the caller works.
pub(crate) fn find(handle: u64) -> Result<Arc<Key>, Fault> {
    KEYS.get(handle)
}

/// Registers a key.
pub(crate) fn keep(key: Key) -> Result<u64, Fault> {
    KEYS.insert(key)
}

/// Makes a member's key again from the decrypted transcript of its DKG.
///
/// Returns: 0, or a code with culprits (1xx, 200, 201).
/// Args: member: our number; threshold: t; r1, r1_len: a map of all n R1 packages;
///       shares, shares_len: a map of all n shares for us.
/// Out:  key: a handle for [`holdfast_frost_key_drop`]; public: the public layout, 38 + 35·n bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_key_restore(
    member: u16,
    threshold: u16,
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
            let restored = dkg::restore(member, threshold, input(r1, r1_len)?, input(shares, shares_len)?)?;
            hand_out(restored, key, public, public_len)
        })
    }
}

/// Makes a member's key from its exported secret.
///
/// Returns: 0, or a code (1xx, 105 inconsistent public layout, 201 wrong secret).
/// Args: member: our number; secret, secret_len: 32 bytes; public, public_len: the public layout.
/// Out:  key: a handle for [`holdfast_frost_key_drop`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_key_import(
    member: u16,
    secret: *const u8,
    secret_len: usize,
    public: *const u8,
    public_len: usize,
    key: *mut u64,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = place(key)?;
            let imported = Key::import(member, input(secret, secret_len)?, input(public, public_len)?)?;
            *target = KEYS.insert(imported)?;
            Ok(())
        })
    }
}

/// Copies the secret out, for the vault; the caller seals it and wipes the buffer.
///
/// Returns: 0, or a code.
/// Args: key: the handle.
/// Out:  secret: 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_key_export(
    key: u64,
    secret: *mut u8,
    secret_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = output(secret, secret_len, wire::SCALAR)?;
            let key = KEYS.get(key)?;
            target.copy_from_slice(&Zeroizing::new(key.package.signing_share().serialize()));
            Ok(())
        })
    }
}

/// Forgets a key and its nonces and wipes them; a second time is no error.
///
/// Returns: 0, or 403 in a forked process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_key_drop(key: u64, error: *mut HoldfastFrostError) -> i32 {
    unsafe { guarded(error, || KEYS.remove(key)) }
}

/// Makes nonces and keeps them; only their commitments leave.
///
/// Returns: 0, or a code (305 when the pool is full).
/// Args: key: the handle; count: how many.
/// Out:  commitments: count times a nonce handle of 16 bytes and a commitment of 66.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_nonce_commit(
    key: u64,
    count: usize,
    commitments: *mut u8,
    commitments_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let size = count.min(MAX_NONCES + 1) * (NONCE_HANDLE + wire::COMMITMENT);
            let target = output(commitments, commitments_len, size)?;
            target.copy_from_slice(&KEYS.get(key)?.commit(count)?);
            Ok(())
        })
    }
}

/// Forgets unused nonces and wipes them; unknown ones are passed over.
///
/// Returns: 0, or a code.
/// Args: key: the handle; nonces, nonces_len: nonce handles of 16 bytes one after the other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_nonce_drop(
    key: u64,
    nonces: *const u8,
    nonces_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let handles = input(nonces, nonces_len)?.chunks(NONCE_HANDLE).map(nonce_handle);
            let handles = handles.collect::<Result<Vec<_>, _>>()?;
            let key = KEYS.get(key)?;
            let mut nonces = lock(&key.nonces);
            nonces.retain(|handle, _| !handles.contains(handle));
            Ok(())
        })
    }
}

/// Forgets all unused nonces of a key and wipes them.
///
/// Returns: 0, or a code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_nonce_clear(key: u64, error: *mut HoldfastFrostError) -> i32 {
    unsafe {
        guarded(error, || {
            lock(&KEYS.get(key)?.nonces).clear();
            Ok(())
        })
    }
}

fn nonce_handle(bytes: &[u8]) -> Result<NonceHandle, Fault> {
    bytes.try_into().map_err(|_| {
        Fault::new(
            HOLDFAST_FROST_LENGTH,
            format!("a nonce handle has {NONCE_HANDLE} bytes: pass it as it was given"),
        )
    })
}

/// Signs a package with one nonce. The nonce is gone afterwards, also when signing fails.
///
/// Returns: 0, or a code (400 nonce unknown or used, 402 other commitment, 302, 303, 502 own check failed).
/// Args: key: the handle; nonce: 16 bytes; package, package_len: the signing package.
/// Out:  share: 32 bytes, already verified against our verifying share.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn holdfast_frost_key_sign(
    key: u64,
    nonce: *const u8,
    nonce_len: usize,
    package: *const u8,
    package_len: usize,
    share: *mut u8,
    share_len: usize,
    error: *mut HoldfastFrostError,
) -> i32 {
    unsafe {
        guarded(error, || {
            let target = output(share, share_len, wire::SCALAR)?;
            let handle = nonce_handle(input(nonce, nonce_len)?)?;
            let signed = KEYS.get(key)?.sign(&handle, input(package, package_len))?;
            target.copy_from_slice(&signed);
            Ok(())
        })
    }
}
