//! The line of a fragment that was saved to a file of its own: as text, and as JSON.

use std::path::Path;

use indicatif::HumanBytes;
use kinesis_video::{Discontinuity, Fragment};
use serde_json::{Value, json};

use crate::time;

/// Returns the line of a saved fragment.
pub(crate) fn text(path: &Path, fragment: &Fragment) -> String {
    let begins = time::local_or_dash(fragment.producer_time().or(fragment.server_time()));
    format!("{}  {begins}  {}", path.display(), HumanBytes(fragment.raw().len() as u64))
}

/// Returns the members of a saved fragment.
pub(crate) fn object(path: &Path, fragment: &Fragment) -> Value {
    json!({
        "path": path.display().to_string(),
        "fragment_number": fragment.number().map(ToString::to_string),
        "producer_time": fragment.producer_time().map(|time| time.to_string()),
        "server_time": fragment.server_time().map(|time| time.to_string()),
        "bytes": fragment.raw().len(),
        "is_loss": fragment.discontinuities().iter().any(Discontinuity::is_loss),
    })
}
