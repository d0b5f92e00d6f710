//! Damage that the fuzzer describes, and what every call must hold to.

use holdfast_frost::HoldfastFrostError;
use holdfast_frost::error::*;

/// Codes that bad input must never lead to.
const OURS: [i32; 4] =
    [HOLDFAST_FROST_PANIC, HOLDFAST_FROST_SELF_CHECK, HOLDFAST_FROST_INTERNAL, HOLDFAST_FROST_FORKED];

/// The fuzzer's bytes, taken from the front; zeros when they are used up.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A member number or threshold: near the right ones, now and then anything.
    pub fn small(&mut self, usual: u16) -> u16 {
        match self.byte() {
            0..160 => usual,
            160..240 => u16::from(self.byte() % 6),
            _ => self.number(),
        }
    }

    /// What was right, damaged up to seven times.
    pub fn damaged(&mut self, right: &[u8]) -> Vec<u8> {
        let mut bytes = right.to_vec();
        for _ in 0..self.byte() % 8 {
            let (how, at) = (self.byte(), usize::from(self.number()) % (bytes.len() + 1));
            match how % 6 {
                0 => bytes.truncate(at),
                1 => bytes.push(self.byte()),
                2 if at < bytes.len() => bytes[at] ^= 1 << (self.byte() % 8),
                3 if at < bytes.len() => bytes[at] = self.byte(),
                4 => {
                    let from = usize::from(self.number()) % (bytes.len() + 1);
                    let len = usize::from(self.byte()).min(bytes.len() - from.max(at));
                    bytes.copy_within(from..from + len, at);
                }
                5 => {
                    let len = usize::from(self.byte()).min(self.0.len());
                    let (noise, rest) = self.0.split_at(len);
                    self.0 = rest;
                    bytes.splice(at.., noise.iter().copied());
                }
                _ => {}
            }
        }
        bytes
    }
}

/// Calls an entry and checks its code and report.
pub fn call(entry: impl FnOnce(*mut HoldfastFrostError) -> i32) -> i32 {
    let mut error = HoldfastFrostError { code: -1, count: 999, culprits: [999; 128], message: [1; 160] };
    let code = entry(&mut error);
    assert!(!OURS.contains(&code), "code {code}: {}", text(&error));
    if code == 0 {
        assert_eq!((error.code, error.count), (-1, 999), "a success reports nothing");
        return code;
    }
    assert!((100..500).contains(&code));
    assert_eq!(error.code, code);
    let culprits = &error.culprits[..usize::from(error.count)];
    assert!(culprits.is_sorted_by(|a, b| a < b), "culprits ascend and are named once");
    assert!(!text(&error).is_empty());
    code
}

fn text(error: &HoldfastFrostError) -> String {
    let end = error.message.iter().position(|byte| *byte == 0).expect("a message ends");
    error.message[..end].iter().map(|byte| *byte as u8 as char).collect()
}
