//! A program that runs for a test and never outlives it.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::PATIENCE;

/// A running program with all that it wrote. Dropping it kills it; if the test
/// failed, what it wrote is shown.
pub struct Program {
    name: String,
    child: Child,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    count: watch::Sender<usize>,
}

impl Program {
    /// Starts it.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let log = Arc::new(Log::default());
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let readers = vec![
            tokio::spawn(read(stdout, Arc::clone(&log))),
            tokio::spawn(read(stderr, Arc::clone(&log))),
        ];
        Self {
            name: name.to_owned(),
            child,
            log,
            readers,
        }
    }

    /// Waits for a line that contains `text`; lines from before count.
    pub async fn says(&self, text: &str) -> String {
        let mut count = self.log.count.subscribe();
        let found = timeout(PATIENCE, async {
            loop {
                count.borrow_and_update();
                if let Some(line) = self.lines().into_iter().find(|line| line.contains(text)) {
                    return line;
                }
                count.changed().await.expect("the log outlives this");
            }
        });
        match found.await {
            Ok(line) => line,
            Err(_) => panic!("{} never said {text:?}", self.name),
        }
    }

    /// All that it wrote so far, on both streams.
    pub fn lines(&self) -> Vec<String> {
        self.log.lines.lock().expect("no reader panics").clone()
    }

    /// The same as one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits for its end, and until all that it wrote is in the log.
    pub async fn exit(&mut self) -> ExitStatus {
        let status = match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("it can be waited for"),
            Err(_) => panic!("{} does not end", self.name),
        };
        for reader in self.readers.drain(..) {
            reader.await.expect("no reader panics");
        }
        status
    }

    /// Waits for its end; its exit code.
    pub async fn exit_code(&mut self) -> i32 {
        let status = self.exit().await;
        status
            .code()
            .unwrap_or_else(|| panic!("{} ended by {status}", self.name))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("it can be waited for")
            .is_none()
    }

    /// Asks it to end, as service managers do.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    /// Lets it do nothing until it is resumed.
    pub fn suspend(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// Ends it without a chance to do anything, and waits.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal).expect("it is ours");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}\n---", self.name, self.text());
        }
    }
}

/// Asks again and again until there is an answer, for states that nothing
/// announces.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(PATIENCE, async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_) => panic!("never came: {what}"),
    }
}

async fn read(stream: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        log.lines.lock().expect("no reader panics").push(line);
        log.count.send_modify(|count| *count += 1);
    }
}
