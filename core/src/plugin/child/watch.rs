//! The one thread that stands behind a plugin's process: it started it, reads
//! what it says, writes what waits for it, and sees its end.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Child,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{conversation::Conversation, ending::Killed, life::Life};
use crate::plugin::frame::{Decoder, ToWorker};

/// From its start to its first word of readiness.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Between the end of its socket and that of the process.
const EXIT_LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked after where the system cannot tell of its end.
const LOOK: Duration = Duration::from_millis(100);
/// How often what was dropped of its log is told.
const TELL: Duration = Duration::from_secs(1);
const PIECE: usize = 64 * 1024;
/// Pieces of one stream before the others are looked at.
const AT_ONCE: usize = 8;
/// Pieces that are read of a process that is over. The system holds fewer.
const AT_LAST: usize = 64;

/// What leads from the process, and its own end.
pub(super) struct Streams {
    pub(super) socket: UnixStream,
    pub(super) said: File,
    /// Readable when the outbox has something to write.
    pub(super) woken: UnixStream,
}

/// What a stream has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// More, perhaps later.
    More,
    /// Nothing any more.
    Nothing,
}

/// Watches until the process is over. It is not reaped.
pub(super) fn watch(
    life: &Life,
    process: &mut Child,
    streams: &Streams,
    conversation: &mut Conversation<'_>,
) {
    let end = pidfd(process);
    let ready_by = Instant::now() + READY_LIMIT;
    let mut exit_by: Option<Instant> = None;
    let (mut socket, mut said) = (Left::More, Left::More);
    let mut decoder = Decoder::default();
    loop {
        let now = Instant::now();
        conversation.tell_dropped(now);
        let mut wake_at = exit_by;
        let mut by = |at: Instant| wake_at = Some(wake_at.map_or(at, |other| other.min(at)));
        if !life.is_ready() && exit_by.is_none() {
            by(ready_by);
        }
        if conversation.owes_telling() {
            by(now + TELL);
        }
        if end.is_none() {
            by(now + LOOK);
        }
        let mut wanted = PollFlags::IN;
        if life.outbox().is_waiting() {
            wanted |= PollFlags::OUT;
        }
        let nothing = PollFlags::empty();
        let mut polled = [
            PollFd::new(&streams.woken, PollFlags::IN),
            match &end {
                Some(end) => PollFd::new(end, PollFlags::IN),
                None => PollFd::new(&streams.woken, nothing),
            },
            match socket {
                Left::More => PollFd::new(&streams.socket, wanted),
                Left::Nothing => PollFd::new(&streams.woken, nothing),
            },
            match said {
                Left::More => PollFd::new(&streams.said, PollFlags::IN),
                Left::Nothing => PollFd::new(&streams.woken, nothing),
            },
        ];
        let timeout = wake_at.map(|at| timespec(at.saturating_duration_since(now)));
        if let Err(error) = poll(&mut polled, timeout.as_ref())
            && error != Errno::INTR
        {
            life.kill(Killed::Fault(format!("a fault of the system: {error}")));
        }
        let [woken, ended, spoke, wrote] = polled.map(|polled| polled.revents());
        if !woken.is_empty() {
            let mut bytes = [0; 256];
            // All that counts is that there was something.
            while matches!((&streams.woken).read(&mut bytes), Ok(256)) {}
        }
        if spoke.contains(PollFlags::OUT) {
            // What is wrong with it shows in reading, too.
            let _ = life.outbox().flush();
        }
        if spoke.intersects(!PollFlags::OUT) && socket == Left::More {
            socket = listen(&streams.socket, AT_ONCE, &mut decoder, life, conversation);
            if socket == Left::Nothing {
                exit_by = exit_by.or(Some(now + EXIT_LIMIT));
            }
        }
        if !wrote.is_empty() && said == Left::More {
            said = overhear(&streams.said, AT_ONCE, conversation);
        }
        if conversation.is_finished() && exit_by.is_none() {
            life.finish();
            // It ends when it reads this.
            let _ = streams.socket.shutdown(std::net::Shutdown::Write);
            exit_by = Some(now + EXIT_LIMIT);
        }
        let over = match &end {
            Some(_) => !ended.is_empty(),
            None => is_over(process),
        };
        if over {
            if socket == Left::More {
                listen(&streams.socket, AT_LAST, &mut decoder, life, conversation);
            }
            if said == Left::More {
                overhear(&streams.said, AT_LAST, conversation);
            }
            return;
        }
        if !life.is_ready() && exit_by.is_none() && now >= ready_by {
            life.kill(Killed::Silent);
        }
        if exit_by.is_some_and(|by| now >= by) {
            exit_by = None;
            life.kill(Killed::Fault(
                "its silence: it closed its connection to the worker and went on".to_owned(),
            ));
        }
    }
}

/// Reads messages. A process that breaks the protocol is not heard any more.
fn listen(
    mut socket: &UnixStream,
    pieces: usize,
    decoder: &mut Decoder,
    life: &Life,
    conversation: &mut Conversation<'_>,
) -> Left {
    let mut piece = vec![0; PIECE];
    for _ in 0..pieces {
        let length = match socket.read(&mut piece) {
            Ok(0) => return Left::Nothing,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Left::More,
            Err(_) => return Left::Nothing,
        };
        decoder.extend(&piece[..length]);
        loop {
            let handled = match decoder.next::<ToWorker>() {
                Ok(None) => break,
                Ok(Some(message)) => conversation.hear(message.report),
                Err(error) => Err(error.to_string()),
            };
            if let Err(fault) = handled {
                life.kill(Killed::Fault(format!("a breach of the protocol: {fault}")));
                return Left::Nothing;
            }
        }
        if length < piece.len() {
            break;
        }
    }
    Left::More
}

/// Reads what it writes to its standard output and error.
fn overhear(mut said: &File, pieces: usize, conversation: &mut Conversation<'_>) -> Left {
    let mut piece = [0; 8 * 1024];
    for _ in 0..pieces {
        match said.read(&mut piece) {
            Ok(0) => return Left::Nothing,
            Ok(length) => conversation.overhear(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Left::More,
            Err(_) => return Left::Nothing,
        }
    }
    Left::More
}

/// Readable when the process is over.
#[cfg(target_os = "linux")]
fn pidfd(process: &Child) -> Option<OwnedFd> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    let pid = Pid::from_raw(i32::try_from(process.id()).ok()?)?;
    // A kernel before 5.3 does not know it.
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn pidfd(_: &Child) -> Option<OwnedFd> {
    None
}

/// Whether it is over, without reaping it.
fn is_over(process: &Child) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| {
        // What cannot be waited for is no process of ours.
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
    })
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up: to wake too early is to spin.
    let duration = duration + Duration::from_millis(1);
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
