//! Loads of several bytes at once from any address.
//!
//! The target has them, and the verifier allows them on packet memory; but the compiler takes an address of unknown alignment
//! byte by byte, or by a call of `memcpy`, which does. Hence the instructions by name.

use core::arch::asm;
use core::mem::MaybeUninit;

/// A load of `$size` bytes at `AT` bytes after `from`, as a number in memory order.
macro_rules! load {
    ($name:ident, $number:ty, $type:literal) => {
        /// # Safety
        /// The bytes that are read are memory that the program may read.
        #[inline(always)]
        unsafe fn $name<const AT: usize>(from: usize) -> $number {
            let to: u64;
            // SAFETY: by the contract of this function; the instruction reads and has no other effect.
            unsafe {
                asm!(
                    concat!("{to} = *(", $type, " *)({from} + {at})"),
                    to = out(reg) to,
                    from = in(reg) from,
                    at = const AT,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            to as $number
        }
    };
}

load!(two, u16, "u16");
load!(four, u32, "u32");
load!(eight, u64, "u64");

/// Writes what `load` gives to `to` at byte `AT`.
macro_rules! put {
    ($to:ident, $from:ident, $load:ident, $at:literal, $number:ty) => {
        // SAFETY: the match arm's length holds the bytes from the place on.
        unsafe { $to.as_mut_ptr().cast::<u8>().add($at).cast::<$number>().write_unaligned($load::<$at>($from)) }
    };
}

/// The `N` bytes at `from`, for the lengths that the parsers ask for; any other one is read by the compiler's way.
///
/// # Safety
/// `from..from + N` is memory that the program may read.
#[inline(always)]
pub unsafe fn array<const N: usize>(from: usize) -> [u8; N] {
    let mut to = MaybeUninit::<[u8; N]>::uninit();
    match N {
        2 => put!(to, from, two, 0, u16),
        4 => put!(to, from, four, 0, u32),
        8 => put!(to, from, eight, 0, u64),
        12 => {
            put!(to, from, eight, 0, u64);
            put!(to, from, four, 8, u32);
        }
        16 => {
            put!(to, from, eight, 0, u64);
            put!(to, from, eight, 8, u64);
        }
        20 => {
            put!(to, from, eight, 0, u64);
            put!(to, from, eight, 8, u64);
            put!(to, from, four, 16, u32);
        }
        // SAFETY: by the contract of this function; any bytes are a valid array.
        _ => return unsafe { core::ptr::read_unaligned(from as *const [u8; N]) },
    }
    // SAFETY: every byte was written above.
    unsafe { to.assume_init() }
}
