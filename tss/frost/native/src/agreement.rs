//! Tests: where our arithmetic replaces the crate's, both give the same keys.
#![allow(clippy::indexing_slicing)] // a missing entry is a failed test

use std::collections::BTreeMap;

use frost_secp256k1_tr::Identifier;
use frost_secp256k1_tr::keys::dkg::{self, round1};
use frost_secp256k1_tr::keys::refresh::{refresh_dkg_part1, refresh_dkg_part2, refresh_dkg_shares};
use frost_secp256k1_tr::keys::{KeyPackage, PublicKeyPackage};

use crate::error::{Fault, member};
use crate::key::Key;
use crate::refresh::Dealt;
use crate::rng::rng;
use crate::wire::{self, Exponent};

type Held = BTreeMap<Identifier, (KeyPackage, PublicKeyPackage)>;
type Shares = BTreeMap<Identifier, BTreeMap<Identifier, Exponent>>;

fn map(shares: &BTreeMap<Identifier, Exponent>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (sender, share) in shares {
        bytes.extend(member(sender).to_be_bytes());
        bytes.extend(32u32.to_be_bytes());
        bytes.extend(share.to_bytes());
    }
    bytes
}

fn members(of: &[u16]) -> Result<Vec<Identifier>, Fault> {
    of.iter().map(|one| wire::identifier(*one)).collect()
}

fn without<T: Clone>(all: &BTreeMap<Identifier, T>, one: &Identifier) -> BTreeMap<Identifier, T> {
    all.iter().filter(|(id, _)| *id != one).map(|(id, value)| (*id, value.clone())).collect()
}

/// The crate's DKG, and what our part3 makes of the same messages.
fn generated(n: u16, t: u16) -> Result<(Held, Vec<Key>), Fault> {
    let all = members(&(1..=n).collect::<Vec<_>>())?;
    let (mut secrets, mut r1) = (BTreeMap::new(), BTreeMap::<Identifier, round1::Package>::new());
    for id in &all {
        let (secret, package) = dkg::part1(*id, n, t, rng())?;
        secrets.insert(*id, secret);
        r1.insert(*id, package);
    }
    let (mut second, mut sent) = (BTreeMap::new(), BTreeMap::new());
    let mut shares = Shares::new();
    for (id, secret) in secrets {
        let (next, packages) = dkg::part2(secret, &without(&r1, &id))?;
        shares.entry(id).or_default().insert(id, next.secret_share());
        for (receiver, package) in &packages {
            shares.entry(*receiver).or_default().insert(id, package.signing_share().to_scalar());
            sent.entry(*receiver).or_insert_with(BTreeMap::new).insert(id, package.clone());
        }
        second.insert(id, next);
    }
    let (mut held, mut ours) = (Held::new(), Vec::new());
    for id in &all {
        held.insert(*id, dkg::part3(&second[id], &without(&r1, id), &sent[id])?);
        ours.push(crate::dkg::finish(member(id), t, &r1, &shares[id])?);
    }
    Ok((held, ours))
}

#[test]
fn our_part3_makes_the_crates_keys() -> Result<(), Fault> {
    for (n, t) in [(2, 2), (5, 3), (7, 6)] {
        let (held, ours) = generated(n, t)?;
        for (key, (package, public)) in ours.iter().zip(held.values()) {
            assert_eq!(key.parts(), (t, package, public));
        }
    }
    Ok(())
}

#[test]
fn our_refresh_makes_the_crates_keys_also_when_it_removes_members() -> Result<(), Fault> {
    for who in [vec![1, 2, 3, 4, 5], vec![1, 3, 5], vec![2, 3, 4, 5]] {
        let (held, ours) = generated(5, 3)?;
        let (all, count) = (members(&who)?, who.len() as u16);
        let (mut secrets, mut r1) = (BTreeMap::new(), BTreeMap::new());
        for id in &all {
            let (secret, package) = refresh_dkg_part1(*id, count, 3, rng())?;
            secrets.insert(*id, secret);
            r1.insert(*id, package);
        }
        let (mut second, mut sent) = (BTreeMap::new(), BTreeMap::new());
        let mut shares = Shares::new();
        for (id, secret) in secrets {
            let (next, packages) = refresh_dkg_part2(secret, &without(&r1, &id))?;
            shares.entry(id).or_default().insert(id, next.secret_share());
            for (receiver, package) in &packages {
                shares.entry(*receiver).or_default().insert(id, package.signing_share().to_scalar());
                sent.entry(*receiver).or_insert_with(BTreeMap::new).insert(id, package.clone());
            }
            second.insert(id, next);
        }
        let dealt: Dealt = r1.iter().map(|(id, package)| (*id, package.commitment().clone())).collect();
        for id in &all {
            let (package, public) = held[id].clone();
            let (package, public) =
                refresh_dkg_shares(&second[id], &without(&r1, id), &sent[id], public, package)?;
            let ours =
                crate::refresh::combine(&ours[usize::from(member(id)) - 1], &dealt, &map(&shares[id]))?;
            assert_eq!(ours.parts(), (3, &package, &public));
        }
    }
    Ok(())
}
