//! What is on its way to a plugin's process. Nobody who sends waits: what the
//! socket does not take at once is queued, and what the queue does not hold is
//! refused.

use std::{
    collections::VecDeque,
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::{Mutex, MutexGuard},
};

use rustix::{io::Errno, net::SendFlags};

use crate::{plugin::frame::MAX_FRAME, unpoisoned::lock};

/// Bytes of calls that wait, besides the one under way.
const CALLS_QUEUED: usize = 4 * MAX_FRAME;
/// Bytes of all that waits. What is not a call is small, but for answers.
const ALL_QUEUED: usize = 2 * CALLS_QUEUED;

/// The worker's writing end.
#[derive(Debug)]
pub(super) struct Outbox {
    socket: UnixStream,
    queue: Mutex<Queue>,
    /// Wakes the thread that watches the socket: there is something to write.
    waker: UnixStream,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    /// How much of the first is written.
    written: usize,
    /// Of all frames.
    bytes: usize,
    closed: bool,
}

/// Whose frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// A call's, which can be refused.
    Call,
    /// All others.
    Reserved,
}

/// Why a frame is not on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The process does not read what it was sent.
    Full,
    /// The process is gone.
    Closed,
}

impl Outbox {
    /// Over a socket that does not block. The other end of `waker` is readable
    /// when [`flush`](Self::flush) has work.
    pub(super) fn new(socket: UnixStream, waker: UnixStream) -> Self {
        Self {
            socket,
            queue: Mutex::default(),
            waker,
        }
    }

    /// Sends a frame, or has it sent.
    pub(super) fn send(&self, frame: Vec<u8>, room: Room) -> Result<(), Unsent> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Unsent::Closed);
        }
        let mut written = 0;
        if queue.frames.is_empty() {
            match self.write(&frame) {
                Ok(length) if length == frame.len() => return Ok(()),
                Ok(length) => written = length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    queue.closed = true;
                    return Err(Unsent::Closed);
                }
            }
        }
        let most = match room {
            Room::Call => CALLS_QUEUED,
            Room::Reserved => ALL_QUEUED,
        };
        if written == 0 && queue.bytes + frame.len() > most {
            return Err(Unsent::Full);
        }
        if queue.frames.is_empty() {
            queue.written = written;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        drop(queue);
        // It is awake already if this finds no room.
        let _ = (&self.waker).write(&[0]);
        Ok(())
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&self) -> io::Result<()> {
        let mut queue = self.queue();
        while let Some(frame) = queue.frames.front() {
            match self.write(&frame[queue.written..]) {
                Ok(length) => queue.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    queue.closed = true;
                    return Err(error);
                }
            }
            if frame_is_out(&queue) {
                let done = queue.frames.pop_front().map_or(0, |frame| frame.len());
                queue.bytes -= done;
                queue.written = 0;
            }
        }
        Ok(())
    }

    /// Whether [`flush`](Self::flush) has work.
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue().frames.is_empty()
    }

    /// Takes no more, and forgets what waits.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.frames.clear();
        queue.bytes = 0;
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            // A process that is gone is an error, and no signal.
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

fn frame_is_out(queue: &Queue) -> bool {
    queue
        .frames
        .front()
        .is_some_and(|frame| frame.len() == queue.written)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pair() -> (Outbox, UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (waker, woken) = UnixStream::pair().expect("a pair");
        for socket in [&ours, &waker, &woken] {
            socket.set_nonblocking(true).expect("a socket");
        }
        (Outbox::new(ours, waker), theirs, woken)
    }

    #[test]
    fn what_does_not_fit_waits_in_its_order_and_then_calls_are_refused_first() {
        let (outbox, mut theirs, mut woken) = pair();
        let frame = |number: u8| vec![number; MAX_FRAME / 2];
        let mut sent: Vec<u8> = Vec::new();
        let mut number = 0;
        while outbox.send(frame(number), Room::Call).is_ok() {
            sent.extend(frame(number));
            number += 1;
        }
        assert!(outbox.is_waiting());
        assert!(woken.read(&mut [0; 8]).expect("woken") > 0);
        assert_eq!(outbox.send(frame(number), Room::Call), Err(Unsent::Full));
        outbox
            .send(frame(200), Room::Reserved)
            .expect("there is room for what is no call");
        sent.extend(frame(200));

        let mut received = vec![0; sent.len()];
        let mut filled = 0;
        while filled < received.len() {
            outbox.flush().expect("open");
            filled += theirs.read(&mut received[filled..]).expect("open");
        }
        assert!(received == sent, "every byte, in order");
        assert!(!outbox.is_waiting());
    }

    #[test]
    fn a_process_that_is_gone_takes_nothing() {
        let (outbox, theirs, _woken) = pair();
        drop(theirs);
        assert_eq!(outbox.send(vec![1], Room::Call), Err(Unsent::Closed));
        assert_eq!(outbox.send(vec![1], Room::Reserved), Err(Unsent::Closed));
    }
}
