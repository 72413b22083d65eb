//! Programs that end with this process, however it ends.

use std::ffi::OsStr;

use tokio::process::Command;

/// The variable that tells a new process to become a program, and whose child it is.
#[cfg(target_os = "linux")]
const PARENT: &str = "KVS_TETHERED_TO";

/// Returns the command of a program in a process group of its own, so that Ctrl-C does not reach it.
///
/// On Linux, the program is killed when the thread that starts it ends, even by `kill -9`. Start it on the main thread.
pub(crate) fn command(program: &OsStr) -> Command {
    #[cfg(target_os = "linux")]
    let mut command = {
        // A process can ask only for itself to be killed with its parent. So this program is started again, asks, and
        // becomes the other one.
        let mut command = Command::new("/proc/self/exe");
        command.arg(program).env(PARENT, std::process::id().to_string());
        command
    };
    #[cfg(not(target_os = "linux"))]
    let mut command = Command::new(program);
    #[cfg(unix)]
    command.process_group(0);
    command
}

/// Becomes the program of [`command`], if this process was started for that. Else returns.
#[cfg(target_os = "linux")]
pub(crate) fn become_program() {
    use std::os::unix::process::{CommandExt, parent_id};

    use crate::failure::{Failure, io_text};
    use crate::screen::Screen;

    let Some(parent) = std::env::var_os(PARENT) else { return };
    let asked = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().unwrap_or_default();
    // The parent may have ended before the call.
    if parent_id().to_string().as_str() == parent && asked.is_ok() {
        let error = std::process::Command::new(&program).args(arguments).env_remove(PARENT).exec();
        let failure = Failure::other(format!("cannot run {}", program.display())).why(io_text(&error));
        Screen::new(false, false).failure(&failure);
    }
    std::process::exit(127);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn become_program() {}

/// What is sent to a program and to the processes that it has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    End,
    Kill,
    Pause,
    Continue,
}

/// Sends a signal to the process group of a program. One that has ended ignores it.
#[cfg(unix)]
pub(crate) fn send(id: u32, order: Order) {
    use rustix::process::{Pid, Signal, kill_process_group};

    let signal = match order {
        Order::End => Signal::TERM,
        Order::Kill => Signal::KILL,
        Order::Pause => Signal::STOP,
        Order::Continue => Signal::CONT,
    };
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(not(unix))]
pub(crate) fn send(_: u32, _: Order) {}
