//! A committee of three, two needed, with everything that was ever right: made once, from a seed.

use std::cell::OnceCell;
use std::ptr::null_mut;

use holdfast_frost::*;

pub const SIZE: u16 = 3;
pub const THRESHOLD: u16 = 2;
const SCALAR: usize = 32;

/// Keys of all members, and the bytes that made them.
pub struct World {
    pub r1: Vec<u8>,
    pub packages: Vec<Vec<u8>>,
    pub shares: Vec<Vec<u8>>,
    pub keys: Vec<u64>,
    pub secret: Vec<u8>,
    pub public: Vec<u8>,
    pub package: Vec<u8>,
    pub signed: Vec<Vec<u8>>,
    pub signature: Vec<u8>,
    pub refresh_r1: Vec<u8>,
    pub refresh_shares: Vec<u8>,
    pub helpers: Vec<u8>,
    pub deltas: Vec<u8>,
    pub delta_points: Vec<u8>,
    pub sigmas: Vec<u8>,
}

/// Lays out a map.
pub fn map(entries: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (member, data) in entries {
        bytes.extend(member.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

/// Member, nonce handle and commitment of one signer.
pub type Offer = (u16, Vec<u8>, Vec<u8>);

pub fn offer(member: u16, key: u64) -> Offer {
    let mut bytes = vec![0; 16 + 66];
    ok(unsafe { holdfast_frost_nonce_commit(key, 1, bytes.as_mut_ptr(), bytes.len(), null_mut()) });
    let commitment = bytes.split_off(16);
    (member, bytes, commitment)
}

/// The package of one session on the internal key.
pub fn package(offers: &[Offer]) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend([7; 32]);
    bytes.push(0);
    bytes.extend((offers.len() as u16).to_be_bytes());
    for (member, _, commitment) in offers {
        bytes.extend(member.to_be_bytes());
        bytes.extend(commitment);
    }
    bytes
}

fn ok(code: i32) {
    assert_eq!(code, 0, "what is right is taken");
}

impl World {
    /// Lends the world to `work`.
    pub fn with(work: impl FnOnce(&World)) {
        thread_local! {
            static WORLD: OnceCell<World> = const { OnceCell::new() };
        }
        WORLD.with(|world| work(world.get_or_init(World::new)));
    }

    fn new() -> Self {
        seed(7);
        let begun: Vec<(u64, Vec<u8>)> = (1..=SIZE).map(begin).collect();
        let packages: Vec<Vec<u8>> = begun.iter().map(|(_, package)| package.clone()).collect();
        let r1 = map((1..).zip(packages.clone()));
        let dealt: Vec<Vec<u8>> = begun.iter().map(|(dkg, _)| deal(*dkg, &r1)).collect();
        let shares: Vec<Vec<u8>> = (0..usize::from(SIZE)).map(|me| shares_for(me, &dealt)).collect();
        let mut public = vec![0; 38 + 35 * usize::from(SIZE)];
        let finish = |((dkg, _), mine): (&(u64, Vec<u8>), &Vec<u8>)| {
            let mut key = 0;
            let (out, len) = (public.as_mut_ptr(), public.len());
            let (r, s) = ((r1.as_ptr(), r1.len()), (mine.as_ptr(), mine.len()));
            ok(unsafe {
                holdfast_frost_dkg_finish(*dkg, r.0, r.1, s.0, s.1, &mut key, out, len, null_mut())
            });
            key
        };
        let keys: Vec<u64> = begun.iter().zip(&shares).map(finish).collect();
        let mut world = Self {
            r1,
            packages,
            shares,
            keys,
            public,
            secret: vec![0; SCALAR],
            package: Vec::new(),
            signed: Vec::new(),
            signature: vec![0; 64],
            refresh_r1: Vec::new(),
            refresh_shares: Vec::new(),
            helpers: vec![0, 2, 0, 3],
            deltas: Vec::new(),
            delta_points: Vec::new(),
            sigmas: Vec::new(),
        };
        let secret = &mut world.secret;
        ok(unsafe {
            holdfast_frost_key_export(world.keys[0], secret.as_mut_ptr(), secret.len(), null_mut())
        });
        world.sign();
        world.refresh();
        world.repair();
        world
    }

    fn sign(&mut self) {
        let offers: Vec<Offer> = (1..).zip(&self.keys).take(2).map(|(m, key)| offer(m, *key)).collect();
        self.package = package(&offers);
        let package = &self.package;
        for ((_, nonce, _), key) in offers.iter().zip(&self.keys) {
            let mut share = vec![0; SCALAR];
            ok(unsafe {
                holdfast_frost_key_sign(
                    *key,
                    nonce.as_ptr(),
                    nonce.len(),
                    package.as_ptr(),
                    package.len(),
                    share.as_mut_ptr(),
                    share.len(),
                    null_mut(),
                )
            });
            self.signed.push(share);
        }
        let shares = map((1..).zip(self.signed.clone()));
        let (mut session, signature) = (0, &mut self.signature);
        unsafe {
            let (public, package) = (&self.public, &self.package);
            let (p, q) = ((public.as_ptr(), public.len()), (package.as_ptr(), package.len()));
            ok(holdfast_frost_session_open(p.0, p.1, q.0, q.1, &mut session, null_mut()));
            let out = (signature.as_mut_ptr(), signature.len());
            let all = (shares.as_ptr(), shares.len());
            ok(holdfast_frost_session_aggregate(session, all.0, all.1, out.0, out.1, null_mut()));
            ok(holdfast_frost_session_drop(session, null_mut()));
        }
    }

    fn refresh(&mut self) {
        let members = [0, 1, 0, 2, 0, 3];
        let begin = |member: u16| {
            let (mut refresh, mut package) = (0, vec![0; 33]);
            ok(unsafe {
                holdfast_frost_refresh_begin(
                    member,
                    members.as_ptr(),
                    members.len(),
                    THRESHOLD,
                    &mut refresh,
                    package.as_mut_ptr(),
                    package.len(),
                    null_mut(),
                )
            });
            (refresh, package)
        };
        let begun: Vec<(u64, Vec<u8>)> = (1..=SIZE).map(begin).collect();
        self.refresh_r1 = map((1..).zip(begun.iter().map(|(_, package)| package.clone())));
        let r1 = &self.refresh_r1;
        let share = |(refresh, _): &(u64, Vec<u8>)| {
            let mut out = vec![0; SCALAR * usize::from(SIZE)];
            let to = (out.as_mut_ptr(), out.len());
            ok(unsafe {
                holdfast_frost_refresh_share(*refresh, r1.as_ptr(), r1.len(), to.0, to.1, null_mut())
            });
            out
        };
        let dealt: Vec<Vec<u8>> = begun.iter().map(share).collect();
        self.refresh_shares = shares_for(0, &dealt);
        for (refresh, _) in begun {
            ok(unsafe { holdfast_frost_refresh_drop(refresh, null_mut()) });
        }
    }

    fn repair(&mut self) {
        let split = |key: &u64| {
            let (mut deltas, mut points) = (vec![0; 2 * SCALAR], vec![0; 2 * 33]);
            ok(unsafe {
                holdfast_frost_repair_split(
                    *key,
                    1,
                    self.helpers.as_ptr(),
                    self.helpers.len(),
                    deltas.as_mut_ptr(),
                    deltas.len(),
                    points.as_mut_ptr(),
                    points.len(),
                    null_mut(),
                )
            });
            (deltas, points)
        };
        let made: Vec<(Vec<u8>, Vec<u8>)> = self.keys.iter().skip(1).map(split).collect();
        let sums: Vec<Vec<u8>> = (0..2)
            .map(|helper| {
                let parts = made.iter().map(|(deltas, _)| deltas[SCALAR * helper..][..SCALAR].to_vec());
                let (all, mut sigma) = (map((2..).zip(parts)), vec![0; SCALAR]);
                let to = (sigma.as_mut_ptr(), sigma.len());
                ok(unsafe { holdfast_frost_repair_add(all.as_ptr(), all.len(), to.0, to.1, null_mut()) });
                sigma
            })
            .collect();
        self.deltas = map((2..).zip(made.iter().map(|(deltas, _)| deltas[..SCALAR].to_vec())));
        self.delta_points = made[0].1.clone();
        self.sigmas = map((2..).zip(sums));
    }
}

/// A fresh DKG of one member.
pub fn begin(member: u16) -> (u64, Vec<u8>) {
    let (mut dkg, mut package) = (0, vec![0; 33 * usize::from(THRESHOLD) + 64]);
    let to = (package.as_mut_ptr(), package.len());
    ok(unsafe { holdfast_frost_dkg_begin(member, SIZE, THRESHOLD, &mut dkg, to.0, to.1, null_mut()) });
    (dkg, package)
}

fn deal(dkg: u64, r1: &[u8]) -> Vec<u8> {
    let mut out = vec![0; SCALAR * usize::from(SIZE)];
    let to = (out.as_mut_ptr(), out.len());
    ok(unsafe { holdfast_frost_dkg_share(dkg, r1.as_ptr(), r1.len(), to.0, to.1, null_mut()) });
    out
}

/// What everybody dealt to the member at this place, as a map.
pub fn shares_for(place: usize, dealt: &[Vec<u8>]) -> Vec<u8> {
    map((1..).zip(dealt.iter().map(|all| all[SCALAR * place..][..SCALAR].to_vec())))
}
