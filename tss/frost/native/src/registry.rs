//! Handles: numbers that lead to secrets, in the process that made them and nowhere else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::*;

static NEXT: AtomicU64 = AtomicU64::new(1);
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Refuses a process that inherited our memory by `fork`: its nonces would be used twice.
///
/// It stands before every lock, because a lock held by another thread during `fork` never opens in the child.
pub(crate) fn own_process() -> Result<(), Fault> {
    let here = std::process::id();
    match OWNER.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(()),
        Err(owner) if owner == here => Ok(()),
        Err(_) => Err(Fault::new(
            HOLDFAST_FROST_FORKED,
            "this process is a fork of the one that holds the keys: start a new process instead",
        )),
    }
}

/// Locks, also after a panic elsewhere: what our locks guard is valid between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The values behind one kind of handle.
pub(crate) struct Registry<T> {
    what: &'static str,
    entries: Mutex<BTreeMap<u64, Arc<T>>>,
}

impl<T> Registry<T> {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, entries: Mutex::new(BTreeMap::new()) }
    }

    /// Keeps a value; a handle is never given out twice, whatever its kind.
    pub(crate) fn insert(&self, value: T) -> Result<u64, Fault> {
        own_process()?;
        let handle = NEXT.fetch_add(1, Ordering::Relaxed);
        lock(&self.entries).insert(handle, Arc::new(value));
        Ok(handle)
    }

    /// The value, alive while the caller works even if the handle is closed meanwhile.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<T>, Fault> {
        own_process()?;
        lock(&self.entries).get(&handle).cloned().ok_or_else(|| {
            Fault::new(
                HOLDFAST_FROST_HANDLE,
                format!("this {} handle is unknown or closed: open it again", self.what),
            )
        })
    }

    /// Forgets a value; a second time is no error.
    pub(crate) fn remove(&self, handle: u64) -> Result<(), Fault> {
        own_process()?;
        let gone = lock(&self.entries).remove(&handle);
        drop(gone); // outside the lock: it wipes
        Ok(())
    }
}
