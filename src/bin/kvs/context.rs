//! [`Context`]: what every command gets.

use crate::aws::AwsOptions;
use crate::screen::Screen;
use crate::signals::Signals;

/// The screen, the connection to AWS and the signals. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) screen: Screen,
    pub(crate) aws: AwsOptions,
    pub(crate) signals: Signals,
}
