//! Processes with a time limit.

use std::io::{Read, Seek, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is kept of a process's output.
const PRINTED_BYTES: u64 = 8 << 10;
/// How long a process that was killed has to end; inside the driver it may not.
const KILLED: Duration = Duration::from_secs(10);

/// How a process ended.
pub struct Ended {
    pub success: bool,
    pub timed_out: bool,
    /// In words.
    pub how: String,
    /// The end of what it printed.
    pub printed: String,
}

/// Runs a command to its end, or to the time limit. Its output goes to a file: a pipe that nobody empties would stop
/// it.
pub fn start(command: &mut Command, time_limit: Duration) -> std::io::Result<Ended> {
    let mut printed = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed.try_clone()?);
    let mut child = command.spawn()?;
    let (success, timed_out, how) = match wait(&mut child, time_limit)? {
        Some(status) => (status.success(), false, format!("its process ended: {status}")),
        None => {
            child.kill()?;
            let ended = wait(&mut child, KILLED)?.is_some();
            let rest = if ended { "and was killed" } else { "and could not be killed: it is stuck in the driver" };
            (false, true, format!("it took longer than {} s, {rest}", time_limit.as_secs_f64()))
        }
    };
    let size = printed.seek(SeekFrom::End(0))?;
    printed.seek(SeekFrom::Start(size.saturating_sub(PRINTED_BYTES)))?;
    let mut bytes = Vec::new();
    printed.read_to_end(&mut bytes)?;
    Ok(Ended { success, timed_out, how, printed: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Waits for a process; `None` if it has not ended by then.
fn wait(child: &mut Child, time_limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > time_limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
