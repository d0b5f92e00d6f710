//! What was computed a moment ago, kept for whoever asks for the same: public values only, a few of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::registry::lock;

/// What a value was made of, and the value.
type Entry<T> = ([Vec<u8>; 2], Arc<T>);

/// Values by the bytes they were made of; the oldest goes when it is full.
pub(crate) struct Recent<T> {
    most: usize,
    entries: Mutex<VecDeque<Entry<T>>>,
}

impl<T> Recent<T> {
    pub(crate) const fn new(most: usize) -> Self {
        Self { most, entries: Mutex::new(VecDeque::new()) }
    }

    /// The value that was made of these two byte strings, if it is still here.
    pub(crate) fn get(&self, first: &[u8], second: &[u8]) -> Option<Arc<T>> {
        let entries = lock(&self.entries);
        let found = entries.iter().rev().find(|([one, two], _)| two == second && one == first);
        found.map(|(_, value)| Arc::clone(value))
    }

    /// Keeps a value; somebody else may have made the same meanwhile, which does no harm.
    pub(crate) fn keep(&self, first: &[u8], second: &[u8], value: &Arc<T>) {
        let mut entries = lock(&self.entries);
        let gone = if entries.len() >= self.most { entries.pop_front() } else { None };
        entries.push_back(([first.to_vec(), second.to_vec()], Arc::clone(value)));
        drop(entries);
        drop(gone);
    }
}
