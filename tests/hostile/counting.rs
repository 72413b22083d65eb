//! An allocator that counts, a thread at a time.
#![allow(unsafe_code, reason = "an allocator cannot be written without; it only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a thread has allocated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub current: i64,
    pub peak: i64,
    pub allocations: u64,
}

thread_local!(static USAGE: Cell<Usage> = const { Cell::new(Usage { current: 0, peak: 0, allocations: 0 }) });

pub struct Counting;

fn count(bytes: i64, allocations: u64) {
    // Not while a thread is being torn down.
    let _ = USAGE.try_with(|usage| {
        let mut now = usage.get();
        now.current += bytes;
        now.peak = now.peak.max(now.current);
        now.allocations += allocations;
        usage.set(now);
    });
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if the new one were there before the old one is gone.
        count(size as i64, 1);
        count(-(layout.size() as i64), 0);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What some work allocates at most beyond what was there, and how often.
pub fn of<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let before = USAGE.get();
    USAGE.set(Usage { peak: before.current, allocations: 0, ..before });
    let result = work();
    let after = USAGE.get();
    (result, Usage { current: after.current - before.current, peak: after.peak - before.current, ..after })
}
