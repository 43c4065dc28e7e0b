//! What a program writes, on its way to whoever watches.

use std::{io, os::fd::OwnedFd};

use aegis_plugin_api::Output;
use tokio::{io::AsyncReadExt, net::unix::pipe};

const CHUNK: usize = 16 * 1024;

/// Standard output and error of a program: one pipe, so that they keep the order
/// in which they were written.
#[derive(Debug)]
pub struct Outflow {
    pipe: Option<pipe::Receiver>,
    to: Output,
    limit: u64,
    written: u64,
    buffer: Box<[u8]>,
}

impl Outflow {
    pub fn new(pipe: OwnedFd, to: Output, limit: u64) -> io::Result<Self> {
        Ok(Self {
            pipe: Some(pipe::Receiver::from_owned_fd(pipe)?),
            to,
            limit,
            written: 0,
            buffer: vec![0; CHUNK].into(),
        })
    }

    /// Everyone who could write has closed it.
    pub fn is_closed(&self) -> bool {
        self.pipe.is_none()
    }

    /// What was written so far, in bytes, passed on or not.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether not all of it was passed on.
    pub fn is_cut(&self) -> bool {
        self.written > self.limit
    }

    /// Waits for more and passes it on. Beyond the limit it is read and dropped,
    /// so that the program can go on.
    pub async fn pass_on(&mut self) {
        let Some(pipe) = &mut self.pipe else {
            return;
        };
        match pipe.read(&mut self.buffer).await {
            Ok(count) if count > 0 => {
                let room = self.limit.saturating_sub(self.written);
                let kept = usize::try_from(room).unwrap_or(usize::MAX).min(count);
                if kept > 0 {
                    self.to.append(&self.buffer[..kept]);
                }
                self.written += count as u64;
            }
            _ => self.pipe = None,
        }
    }

    /// Passes on all that is still to come.
    pub async fn drain(&mut self) {
        while !self.is_closed() {
            self.pass_on().await;
        }
    }
}
