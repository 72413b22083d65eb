//! Injected faults, quotas, and the counters of both.

pub(crate) mod counters;
pub(crate) mod injected_fault;
pub(crate) mod operation;
pub(crate) mod quotas;
