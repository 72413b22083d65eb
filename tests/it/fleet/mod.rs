//! Fleets of workers that share the streams of a table.

mod one_process;
