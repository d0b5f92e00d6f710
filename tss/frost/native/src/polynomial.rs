//! Committed polynomials at small places: Horner's rule, where the crate takes a full multiplication per term.
//!
//! Everything here is public, so nothing needs constant time. A test compares with the crate's own results.

use std::collections::BTreeMap;

use frost_core::Group;
use frost_secp256k1_tr::keys::{PublicKeyPackage, VerifiableSecretSharingCommitment, VerifyingShare};
use frost_secp256k1_tr::{Identifier, Secp256K1Group, VerifyingKey};

use crate::error::*;

pub(crate) type Point = <Secp256K1Group as Group>::Element;

/// The points of a commitment, constant term first.
pub(crate) fn points(commitment: &VerifiableSecretSharingCommitment) -> Vec<Point> {
    commitment.coefficients().iter().map(|coefficient| coefficient.value()).collect()
}

/// The sum of all commitments, term by term; all have the same length.
pub(crate) fn sum<'a>(
    commitments: impl IntoIterator<Item = &'a VerifiableSecretSharingCommitment>,
) -> Vec<Point> {
    let mut total: Vec<Point> = Vec::new();
    for commitment in commitments {
        let added = points(commitment);
        if total.is_empty() {
            total = added;
        } else {
            for (sum, point) in total.iter_mut().zip(added) {
                *sum += point;
            }
        }
    }
    total
}

/// The polynomial's value at a member number, in the exponent.
pub(crate) fn at(coefficients: &[Point], place: u16) -> Point {
    let mut value = Secp256K1Group::identity();
    for coefficient in coefficients.iter().rev() {
        value = times(value, place) + coefficient;
    }
    value
}

fn times(point: Point, small: u16) -> Point {
    let mut result = Secp256K1Group::identity();
    for bit in (0..u16::BITS - small.leading_zeros()).rev() {
        result = result.double();
        if small >> bit & 1 == 1 {
            result += point;
        }
    }
    result
}

/// The public side of the group that these polynomials make for these members.
pub(crate) fn group<'a>(
    threshold: u16,
    coefficients: &[Point],
    members: impl IntoIterator<Item = &'a Identifier>,
) -> PublicKeyPackage {
    let shares: BTreeMap<_, _> =
        members.into_iter().map(|id| (*id, VerifyingShare::new(at(coefficients, member(id))))).collect();
    let constant = coefficients.first().copied().unwrap_or_else(Secp256K1Group::identity);
    PublicKeyPackage::new(shares, VerifyingKey::new(constant), Some(threshold))
}
