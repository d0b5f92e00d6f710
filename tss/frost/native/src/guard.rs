//! The boundary: no panic crosses it, no pointer is read before it is checked, no secret stays on the stack.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

use crate::error::*;
use crate::memory::wipe_stack;

thread_local! {
    static PANIC_LINE: Cell<u32> = const { Cell::new(0) };
}

/// Runs an entry's body; returns its code and fills `error`.
pub(crate) unsafe fn guarded(
    error: *mut HoldfastFrostError,
    body: impl FnOnce() -> Result<(), Fault>,
) -> i32 {
    static SILENCE: Once = Once::new();
    // A panic's text may quote a value, so only its line is kept; the hook is this library's own.
    SILENCE.call_once(|| {
        set_hook(Box::new(|info| PANIC_LINE.set(info.location().map_or(0, |place| place.line()))));
    });
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let line = PANIC_LINE.get();
        Err(Fault::new(
            HOLDFAST_FROST_PANIC,
            format!("the engine panicked (line {line}): report it and restart the node"),
        ))
    });
    wipe_stack();
    match result {
        Ok(()) => 0,
        Err(fault) => {
            // SAFETY: null or a valid struct, by the rule in lib.rs.
            if let Some(target) = unsafe { error.as_mut() } {
                fault.write(target);
            }
            fault.code
        }
    }
}

/// The caller's bytes.
pub(crate) unsafe fn input<'a>(data: *const u8, len: usize) -> Result<&'a [u8], Fault> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Fault::new(HOLDFAST_FROST_NULL, "an input pointer is null: pass the bytes"));
    }
    if len > isize::MAX as usize {
        return Err(Fault::new(
            HOLDFAST_FROST_LENGTH,
            "an input length is absurd: pass the bytes' true length",
        ));
    }
    // SAFETY: checked above, and valid by the rule in lib.rs.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// The caller's buffer, which must have exactly the size of the result.
pub(crate) unsafe fn output<'a>(data: *mut u8, len: usize, needed: usize) -> Result<&'a mut [u8], Fault> {
    if data.is_null() {
        return Err(Fault::new(HOLDFAST_FROST_NULL, "an output pointer is null: pass a buffer"));
    }
    if len != needed {
        let text = format!("the output buffer has {len} bytes: pass one of {needed}");
        return Err(Fault::new(HOLDFAST_FROST_LENGTH, text));
    }
    // SAFETY: checked above, and valid by the rule in lib.rs.
    Ok(unsafe { std::slice::from_raw_parts_mut(data, len) })
}

/// The caller's place for one value.
pub(crate) unsafe fn place<'a, T>(target: *mut T) -> Result<&'a mut T, Fault> {
    // SAFETY: null or valid, by the rule in lib.rs.
    unsafe { target.as_mut() }.ok_or_else(|| {
        Fault::new(HOLDFAST_FROST_NULL, "an output pointer is null: pass a place for the result")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_without_its_text() {
        let mut error = HoldfastFrostError { code: 0, count: 9, culprits: [9; 128], message: [0; 160] };
        let code = unsafe { guarded(&mut error, || panic!("the secret is 42")) };
        let text: String = error.message.iter().map(|byte| *byte as u8 as char).collect();
        assert_eq!((code, error.code, error.count), (HOLDFAST_FROST_PANIC, HOLDFAST_FROST_PANIC, 0));
        assert!(text.starts_with("the engine panicked (line ") && !text.contains("42"));
    }

    #[test]
    fn a_long_message_is_cut_between_characters_and_ends() {
        let mut error = HoldfastFrostError { code: 0, count: 0, culprits: [0; 128], message: [1; 160] };
        let fault = || Err(Fault::new(HOLDFAST_FROST_ORDER, "é".repeat(200)).by(1..200));
        assert_eq!(unsafe { guarded(&mut error, fault) }, HOLDFAST_FROST_ORDER);
        assert_eq!((error.count, error.culprits.last()), (128, Some(&128)));
        let bytes: Vec<u8> =
            error.message.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
        assert_eq!(String::from_utf8(bytes).map(|text| text.chars().count()), Ok(79));
    }
}
