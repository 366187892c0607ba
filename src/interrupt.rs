//! What Ctrl-C and `kill` do: stop all sandboxes, then end as any failed command ends.

use std::sync::OnceLock;

use anyhow::Result;
use ibuild::stages::sandbox::Cancel;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static CANCEL: OnceLock<Cancel> = OnceLock::new();

extern "C" fn on_signal(_: libc::c_int) {
    // Reading the cell and storing a flag are all that happens: both are safe in a signal handler.
    if let Some(cancel) = CANCEL.get() {
        cancel.cancel();
    }
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
