//! What the bare Rust crypto of a DKG and of a signature costs on this machine, without our interface and checks.
//!
//! `bare T N [T N …]` prints one JSON object: per committee the samples of each step, in milliseconds of CPU time,
//! so that a busy machine does not flatter whoever is compared.
//! `make bench-tss` sets its own figures beside these.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;

use frost_core::{
    Ciphersuite, Field, compute_binding_factor_list, compute_group_commitment,
    verify_signature_share_precomputed,
};
use frost_secp256k1_tr::keys::dkg::{part1, part2, part3};
use frost_secp256k1_tr::keys::{EvenY, IdentifierList, KeyPackage, PublicKeyPackage, generate_with_dealer};
use frost_secp256k1_tr::round1::{NonceCommitment, SigningCommitments, commit};
use frost_secp256k1_tr::round2::{SignatureShare, sign};
use frost_secp256k1_tr::{Identifier, Secp256K1ScalarField, Secp256K1Sha256TR, Signature, SigningPackage};
use rand_core::OsRng;

type Fallible<T> = Result<T, Box<dyn Error>>;
type Samples = BTreeMap<&'static str, Vec<f64>>;

fn main() -> Fallible<()> {
    let numbers = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<Vec<u16>, _>>()?;
    let mut json = String::from("{");
    for pair in numbers.chunks_exact(2) {
        if let [threshold, members] = *pair {
            let mut samples = Samples::new();
            key_generation(threshold, members, &mut samples)?;
            signing(threshold, members, &mut samples)?;
            let comma = if json.len() > 1 { "," } else { "" };
            write!(json, "{comma}\"{threshold}/{members}\":{samples:?}")?;
        }
    }
    println!("{json}}}");
    Ok(())
}

fn timed<T, E>(
    samples: &mut Samples,
    name: &'static str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let begun = cpu_ms();
    let done = work()?;
    samples.entry(name).or_default().push(cpu_ms() - begun);
    Ok(done)
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

/// CLOCK_THREAD_CPUTIME_ID on 64-bit systems.
const THREAD_CPU: i32 = if cfg!(target_os = "macos") { 16 } else { 3 };

fn cpu_ms() -> f64 {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    unsafe { clock_gettime(THREAD_CPU, &mut time) };
    time.seconds as f64 * 1e3 + time.nanoseconds as f64 / 1e6
}

/// part1 to part3 of member 1, with honest others.
fn key_generation(threshold: u16, members: u16, samples: &mut Samples) -> Fallible<()> {
    let rounds = if members > 20 { 2 } else { 10 };
    for _ in 0..rounds {
        let me = Identifier::try_from(1)?;
        let (mut secrets, mut first) = (BTreeMap::new(), BTreeMap::new());
        for number in 1..=members {
            let id = Identifier::try_from(number)?;
            let (secret, package) = timed(samples, "dkg part1", || part1(id, members, threshold, OsRng))?;
            secrets.insert(id, secret);
            first.insert(id, package);
        }
        let (mut second, mut mine) = (BTreeMap::new(), None);
        for (id, secret) in secrets {
            let mut others = first.clone();
            others.remove(&id);
            let (secret, mut sent) = timed(samples, "dkg part2", || part2(secret, &others))?;
            if id == me {
                mine = Some((secret, others));
            } else if let Some(package) = sent.remove(&me) {
                second.insert(id, package);
            }
        }
        let (secret, others) = mine.ok_or("member 1 takes part")?;
        timed(samples, "dkg part3", || part3(&secret, &others, &second))?;
    }
    Ok(())
}

fn signing(threshold: u16, members: u16, samples: &mut Samples) -> Fallible<()> {
    let (shares, public) = generate_with_dealer(members, threshold, IdentifierList::Default, OsRng)?;
    let mut keys = Vec::new();
    for share in shares.into_values().take(usize::from(threshold)) {
        keys.push(KeyPackage::try_from(share)?);
    }
    for round in 0..if members > 20 { 10 } else { 50 } {
        one_signature(&keys, &public, &[round; 32], samples)?;
    }
    Ok(())
}

fn one_signature(
    keys: &[KeyPackage],
    public: &PublicKeyPackage,
    message: &[u8],
    samples: &mut Samples,
) -> Fallible<()> {
    let (mut nonces, mut sent) = (Vec::new(), Vec::new());
    for key in keys {
        let (nonce, commitments) =
            timed(samples, "commit", || Ok::<_, Box<dyn Error>>(commit(key.signing_share(), &mut OsRng)))?;
        nonces.push(nonce);
        let raw = [commitments.hiding().serialize()?, commitments.binding().serialize()?];
        sent.push((*key.identifier(), raw));
    }
    let package = SigningPackage::new(decoded(&sent)?, message);
    let mut shares = Vec::new();
    for (key, nonce) in keys.iter().zip(&nonces) {
        let share = timed(samples, "sign", || sign(&package, nonce, key))?;
        shares.push((*key.identifier(), share.serialize()));
    }
    timed(samples, "coordinate", || {
        let package = SigningPackage::new(decoded(&sent)?, message);
        coordinate(&package, &shares, public)
    })
}

type Sent = [(Identifier, [Vec<u8>; 2])];

fn decoded(sent: &Sent) -> Fallible<BTreeMap<Identifier, SigningCommitments>> {
    let mut all = BTreeMap::new();
    for (id, [hiding, binding]) in sent {
        let (hiding, binding) =
            (NonceCommitment::deserialize(hiding)?, NonceCommitment::deserialize(binding)?);
        all.insert(*id, SigningCommitments::new(hiding, binding));
    }
    Ok(all)
}

/// The session-handle path: all that is common is made once, each share is checked alone, the sum is verified.
fn coordinate(
    package: &SigningPackage,
    shares: &[(Identifier, Vec<u8>)],
    public: &PublicKeyPackage,
) -> Fallible<()> {
    let public = public.clone().into_even_y(None);
    let factors = compute_binding_factor_list(package, public.verifying_key(), &[])?;
    let commitment = compute_group_commitment(package, &factors)?;
    let nonce = commitment.clone().to_element();
    let challenge = Secp256K1Sha256TR::challenge(&nonce, public.verifying_key(), package.message())?;
    let mut sum = Secp256K1ScalarField::zero();
    for (id, raw) in shares {
        let share = SignatureShare::deserialize(raw)?;
        let verifying = public.verifying_shares().get(id).ok_or("a member")?;
        verify_signature_share_precomputed(
            *id,
            package,
            &factors,
            &commitment,
            &share,
            verifying,
            challenge,
        )?;
        let scalar = <[u8; 32]>::try_from(raw.as_slice())?;
        sum += Secp256K1ScalarField::deserialize(&scalar)?;
    }
    Ok(public.verifying_key().verify(package.message(), &Signature::new(nonce, sum))?)
}
