//! Ctrl-C: the first one asks a command to end, the second one ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longhaul::{Error, Result};

/// Calls `ask` on the first Ctrl-C (or SIGTERM); a second one exits at once with 130.
///
/// # Errors
/// When the handler cannot be installed.
pub fn on_interrupt(ask: impl Fn() + Send + 'static) -> Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    let handler = move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        ask();
    };
    ctrlc::set_handler(handler).map_err(|e| Error::argument(format!("Ctrl-C cannot be caught: {e}")))
}
