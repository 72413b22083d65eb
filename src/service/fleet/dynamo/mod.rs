//! Leases and checkpoints in DynamoDB.

mod checkpoint;
mod create;
mod item;
mod leases;
mod table;

pub use checkpoint::DynamoCheckpoint;
pub use leases::DynamoLeases;
