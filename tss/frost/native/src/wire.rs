//! Bytes in and out: each thing has one form, and what decodes is written again and compared.

use std::collections::BTreeMap;

use frost_core::Field;
use frost_secp256k1_tr::keys::dkg::round1;
use frost_secp256k1_tr::keys::{PublicKeyPackage, Tweak, VerifiableSecretSharingCommitment, VerifyingShare};
use frost_secp256k1_tr::round1::{NonceCommitment, SigningCommitments};
use frost_secp256k1_tr::{
    Identifier, Secp256K1ScalarField, Secp256K1Sha256TR, Signature, SigningPackage, VerifyingKey,
    keys::KeyPackage,
};

use crate::error::*;
use crate::polynomial::Point;

pub(crate) type Suite = Secp256K1Sha256TR;
/// A number below the group order. (Not called `Scalar`: the header generator takes namesakes for one type.)
pub(crate) type Exponent = <Secp256K1ScalarField as Field>::Scalar;

pub(crate) const POINT: usize = 33;
pub(crate) const SCALAR: usize = 32;
pub(crate) const PROOF: usize = 64;
pub(crate) const COMMITMENT: usize = 2 * POINT;
pub(crate) const SIGNATURE: usize = 64;
pub(crate) const NONCE_HANDLE: usize = 16;
const VERSION: u8 = 1;

pub(crate) fn r1_bytes(threshold: u16) -> usize {
    POINT * usize::from(threshold) + PROOF
}

pub(crate) fn length(what: &str, found: usize, needed: usize) -> Fault {
    Fault::new(
        HOLDFAST_FROST_LENGTH,
        format!("{what} has {found} bytes, not {needed}: ask its sender for a whole one"),
    )
}

/// Compares what was read with what we would have written.
pub(crate) fn canonical(what: &str, found: &[u8], written: &[u8]) -> Result<(), Fault> {
    if found == written {
        return Ok(());
    }
    Err(Fault::new(
        HOLDFAST_FROST_CANONICAL,
        format!("{what} is not in its canonical form: refuse its sender"),
    ))
}

pub(crate) fn element(what: &str) -> Fault {
    Fault::new(HOLDFAST_FROST_ELEMENT, format!("{what} holds no valid point or scalar: refuse its sender"))
}

/// Reads from the front of a byte string.
struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let Some((head, tail)) = self.rest.split_at_checked(count) else {
            return Err(Fault::new(
                HOLDFAST_FROST_LENGTH,
                format!("{} ends too early: ask its sender for a whole one", self.what),
            ));
        };
        self.rest = tail;
        Ok(head)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Fault> {
        Ok(self.take(bytes)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    fn version(&mut self) -> Result<(), Fault> {
        match self.number(1)? {
            1 => Ok(()),
            _ => Err(Fault::new(
                HOLDFAST_FROST_CANONICAL,
                format!("{} has an unknown version: upgrade, or refuse its sender", self.what),
            )),
        }
    }

    /// A member number greater than the one before.
    fn member(&mut self, previous: u16) -> Result<u16, Fault> {
        let member = check_member(self.number(2)?)?;
        if member <= previous {
            return Err(Fault::new(
                HOLDFAST_FROST_MEMBER,
                format!("{} has members out of order or twice: sort them", self.what),
            ));
        }
        Ok(member)
    }

    fn end(&self) -> Result<(), Fault> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(Fault::new(
                HOLDFAST_FROST_LENGTH,
                format!("{} has {extra} bytes too many: refuse its sender", self.what),
            )),
        }
    }
}

fn check_member(number: usize) -> Result<u16, Fault> {
    if (1..=MAX_MEMBERS).contains(&number) {
        return Ok(number as u16);
    }
    Err(Fault::new(
        HOLDFAST_FROST_MEMBER,
        format!("{number} is no member number: members are 1 to {MAX_MEMBERS}"),
    ))
}

pub(crate) fn identifier(member: u16) -> Result<Identifier, Fault> {
    Ok(Identifier::try_from(check_member(usize::from(member))?)?)
}

/// t and n as this engine takes them: 2 <= t <= n <= 128, and 1 of 1, which is for play money only.
pub(crate) fn check_threshold(threshold: u16, members: u16) -> Result<(), Fault> {
    let alone = (threshold, members) == (1, 1);
    if alone || 2 <= threshold && threshold <= members && usize::from(members) <= MAX_MEMBERS {
        return Ok(());
    }
    let text =
        format!("{threshold} of {members} is no committee: take 2 <= t <= n <= {MAX_MEMBERS}, or 1 of 1");
    Err(Fault::new(HOLDFAST_FROST_THRESHOLD, text))
}

/// The entries of a map, ascending by member.
pub(crate) fn map<'a>(what: &'static str, bytes: &'a [u8]) -> Result<BTreeMap<u16, &'a [u8]>, Fault> {
    let mut reader = Reader { what, rest: bytes };
    let mut entries = BTreeMap::new();
    let mut previous = 0;
    while !reader.rest.is_empty() {
        previous = reader.member(previous)?;
        let len = reader.number(4)?;
        entries.insert(previous, reader.take(len)?);
    }
    Ok(entries)
}

/// Refuses a map that does not hold exactly the members 1 to n.
pub(crate) fn complete<T>(what: &str, entries: &BTreeMap<u16, T>, members: u16) -> Result<(), Fault> {
    let strangers: Vec<u16> = entries.keys().copied().filter(|member| *member > members).collect();
    if !strangers.is_empty() {
        let text = format!("{what} come from members beyond {members}: take only the roster's");
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by(strangers));
    }
    let missing: Vec<u16> = (1..=members).filter(|member| !entries.contains_key(member)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Fault::new(HOLDFAST_FROST_TOO_FEW, format!("{what} of some members are missing: wait for them"))
        .by(missing))
}

/// Refuses a map that does not hold exactly these members.
pub(crate) fn exactly<T>(what: &str, entries: &BTreeMap<u16, T>, members: &[u16]) -> Result<(), Fault> {
    let strangers: Vec<u16> = entries.keys().copied().filter(|member| !members.contains(member)).collect();
    if !strangers.is_empty() {
        let text = format!("{what} come from members who do not take part: leave them out");
        return Err(Fault::new(HOLDFAST_FROST_STRANGER, text).by(strangers));
    }
    let missing: Vec<u16> = members.iter().copied().filter(|member| !entries.contains_key(member)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Fault::new(HOLDFAST_FROST_TOO_FEW, format!("{what} of some members are missing: wait for them"))
        .by(missing))
}

/// Member numbers, strictly ascending.
pub(crate) fn members(bytes: &[u8]) -> Result<Vec<u16>, Fault> {
    let mut reader = Reader { what: "a list of members", rest: bytes };
    let mut members = Vec::with_capacity(bytes.len() / 2);
    let mut previous = 0;
    while !reader.rest.is_empty() {
        previous = reader.member(previous)?;
        members.push(previous);
    }
    Ok(members)
}

/// Decodes each sender's bytes; when some fail, the first reason and all culprits.
pub(crate) fn decode_each<T>(
    entries: &BTreeMap<u16, &[u8]>,
    decode: impl Fn(&[u8]) -> Result<T, Fault>,
) -> Result<BTreeMap<Identifier, T>, Fault> {
    let mut decoded = BTreeMap::new();
    let mut first: Option<Fault> = None;
    let mut culprits = Vec::new();
    for (member, bytes) in entries {
        match decode(bytes) {
            Ok(value) => {
                decoded.insert(identifier(*member)?, value);
            }
            Err(fault) => {
                culprits.push(*member);
                first.get_or_insert(fault);
            }
        }
    }
    match first {
        None => Ok(decoded),
        Some(fault) => Err(fault.by(culprits)),
    }
}

/// A scalar below the group order, big-endian.
pub(crate) fn scalar(what: &str, bytes: &[u8]) -> Result<Exponent, Fault> {
    let array: [u8; SCALAR] = bytes.try_into().map_err(|_| length(what, bytes.len(), SCALAR))?;
    Secp256K1ScalarField::deserialize(&array).map_err(|_| element(what))
}

/// A scalar that is a secret share: never zero.
pub(crate) fn share(what: &str, bytes: &[u8]) -> Result<Exponent, Fault> {
    let value = scalar(what, bytes)?;
    if value == Secp256K1ScalarField::zero() {
        return Err(element(what));
    }
    Ok(value)
}

pub(crate) fn r1_package(threshold: u16, bytes: &[u8]) -> Result<round1::Package, Fault> {
    const WHAT: &str = "an R1 package";
    if bytes.len() != r1_bytes(threshold) {
        return Err(length(WHAT, bytes.len(), r1_bytes(threshold)));
    }
    let (points, proof) = bytes.split_at(bytes.len() - PROOF);
    let commitment = VerifiableSecretSharingCommitment::deserialize(points.chunks_exact(POINT))
        .map_err(|_| element(WHAT))?;
    let proof = Signature::deserialize(proof).map_err(|_| element(WHAT))?;
    let package = round1::Package::new(commitment, proof);
    canonical(WHAT, bytes, &write_r1(&package)?)?;
    Ok(package)
}

pub(crate) fn write_r1(package: &round1::Package) -> Result<Vec<u8>, Fault> {
    let mut bytes = package.commitment().serialize_whole()?;
    bytes.extend(package.proof_of_knowledge().serialize()?);
    Ok(bytes)
}

/// Points one after the other.
pub(crate) fn points(what: &str, bytes: &[u8]) -> Result<Vec<Point>, Fault> {
    bytes.chunks(POINT).map(|raw| point(what, raw)).collect()
}

fn point(what: &str, raw: &[u8]) -> Result<Point, Fault> {
    let share = VerifyingShare::deserialize(raw).map_err(|_| element(what))?;
    canonical(what, raw, &share.serialize()?)?;
    Ok(share.to_element())
}

pub(crate) fn write_point(point: Point) -> Result<Vec<u8>, Fault> {
    Ok(VerifyingShare::new(point).serialize()?)
}

/// One signer's pair of nonce commitments: hiding 33, binding 33.
fn commitments(bytes: &[u8]) -> Result<SigningCommitments, Fault> {
    const WHAT: &str = "a nonce commitment";
    if bytes.len() != COMMITMENT {
        return Err(length(WHAT, bytes.len(), COMMITMENT));
    }
    let (hiding, binding) = bytes.split_at(POINT);
    let decode = |half| NonceCommitment::deserialize(half).map_err(|_| element(WHAT));
    let value = SigningCommitments::new(decode(hiding)?, decode(binding)?);
    canonical(WHAT, bytes, &write_commitments(&value)?)?;
    Ok(value)
}

pub(crate) fn write_commitments(value: &SigningCommitments) -> Result<Vec<u8>, Fault> {
    let mut bytes = value.hiding().serialize()?;
    bytes.extend(value.binding().serialize()?);
    Ok(bytes)
}

/// Which key a signature is for, seen from the internal key P (BIP341).
pub(crate) enum Path {
    /// P itself: certificates and script leaves.
    Internal,
    /// Q = P + H_TapTweak(P)·G: an output without scripts.
    Key,
    /// Q = P + H_TapTweak(P || root)·G.
    Root([u8; 32]),
}

impl Path {
    fn read(reader: &mut Reader) -> Result<Self, Fault> {
        match reader.number(1)? {
            0 => Ok(Self::Internal),
            1 => Ok(Self::Key),
            2 => reader.take(32)?.try_into().map(Self::Root).map_err(|_| element("a path")),
            _ => Err(Fault::new(
                HOLDFAST_FROST_CANONICAL,
                "a path begins with none of 00, 01, 02: refuse its sender",
            )),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader { what: "a path", rest: bytes };
        let path = Self::read(&mut reader)?;
        reader.end()?;
        Ok(path)
    }

    pub(crate) fn public(&self, public: &PublicKeyPackage) -> PublicKeyPackage {
        self.apply(public)
    }

    pub(crate) fn key(&self, key: &KeyPackage) -> KeyPackage {
        self.apply(key)
    }

    fn apply<T: Tweak + Clone>(&self, keys: &T) -> T {
        match self {
            Self::Internal => keys.clone(),
            Self::Key => keys.clone().tweak::<&[u8]>(None),
            Self::Root(root) => keys.clone().tweak(Some(root)),
        }
    }
}

fn group_key(what: &str, bytes: &[u8]) -> Result<VerifyingKey, Fault> {
    let key = VerifyingKey::deserialize(bytes).map_err(|_| element(what))?;
    canonical(what, bytes, &key.serialize()?)?;
    Ok(key)
}

/// A group key alone, for its output key.
pub(crate) fn lone_group_key(bytes: &[u8]) -> Result<VerifyingKey, Fault> {
    if bytes.len() != POINT {
        return Err(length("a group key", bytes.len(), POINT));
    }
    group_key("a group key", bytes)
}

/// Threshold, internal key and verifying shares of a group.
pub(crate) fn public(bytes: &[u8]) -> Result<(u16, PublicKeyPackage), Fault> {
    const WHAT: &str = "a public package";
    let mut reader = Reader { what: WHAT, rest: bytes };
    reader.version()?;
    let threshold = reader.number(2)? as u16;
    let key = group_key(WHAT, reader.take(POINT)?)?;
    let count = reader.number(2)?;
    check_threshold(threshold, count as u16)?;
    let mut shares = BTreeMap::new();
    let mut previous = 0;
    for _ in 0..count {
        previous = reader.member(previous)?;
        let raw = reader.take(POINT)?;
        let share = VerifyingShare::deserialize(raw).map_err(|_| element(WHAT))?;
        canonical(WHAT, raw, &share.serialize()?)?;
        shares.insert(identifier(previous)?, share);
    }
    reader.end()?;
    Ok((threshold, PublicKeyPackage::new(shares, key, Some(threshold))))
}

pub(crate) fn write_public(threshold: u16, public: &PublicKeyPackage) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![VERSION];
    bytes.extend(threshold.to_be_bytes());
    bytes.extend(public.verifying_key().serialize()?);
    bytes.extend(public.max_signers().to_be_bytes());
    for (identifier, share) in public.verifying_shares() {
        bytes.extend(member(identifier).to_be_bytes());
        bytes.extend(share.serialize()?);
    }
    Ok(bytes)
}

/// Message, path and commitments of one signing session.
pub(crate) fn signing_package(bytes: &[u8]) -> Result<(Path, SigningPackage), Fault> {
    let mut reader = Reader { what: "a signing package", rest: bytes };
    reader.version()?;
    let message = reader.take(32)?;
    let path = Path::read(&mut reader)?;
    let count = reader.number(2)?;
    if count > MAX_MEMBERS {
        return Err(Fault::new(
            HOLDFAST_FROST_LENGTH,
            format!("a signing package names {count} signers, more than {MAX_MEMBERS}: refuse its sender"),
        ));
    }
    let mut entries = BTreeMap::new();
    let mut previous = 0;
    for _ in 0..count {
        previous = reader.member(previous)?;
        entries.insert(previous, reader.take(COMMITMENT)?);
    }
    reader.end()?;
    Ok((path, SigningPackage::new(decode_each(&entries, commitments)?, message)))
}
