//! Freed memory is wiped: the FROST crate copies polynomials and shares into plain vectors on its way.

use std::alloc::{GlobalAlloc, Layout, System};

use zeroize::Zeroize;

/// How much of the stack below a finished call is overwritten.
const STACK_BYTES: usize = 32 * 1024;

struct Wiping;

// SAFETY: `System` allocates; the block is still ours when it is wiped, just before it is given back. The
// default `realloc` goes through `dealloc`, so a grown vector leaves nothing behind either.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            std::slice::from_raw_parts_mut(block, layout.size()).zeroize();
            System.dealloc(block, layout);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

/// Overwrites the stack that the call before used: moved values leave copies there. Best effort.
#[inline(never)]
pub(crate) fn wipe_stack() {
    let mut below = [0u8; STACK_BYTES]; // mutable, or the compiler would point at a constant instead
    std::hint::black_box(&mut below);
}
