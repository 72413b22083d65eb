//! An allocator that counts allocations per thread.
#![allow(unsafe_code, reason = "implementing GlobalAlloc needs unsafe; this one only counts and forwards")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allocations of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub current: i64,
    pub peak: i64,
    pub allocations: u64,
}

thread_local!(static USAGE: Cell<Usage> = const { Cell::new(Usage { current: 0, peak: 0, allocations: 0 }) });

pub struct Counting;

fn count(bytes: i64, allocations: u64) {
    // Fails only while the thread is being destroyed.
    let _ = USAGE.try_with(|usage| {
        let mut now = usage.get();
        now.current += bytes;
        now.peak = now.peak.max(now.current);
        now.allocations += allocations;
        usage.set(now);
    });
}

// SAFETY: forwards every call to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 1);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64), 0);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Counts the new block before the old one is freed, as a moving reallocation does.
        count(size as i64, 1);
        count(-(layout.size() as i64), 0);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs `work` and returns its memory use: the peak and the remainder, in bytes, and the number of allocations.
pub fn of<T>(work: impl FnOnce() -> T) -> (T, Usage) {
    let before = USAGE.get();
    USAGE.set(Usage { peak: before.current, allocations: 0, ..before });
    let result = work();
    let after = USAGE.get();
    (result, Usage { current: after.current - before.current, peak: after.peak - before.current, ..after })
}
