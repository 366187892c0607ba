//! QEMU's monitor: one JSON object a line over a socket (QEMU Machine Protocol).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::MachineError;

/// QEMU answers within milliseconds unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the monitor.
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the socket `name` in `dir`.
    ///
    /// By way of `/proc`, because a socket's address has room for 107 bytes only.
    pub fn connect(dir: &Path, name: &str) -> Result<Monitor, MachineError> {
        let path = dir.join(name);
        let failed = |error| MachineError::io("connect to QEMU's monitor at", &path)(error);
        let handle = File::open(dir).map_err(failed)?;
        let short = format!("/proc/self/fd/{}/{name}", handle.as_raw_fd());
        let stream = UnixStream::connect(short).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut monitor = Monitor { stream: BufReader::new(stream) };
        monitor.read("greet")?;
        monitor.execute("negotiate", json!({ "execute": "qmp_capabilities" }))?;
        Ok(monitor)
    }

    /// Writes a picture of the screen to `path` as PNG.
    pub fn screenshot(&mut self, path: &str) -> Result<(), MachineError> {
        let arguments = json!({ "filename": path, "format": "png" });
        self.execute("take a screenshot", json!({ "execute": "screendump", "arguments": arguments }))
    }

    /// Presses the power button.
    pub fn power_button(&mut self) -> Result<(), MachineError> {
        self.execute("press the power button", json!({ "execute": "system_powerdown" }))
    }

    /// Starts the machine anew, as if its power had failed for a moment.
    pub fn reset(&mut self) -> Result<(), MachineError> {
        self.execute("reset the machine", json!({ "execute": "system_reset" }))
    }

    /// Stops the machine's processors and devices where they are.
    pub fn freeze(&mut self) -> Result<(), MachineError> {
        self.execute("stop the machine", json!({ "execute": "stop" }))
    }

    /// Lets them go on.
    pub fn thaw(&mut self) -> Result<(), MachineError> {
        self.execute("let the machine go on", json!({ "execute": "cont" }))
    }

    fn execute(&mut self, act: &'static str, command: Value) -> Result<(), MachineError> {
        let stream = self.stream.get_mut();
        writeln!(stream, "{command}").map_err(|error| broken(act, &error))?;
        loop {
            // Events come in between.
            let answer = self.read(act)?;
            if let Some(error) = answer.get("error") {
                let reason = error["desc"].as_str().unwrap_or("it gave no reason").to_owned();
                return Err(MachineError::Monitor { act, reason });
            }
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn read(&mut self, act: &'static str) -> Result<Value, MachineError> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line).map_err(|error| broken(act, &error))?;
        if length == 0 {
            return Err(broken(act, &io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_str(&line).map_err(|error| broken(act, &error.into()))
    }
}

fn broken(act: &'static str, error: &io::Error) -> MachineError {
    MachineError::Monitor { act, reason: format!("the monitor does not answer: {error}") }
}
