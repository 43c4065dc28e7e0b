use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking};

use super::*;
use crate::{identity::Identity, journal::Journal};

struct Served {
    _home: TempDir,
    dir: PathBuf,
    task: JoinHandle<()>,
}

impl Served {
    fn start(folder: &str, patience: Duration) -> Self {
        let home = TempDir::new().expect("a directory");
        let dir = home.path().join(folder);
        let identity = Arc::new(Identity::open(&dir, None).expect("an identity"));
        let mut door = Door::open(identity).expect("a socket");
        door.patience = patience;
        let task = tokio::spawn(door.serve(Journal::new(1024), Arc::new(|_| false)));
        Self {
            _home: home,
            dir,
            task,
        }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.join(place::NAME)).expect("it listens")
    }

    async fn ask(&self) -> Result<Answer, AskError> {
        let dir = self.dir.clone();
        let request = Request::Journal {
            filter: JournalFilter::All,
            most: 10,
        };
        spawn_blocking(move || ask(&dir, &request))
            .await
            .expect("no panic")
    }
}

/// What comes back for these bytes, until the worker hangs up.
async fn say(mut stream: UnixStream, bytes: Vec<u8>) -> String {
    spawn_blocking(move || {
        // It may hang up before it has read all.
        let _ = stream.write_all(&bytes);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    })
    .await
    .expect("no panic")
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_running_worker_answers_its_owner_and_leaves_no_socket() {
    let served = Served::start("state", LONG);
    let socket = served.dir.join(place::NAME);
    let mode = fs::metadata(&socket).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let empty = Answer::Journal(Listing::default());
    assert_eq!(served.ask().await.expect("answered"), empty);
    assert_eq!(served.ask().await.expect("answered"), empty);
    served.task.abort();
    assert!((&mut { served.task }).await.is_err());
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_path_that_fits_no_address_is_no_obstacle() {
    let folder = ["d".repeat(100), "e".repeat(100)].join("/");
    let served = Served::start(&folder, LONG);
    served.ask().await.expect("answered");
}

#[tokio::test]
async fn what_an_earlier_process_left_is_replaced_and_is_no_worker() {
    let home = TempDir::new().expect("a directory");
    let identity = Arc::new(Identity::open(home.path(), None).expect("an identity"));
    let request = Request::Journal {
        filter: JournalFilter::Held,
        most: 1,
    };
    let asked = || ask(home.path(), &request);
    assert!(matches!(asked(), Err(AskError::NotRunning)));
    // As a killed worker leaves it: a file at which nobody listens.
    for name in ["worker.sock", ".worker.sock.new"] {
        drop(std::os::unix::net::UnixListener::bind(home.path().join(name)).expect("bound"));
    }
    assert!(matches!(asked(), Err(AskError::NotRunning)));
    let door = Door::open(identity).expect("replaced");
    let task = tokio::spawn(door.serve(Journal::new(1024), Arc::new(|_| false)));
    let answer = spawn_blocking({
        let (dir, request) = (home.path().to_owned(), request.clone());
        move || ask(&dir, &request)
    });
    answer.await.expect("no panic").expect("answered");
    task.abort();
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_what_never_ends_is_cut() {
    let served = Served::start("state", LONG);
    for bad in ["\n", "{}\n", "journal\n", "{\"reboot\":{}}\n"] {
        let answer = say(served.connect(), bad.into()).await;
        assert!(answer.contains("does not understand"), "{bad}: {answer}");
    }
    let endless = say(served.connect(), vec![b'x'; 1024 * 1024]).await;
    assert!(
        endless.is_empty() || endless.contains("4096 bytes"),
        "{endless}"
    );
    served.ask().await.expect("answered");
}

/// Whether the worker hangs up without a word, well before [`LONG`] is over.
async fn is_left(mut stream: UnixStream) -> bool {
    let read = spawn_blocking(move || {
        stream.set_read_timeout(Some(LONG / 3)).expect("set");
        stream.read(&mut [0; 1])
    });
    matches!(read.await.expect("no panic"), Ok(0))
}

#[tokio::test]
async fn who_says_nothing_is_left() {
    let served = Served::start("state", Duration::from_millis(50));
    assert!(is_left(served.connect()).await);
}

#[tokio::test]
async fn who_comes_beyond_the_limit_is_turned_away_until_there_is_room() {
    let served = Served::start("state", LONG);
    let silent: Vec<_> = (0..4).map(|_| served.connect()).collect();
    assert!(is_left(served.connect()).await);
    drop(silent);
    let mut answer = served.ask().await;
    while matches!(answer, Err(AskError::NoAnswer { .. })) {
        answer = served.ask().await;
    }
    answer.expect("there is room again");
}
