//! The output stream of a call.

use std::io;

use crate::Host;

/// Appends to a command's output, which is streamed to whoever watches and
/// kept up to the worker's limit. Cheap to clone; what is written after the
/// end of the call goes nowhere.
#[derive(Debug, Clone)]
pub struct Output {
    pub(crate) host: Host,
    pub(crate) call: u64,
}

impl Output {
    /// Appends `data`. Never blocks.
    pub fn append(&self, data: &[u8]) {
        let _ = self.host.0.link.with(|port| port.output(self.call, data));
    }
}

impl io::Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.append(data);
        Ok(data.len())
    }

    // Keeps a formatted line in one piece instead of one call per argument.
    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        match text.as_str() {
            Some(text) => self.append(text.as_bytes()),
            None => self.append(text.to_string().as_bytes()),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
