//! The process's end of the socket.

use std::{
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{
    plugin::frame::{Decoder, FrameError, Order, Report, ToPlugin},
    unpoisoned::lock,
};

const PIECE: usize = 64 * 1024;
/// How often the descriptor is looked after.
const LOOK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What is said. Whoever says something waits while the worker does not read:
/// that slows down a plugin that floods, and nobody else.
#[derive(Debug)]
pub(super) struct Link {
    socket: Mutex<UnixStream>,
}

/// What is heard.
#[derive(Debug)]
pub(super) struct Orders {
    socket: UnixStream,
    decoder: Decoder,
    piece: Vec<u8>,
}

/// Both ends of the talk.
pub(super) fn over(socket: OwnedFd) -> io::Result<(Arc<Link>, Orders)> {
    let socket = UnixStream::from(socket);
    // It fails on what is no socket.
    socket.peer_addr()?;
    let link = Link {
        socket: Mutex::new(socket.try_clone()?),
    };
    let orders = Orders {
        socket,
        decoder: Decoder::default(),
        piece: vec![0; PIECE],
    };
    Ok((Arc::new(link), orders))
}

impl Link {
    /// Says something. That the worker does not hear it any more is no error:
    /// this process ends then.
    ///
    /// # Errors
    ///
    /// It fits no message.
    pub(super) fn send(&self, report: Report) -> Result<(), FrameError> {
        let frame = report.into_frame()?;
        // The reading end sees the end of the connection, too.
        let _ = lock(&self.socket).write_all(&frame);
        Ok(())
    }
}

impl Orders {
    /// The next one; `None` if the connection is over, or what comes through it
    /// is no order. While something is `busy` here that could have closed the
    /// descriptor, it is looked after: to wait for one keeps what it led to open.
    pub(super) fn next(&mut self, busy: impl Fn() -> bool) -> Option<Order> {
        loop {
            match self.decoder.next::<ToPlugin>() {
                Ok(Some(message)) => return message.order,
                Ok(None) => {}
                Err(error) => {
                    eprintln!("the worker sent {error}");
                    return None;
                }
            }
            let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
            let look = busy().then_some(&LOOK);
            if matches!(poll(&mut polled, look), Ok(0) | Err(Errno::INTR)) {
                continue;
            }
            match self.socket.read(&mut self.piece) {
                Ok(0) => return None,
                Ok(length) => self.decoder.extend(&self.piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}
