//! One call, or a few that belong together, with damaged inputs.

use holdfast_frost::error::*;
use holdfast_frost::*;

use crate::damage::{Bytes, call};
use crate::world::{SIZE, THRESHOLD, World, begin, map, offer, package, shares_for};

pub fn run(world: &World, data: &[u8]) {
    let mut bytes = Bytes(data);
    match bytes.byte() % 15 {
        0 => import(world, &mut bytes),
        1 => restore(world, &mut bytes),
        2 => r1_check(world, &mut bytes),
        3 => share_check(world, &mut bytes),
        4 => derive(world, &mut bytes),
        5 => tweak(world, &mut bytes),
        6 => generation(&mut bytes),
        7 => nonces(world, &mut bytes),
        8 => sign(world, &mut bytes),
        9 => session(world, &mut bytes),
        10 => verify(world, &mut bytes),
        11 => refresh(world, &mut bytes),
        12 => refreshed(world, &mut bytes),
        13 => repair(world, &mut bytes),
        _ => handles(&mut bytes),
    }
}

fn drop_key(key: u64) {
    call(|error| unsafe { holdfast_frost_key_drop(key, error) });
}

fn import(world: &World, bytes: &mut Bytes) {
    let me = bytes.small(1);
    let (secret, public) = (bytes.damaged(&world.secret), bytes.damaged(&world.public));
    let mut key = 0;
    let code = call(|error| unsafe {
        let (s, p) = ((secret.as_ptr(), secret.len()), (public.as_ptr(), public.len()));
        holdfast_frost_key_import(me, s.0, s.1, p.0, p.1, &mut key, error)
    });
    if code == 0 {
        assert_eq!((me, &secret, &public), (1, &world.secret, &world.public));
        drop_key(key);
    }
}

fn restore(world: &World, bytes: &mut Bytes) {
    let (me, threshold) = (bytes.small(1), bytes.small(THRESHOLD));
    let (r1, shares) = (bytes.damaged(&world.r1), bytes.damaged(&world.shares[0]));
    let (mut key, mut public) = (0, vec![0; world.public.len()]);
    let code = call(|error| unsafe {
        let (r, s) = ((r1.as_ptr(), r1.len()), (shares.as_ptr(), shares.len()));
        let out = (public.as_mut_ptr(), public.len());
        holdfast_frost_key_restore(me, threshold, r.0, r.1, s.0, s.1, &mut key, out.0, out.1, error)
    });
    if code == 0 {
        assert_eq!((&r1, &shares, &public), (&world.r1, &world.shares[0], &world.public));
        drop_key(key);
    }
}

fn r1_check(world: &World, bytes: &mut Bytes) {
    let (me, members, threshold) = (bytes.small(1), bytes.small(SIZE), bytes.small(THRESHOLD));
    let right = &world.packages[0];
    let package = bytes.damaged(right);
    let code = call(|error| unsafe {
        holdfast_frost_r1_check(me, members, threshold, package.as_ptr(), package.len(), error)
    });
    if code == 0 {
        // The proof covers the first commitment; the others are covered by the member's signature.
        assert_eq!((me, &package[..33], &package[66..]), (1, &right[..33], &right[66..]));
    }
}

fn share_check(world: &World, bytes: &mut Bytes) {
    let member = bytes.small(1);
    let right = &world.shares[0][6..38];
    let (package, share) = (bytes.damaged(&world.packages[0]), bytes.damaged(right));
    let mut valid = 9;
    let code = call(|error| unsafe {
        let (p, s) = ((package.as_ptr(), package.len()), (share.as_ptr(), share.len()));
        holdfast_frost_share_check(p.0, p.1, member, s.0, s.1, &mut valid, error)
    });
    if code == 0 {
        assert!(valid == 0 || valid == 1);
        assert!(valid == 0 || package != world.packages[0] || (member == 1 && share == right));
    }
}

fn derive(world: &World, bytes: &mut Bytes) {
    let threshold = bytes.small(THRESHOLD);
    let r1 = bytes.damaged(&world.r1);
    let mut public = vec![0; world.public.len()];
    let code = call(|error| unsafe {
        let out = (public.as_mut_ptr(), public.len());
        holdfast_frost_public_derive(r1.as_ptr(), r1.len(), threshold, out.0, out.1, error)
    });
    if code == 0 && r1 == world.r1 {
        assert_eq!(public, world.public);
    }
}

fn tweak(world: &World, bytes: &mut Bytes) {
    let group = bytes.damaged(&world.public[3..36]);
    let path = match bytes.byte() % 3 {
        2 => [vec![2], vec![9; 32]].concat(),
        short => vec![short],
    };
    let path = bytes.damaged(&path);
    let (mut key, mut parity) = (vec![0; 32], 9);
    let code = call(|error| unsafe {
        let (g, p) = ((group.as_ptr(), group.len()), (path.as_ptr(), path.len()));
        holdfast_frost_public_tweak(g.0, g.1, p.0, p.1, key.as_mut_ptr(), key.len(), &mut parity, error)
    });
    assert!(code != 0 || parity == 0 || parity == 1);
}

fn generation(bytes: &mut Bytes) {
    let begun: Vec<(u64, Vec<u8>)> = (1..=SIZE).map(begin).collect();
    let right = map((1..).zip(begun.iter().map(|(_, package)| package.clone())));
    let r1 = bytes.damaged(&right);
    let mut dealt = Vec::new();
    for (dkg, _) in &begun {
        let mut shares = vec![0; 32 * usize::from(SIZE)];
        let code = call(|error| unsafe {
            let out = (shares.as_mut_ptr(), shares.len());
            holdfast_frost_dkg_share(*dkg, r1.as_ptr(), r1.len(), out.0, out.1, error)
        });
        if code == 0 {
            dealt.push(shares);
        }
    }
    if dealt.len() == begun.len() {
        finish(bytes, &begun, &r1, &shares_for(0, &dealt));
    }
    for (dkg, _) in begun {
        call(|error| unsafe { holdfast_frost_dkg_drop(dkg, error) });
    }
}

fn finish(bytes: &mut Bytes, begun: &[(u64, Vec<u8>)], agreed: &[u8], right: &[u8]) {
    let (r1, shares) = (bytes.damaged(agreed), bytes.damaged(right));
    let (mut key, mut public) = (0, vec![0; 38 + 35 * usize::from(SIZE)]);
    for time in 0..2 {
        let code = call(|error| unsafe {
            let (r, s) = ((r1.as_ptr(), r1.len()), (shares.as_ptr(), shares.len()));
            let out = (public.as_mut_ptr(), public.len());
            holdfast_frost_dkg_finish(begun[0].0, r.0, r.1, s.0, s.1, &mut key, out.0, out.1, error)
        });
        if time == 1 {
            assert_eq!(code, HOLDFAST_FROST_ORDER, "a key generation ends once, well or badly");
        } else if code == 0 {
            assert_eq!((&r1[..], &shares[..]), (agreed, right));
            drop_key(key);
        }
    }
}

fn nonces(world: &World, bytes: &mut Bytes) {
    let count = usize::from(bytes.small(2));
    let mut made = vec![0; count.min(64) * 82];
    call(|error| unsafe {
        holdfast_frost_nonce_commit(world.keys[2], count, made.as_mut_ptr(), made.len(), error)
    });
    let handles: Vec<u8> = made.chunks_exact(82).flat_map(|one| one[..16].to_vec()).collect();
    let some = bytes.damaged(&handles);
    call(|error| unsafe { holdfast_frost_nonce_drop(world.keys[2], some.as_ptr(), some.len(), error) });
    call(|error| unsafe { holdfast_frost_nonce_clear(world.keys[2], error) });
}

fn sign(world: &World, bytes: &mut Bytes) {
    let offers = [offer(1, world.keys[0]), offer(2, world.keys[1])];
    let right = package(&offers);
    let (nonce, package) = (bytes.damaged(&offers[0].1), bytes.damaged(&right));
    let used = nonce == offers[0].1;
    for time in 0..2 {
        let mut share = vec![0; 32];
        let code = call(|error| unsafe {
            let (n, p) = ((nonce.as_ptr(), nonce.len()), (package.as_ptr(), package.len()));
            let out = (share.as_mut_ptr(), share.len());
            holdfast_frost_key_sign(world.keys[0], n.0, n.1, p.0, p.1, out.0, out.1, error)
        });
        assert!(used || code != 0, "a nonce that was never given signs nothing");
        assert!(!used || time == 0 || code == HOLDFAST_FROST_NONCE, "a nonce signs twice");
        if code == 0 {
            assert!(holds(&world.public, &package, 1, &share), "a share that left does not verify");
        }
    }
    for key in &world.keys[..2] {
        call(|error| unsafe { holdfast_frost_nonce_clear(*key, error) });
    }
}

fn open(public: &[u8], package: &[u8]) -> Option<u64> {
    let mut session = 0;
    let code = call(|error| unsafe {
        let (p, q) = ((public.as_ptr(), public.len()), (package.as_ptr(), package.len()));
        holdfast_frost_session_open(p.0, p.1, q.0, q.1, &mut session, error)
    });
    (code == 0).then_some(session)
}

fn check(session: u64, member: u16, share: &[u8]) -> bool {
    let mut valid = 9;
    let code = call(|error| unsafe {
        holdfast_frost_session_check(session, member, share.as_ptr(), share.len(), &mut valid, error)
    });
    assert!(code != 0 || valid == 0 || valid == 1);
    code == 0 && valid == 1
}

fn holds(public: &[u8], package: &[u8], member: u16, share: &[u8]) -> bool {
    let Some(session) = open(public, package) else {
        return false;
    };
    let valid = check(session, member, share);
    call(|error| unsafe { holdfast_frost_session_drop(session, error) });
    valid
}

fn session(world: &World, bytes: &mut Bytes) {
    let (public, package) = (bytes.damaged(&world.public), bytes.damaged(&world.package));
    let Some(session) = open(&public, &package) else {
        return;
    };
    let (member, share) = (bytes.small(1), bytes.damaged(&world.signed[0]));
    let same = (&public, &package) == (&world.public, &world.package);
    if check(session, member, &share) && same {
        assert_eq!((member, &share), (1, &world.signed[0]), "another share holds too");
    }
    let right = map((1..).zip(world.signed.clone()));
    let shares = bytes.damaged(&right);
    let mut signature = vec![0; 64];
    let code = call(|error| unsafe {
        let out = (signature.as_mut_ptr(), signature.len());
        holdfast_frost_session_aggregate(session, shares.as_ptr(), shares.len(), out.0, out.1, error)
    });
    if code == 0 && same {
        assert_eq!((&shares, &signature), (&right, &world.signature));
    }
    call(|error| unsafe { holdfast_frost_session_drop(session, error) });
}

fn verify(world: &World, bytes: &mut Bytes) {
    let right = (&world.public[4..36], [7; 32], &world.signature);
    let key = bytes.damaged(right.0);
    let (message, signature) = (bytes.damaged(&right.1), bytes.damaged(right.2));
    let mut valid = 9;
    let code = call(|error| unsafe {
        let (k, m) = ((key.as_ptr(), key.len()), (message.as_ptr(), message.len()));
        let s = (signature.as_ptr(), signature.len());
        holdfast_frost_signature_verify(k.0, k.1, m.0, m.1, s.0, s.1, &mut valid, error)
    });
    if code == 0 && valid == 1 {
        assert_eq!((&key[..], &message[..], &signature), (right.0, &right.1[..], right.2));
    }
}

fn refresh(world: &World, bytes: &mut Bytes) {
    let (me, threshold) = (bytes.small(1), bytes.small(THRESHOLD));
    let members = bytes.damaged(&[0, 1, 0, 2, 0, 3]);
    let (mut refresh, mut own) = (0, vec![0; 33]);
    let code = call(|error| unsafe {
        let (m, out) = ((members.as_ptr(), members.len()), (own.as_mut_ptr(), own.len()));
        holdfast_frost_refresh_begin(me, m.0, m.1, threshold, &mut refresh, out.0, out.1, error)
    });
    if code != 0 {
        return;
    }
    let theirs = world.refresh_r1.chunks_exact(6 + 33).map(|entry| entry[6..].to_vec());
    let all: Vec<(u16, Vec<u8>)> = (1..)
        .zip(theirs)
        .map(|(member, package)| (member, if member == me { own.clone() } else { package }))
        .collect();
    let r1 = bytes.damaged(&map(all));
    let mut shares = vec![0; 16 * members.len()];
    call(|error| unsafe {
        let (r, out) = ((r1.as_ptr(), r1.len()), (shares.as_mut_ptr(), shares.len()));
        holdfast_frost_refresh_share(refresh, r.0, r.1, out.0, out.1, error)
    });
    let given = bytes.damaged(&world.refresh_shares);
    let (mut key, mut public) = (0, vec![0; world.public.len()]);
    let code = call(|error| unsafe {
        let (r, s) = ((r1.as_ptr(), r1.len()), (given.as_ptr(), given.len()));
        let out = (public.as_mut_ptr(), public.len());
        let old = world.keys[0];
        holdfast_frost_refresh_finish(refresh, old, r.0, r.1, s.0, s.1, &mut key, out.0, out.1, error)
    });
    assert_ne!(code, 0, "shares of another refresh do not fit");
    call(|error| unsafe { holdfast_frost_refresh_drop(refresh, error) });
}

fn refreshed(world: &World, bytes: &mut Bytes) {
    let (r1, shares) = (bytes.damaged(&world.refresh_r1), bytes.damaged(&world.refresh_shares));
    let (mut key, mut public) = (0, vec![0; world.public.len()]);
    let code = call(|error| unsafe {
        let (r, s) = ((r1.as_ptr(), r1.len()), (shares.as_ptr(), shares.len()));
        let out = (public.as_mut_ptr(), public.len());
        holdfast_frost_refresh_restore(world.keys[0], r.0, r.1, s.0, s.1, &mut key, out.0, out.1, error)
    });
    if code == 0 {
        assert_eq!((&r1, &shares), (&world.refresh_r1, &world.refresh_shares));
        assert_eq!(public[3..36], world.public[3..36], "a refresh keeps the group key");
        drop_key(key);
    }
    let old = bytes.damaged(&world.public);
    call(|error| unsafe {
        let (o, r) = ((old.as_ptr(), old.len()), (r1.as_ptr(), r1.len()));
        holdfast_frost_refresh_public(o.0, o.1, r.0, r.1, public.as_mut_ptr(), public.len(), error)
    });
    let (member, mut valid) = (bytes.small(1), 9);
    let (package, share) = (bytes.damaged(&world.refresh_r1[6..39]), bytes.damaged(&shares));
    let code = call(|error| unsafe {
        let (p, s) = ((package.as_ptr(), package.len()), (share.as_ptr(), share.len()));
        holdfast_frost_refresh_check(p.0, p.1, member, s.0, s.1, &mut valid, error)
    });
    assert!(code != 0 || valid == 0 || valid == 1);
}

fn repair(world: &World, bytes: &mut Bytes) {
    let (receiver, sender, helpers) = (bytes.small(1), bytes.small(2), bytes.damaged(&world.helpers));
    let size = helpers.len() / 2;
    let (mut deltas, mut points) = (vec![0; 32 * size], vec![0; 33 * size]);
    call(|error| unsafe {
        let (h, d) = ((helpers.as_ptr(), helpers.len()), (deltas.as_mut_ptr(), deltas.len()));
        let p = (points.as_mut_ptr(), points.len());
        holdfast_frost_repair_split(world.keys[1], receiver, h.0, h.1, d.0, d.1, p.0, p.1, error)
    });
    let (public, given) = (bytes.damaged(&world.public), bytes.damaged(&world.delta_points));
    let mut valid = 9;
    let code = call(|error| unsafe {
        let (p, h) = ((public.as_ptr(), public.len()), (helpers.as_ptr(), helpers.len()));
        let g = (given.as_ptr(), given.len());
        holdfast_frost_repair_check(p.0, p.1, receiver, sender, h.0, h.1, g.0, g.1, &mut valid, error)
    });
    assert!(code != 0 || valid == 0 || valid == 1);
    let value = bytes.damaged(&world.deltas[6..38]);
    let code = call(|error| unsafe {
        let (p, v) = ((given.as_ptr(), given.len()), (value.as_ptr(), value.len()));
        holdfast_frost_repair_opens(p.0, p.1, v.0, v.1, &mut valid, error)
    });
    assert!(code != 0 || valid == 0 || valid == 1);
    let (all, mut sigma) = (bytes.damaged(&world.deltas), vec![0; 32]);
    call(|error| unsafe {
        holdfast_frost_repair_add(all.as_ptr(), all.len(), sigma.as_mut_ptr(), sigma.len(), error)
    });
    let (sigmas, mut key) = (bytes.damaged(&world.sigmas), 0);
    let code = call(|error| unsafe {
        let (p, s) = ((public.as_ptr(), public.len()), (sigmas.as_ptr(), sigmas.len()));
        holdfast_frost_repair_finish(receiver, p.0, p.1, s.0, s.1, &mut key, error)
    });
    if code == 0 {
        let mut secret = vec![0; 32];
        call(|error| unsafe { holdfast_frost_key_export(key, secret.as_mut_ptr(), secret.len(), error) });
        assert_eq!((receiver, &secret), (1, &world.secret), "another share came out of a repair");
        drop_key(key);
    }
}

/// Numbers that were never handed out.
fn handles(bytes: &mut Bytes) {
    let handle = (0..8).fold(1 << 63, |all, at| all | u64::from(bytes.byte()) << (8 * at));
    let (mut out, nonce, mut valid, mut key) = ([0; 64], [0; 16], 0, 0);
    let to = out.as_mut_ptr();
    let data = bytes.0;
    let given = (data.as_ptr(), data.len());
    let codes = [
        call(|error| unsafe { holdfast_frost_key_export(handle, to, 32, error) }),
        call(|error| unsafe { holdfast_frost_nonce_clear(handle, error) }),
        call(|error| unsafe {
            holdfast_frost_key_sign(handle, nonce.as_ptr(), 16, given.0, given.1, to, 32, error)
        }),
        call(|error| unsafe { holdfast_frost_session_check(handle, 1, given.0, given.1, &mut valid, error) }),
        call(|error| unsafe { holdfast_frost_session_aggregate(handle, given.0, given.1, to, 64, error) }),
        call(|error| unsafe { holdfast_frost_dkg_share(handle, given.0, given.1, to, 64, error) }),
        call(|error| unsafe {
            let none = (given.0, given.1, given.0, given.1);
            holdfast_frost_dkg_finish(handle, none.0, none.1, none.2, none.3, &mut key, to, 64, error)
        }),
    ];
    assert!(codes.iter().all(|code| *code == HOLDFAST_FROST_HANDLE), "{codes:?}");
    let null = call(|error| unsafe {
        holdfast_frost_signature_verify(std::ptr::null(), 32, nonce.as_ptr(), 16, to, 64, &mut valid, error)
    });
    assert_eq!(null, HOLDFAST_FROST_NULL);
}
