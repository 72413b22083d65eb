//! The commands, a file each.

pub(crate) mod clip;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod doctor;
pub(crate) mod fleet;
pub(crate) mod frame;
pub(crate) mod frames;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod put;
pub(crate) mod record;
pub(crate) mod save;
pub(crate) mod serve;
pub(crate) mod tail;
pub(crate) mod url;
pub(crate) mod watch;
pub(crate) mod wav;
