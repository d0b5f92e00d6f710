//! The seeded generator: repeatable when asked for, and only then.
#![cfg(feature = "test-seed")]

use holdfast_frost::{holdfast_frost_dkg_begin, seed};

fn r1(member: u16) -> [u8; 130] {
    let (mut handle, mut package) = (0, [0; 130]);
    let out = package.as_mut_ptr();
    let code = unsafe { holdfast_frost_dkg_begin(member, 3, 2, &mut handle, out, 130, std::ptr::null_mut()) };
    assert_eq!(code, 0);
    package
}

#[test]
fn a_seed_repeats_and_its_numbers_do_not() {
    seed(7);
    let first = (r1(1), r1(1));
    seed(7);
    assert_eq!(first, (r1(1), r1(1)));
    assert_ne!(first.0, first.1);
    seed(8);
    assert_ne!(first.0, r1(1));
}
