//! What Ctrl-C and `kill` do: stop all sandboxes, then end as any failed command ends.

use std::sync::OnceLock;
use std::time::Duration;

use ibuild::Result;
use ibuild::stages::sandbox::Cancel;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::status::Status;
use crate::terminal::tell;

static CANCEL: OnceLock<Cancel> = OnceLock::new();

extern "C" fn on_signal(_: libc::c_int) {
    // Reading the cell and storing a flag are all that happens: both are safe in a signal handler.
    if let Some(cancel) = CANCEL.get() {
        cancel.cancel();
    }
}

/// Whether somebody has asked this program to stop.
pub fn is_asked() -> bool {
    CANCEL.get().is_some_and(Cancel::is_cancelled)
}

/// What a build may still do after it was asked to stop: together with the pauses between two looks, less than a second.
const GRACE: Duration = Duration::from_millis(700);
const GLANCE: Duration = Duration::from_millis(100);

/// As [`cancel_on_signals`], for a command that may wait for something that no wish reaches: a slow mirror, a disk. It ends
/// soon, whatever it waits for, as if it were killed: a store is made for that.
pub fn cancel_in_time() -> Result<Cancel> {
    let cancel = cancel_on_signals()?;
    let wish = cancel.clone();
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        while !wish.is_cancelled() {
            std::thread::sleep(GLANCE);
        }
        std::thread::sleep(GRACE);
        tell!("interrupted");
        std::process::exit(Status::Interrupted as i32);
    })?;
    Ok(cancel)
}

/// A wish to stop that comes true with SIGINT, SIGTERM or SIGHUP. A second signal ends the program at once: the kernel
/// then takes down what runs.
pub fn cancel_on_signals() -> Result<Cancel> {
    let cancel = CANCEL.get_or_init(Cancel::default).clone();
    let action = SigAction::new(
        SigHandler::Handler(on_signal),
        SaFlags::SA_RESETHAND | SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does only what a handler may do.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(cancel)
}
