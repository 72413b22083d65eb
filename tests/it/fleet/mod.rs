//! Fleets of workers that share the streams of a table.

mod capacity;
mod contract;
mod dynamo;
mod faults;
mod one_process;
#[cfg(unix)]
mod postgres;
mod processes;
