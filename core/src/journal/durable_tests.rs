mod damage;

use std::{
    path::PathBuf,
    sync::{atomic::Ordering, mpsc},
    time::UNIX_EPOCH,
};

use tempfile::TempDir;
use uuid::Uuid;

use super::*;

mod crashes;

/// A directory with a journal in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal.redb")
    }

    fn open(&self) -> (Journal, Recovery) {
        self.open_with(JournalLimits::default())
    }

    fn open_with(&self, limits: JournalLimits) -> (Journal, Recovery) {
        let options = JournalOptions {
            limits,
            expected: false,
        };
        Journal::open(&self.path(), options).expect("it opens")
    }
}

fn command(id: u128) -> Arc<Command> {
    Arc::new(Command {
        id: CommandId::from_uuid(Uuid::from_u128(id)),
        name: "greet".to_owned(),
        payload: Bytes::from_static(b"{\"name\":\"you\"}"),
        not_before: Some(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789)),
        start_by: None,
        timeout: Some(Duration::from_millis(1500)),
        issuer: "alice".to_owned(),
        traceparent: String::new(),
        delivery: 1,
    })
}

fn succeeded() -> Ending {
    Ending {
        state: FinalState::Succeeded,
        response: Bytes::from_static(b"1"),
        error: None,
        at: UNIX_EPOCH + Duration::from_secs(2),
    }
}

fn attempt(number: u32, plugin: &str) -> Attempt {
    Attempt {
        number,
        at: UNIX_EPOCH + Duration::from_secs(1),
        effect: Effect::Idempotent,
        plugin: plugin.into(),
        own_process: false,
    }
}

/// Waits until everything that is staged is on disk.
fn sync(journal: &Journal) {
    journal.set_note("sync", Some(b"")).expect("written");
}

fn begin(journal: &Journal, id: CommandId, attempt: &Attempt) {
    let (done, written) = mpsc::channel();
    let at_once = journal.attempt(id, attempt, move || done.send(()).expect("it is awaited"));
    assert!(!at_once, "an attempt is written before the handler begins");
    written.recv().expect("it is written");
}

/// What the reader tells, until `count` updates are there.
async fn tells(reader: &mut JournalReader, count: usize) -> Vec<JournalUpdate> {
    let mut told = Vec::new();
    while told.len() < count {
        told.push(reader.next().await);
    }
    assert_eq!(reader.ready(), None);
    told
}

#[tokio::test]
async fn nothing_is_told_before_it_is_on_disk() {
    let place = Place::new();
    let (journal, _) = place.open();
    let mut reader = journal.reader();
    let id = command(1).id;
    assert_eq!(journal.accept(&command(1), false), Acceptance::New);
    assert_eq!(reader.ready(), None);
    journal.commit_soon();
    assert_eq!(
        tells(&mut reader, 1).await,
        [JournalUpdate::Accepted { id }]
    );
    begin(&journal, id, &attempt(1, "greeter"));
    let outcome = journal.finish(id, succeeded()).expect("its first end");
    assert_eq!(
        tells(&mut reader, 1).await,
        [JournalUpdate::Finished(outcome)]
    );
}

#[tokio::test]
async fn the_next_life_has_what_was_written_as_it_was() {
    let place = Place::new();
    let (journal, first) = place.open();
    assert!(first.commands.is_empty() && first.crashes.is_empty());
    for n in 1..=4 {
        journal.accept(&command(n), false);
    }
    begin(&journal, command(2).id, &attempt(1, "greeter"));
    journal
        .checkpoint(command(2).id, Bytes::from_static(b"half"))
        .expect("written");
    begin(&journal, command(3).id, &attempt(1, "greeter"));
    journal.running(command(3).id, UNIX_EPOCH + Duration::from_secs(1), 1);
    journal.output(command(3).id, b"some output");
    let outcome = journal.finish(command(3).id, succeeded()).expect("its end");
    let failed = Ending {
        state: FinalState::Failed,
        response: Bytes::new(),
        error: Some(
            HandlerError::new("disk-full", "no room")
                .help("make room")
                .retryable(),
        ),
        at: UNIX_EPOCH + Duration::from_nanos(2_000_000_001),
    };
    let failed = journal.finish(command(4).id, failed).expect("its end");
    sync(&journal);
    drop(journal);

    let (journal, recovery) = place.open();
    let commands: Vec<_> = recovery
        .commands
        .iter()
        .map(|it| (*it.command).clone())
        .collect();
    let mut expected = [(*command(1)).clone(), (*command(2)).clone()];
    for command in &mut expected {
        command.delivery = 0;
    }
    assert_eq!(commands, expected);
    assert_eq!(recovery.commands[0].attempt, None);
    assert_eq!(recovery.commands[1].attempt, Some(attempt(1, "greeter")));
    assert_eq!(
        journal.checkpoint_of(command(2).id).as_deref(),
        Some(b"half".as_ref())
    );
    let mut reader = journal.reader();
    let told = tells(&mut reader, 5).await;
    assert!(told.contains(&JournalUpdate::Finished(outcome)), "{told:?}");
    assert!(told.contains(&JournalUpdate::Finished(failed)), "{told:?}");
    assert_eq!(journal.held().len(), 4);
    assert_eq!(
        journal.accept(&command(1), false),
        Acceptance::Known,
        "a redelivery is known by its content"
    );
}

#[tokio::test]
async fn what_was_acknowledged_is_answered_in_the_next_life_and_not_run() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.accept(&command(1), false);
    let outcome = journal.finish(command(1).id, succeeded()).expect("its end");
    tells(&mut journal.reader(), 1).await;
    journal.acknowledge(&[command(1).id]);
    // Before and after it is written.
    assert_eq!(journal.accept(&command(1), false), Acceptance::Known);
    tells(&mut journal.reader(), 1).await;
    journal.acknowledge(&[command(1).id]);
    drop(journal);

    let (journal, recovery) = place.open();
    assert!(recovery.commands.is_empty());
    assert!(journal.held().is_empty());
    assert_eq!(journal.accept(&command(1), false), Acceptance::Known);
    let other = Command {
        payload: Bytes::from_static(b"{}"),
        ..(*command(1)).clone()
    };
    assert_eq!(
        tells(&mut journal.reader(), 1).await,
        [JournalUpdate::Finished(outcome)]
    );
    journal.acknowledge(&[command(1).id]);
    assert_eq!(journal.accept(&Arc::new(other), false), Acceptance::Reused);
}

#[tokio::test]
async fn what_is_remembered_on_disk_is_bounded_and_never_what_is_not_acknowledged() {
    let place = Place::new();
    let limits = JournalLimits {
        acknowledged: 10,
        ..JournalLimits::default()
    };
    let (journal, _) = place.open_with(limits);
    journal.accept(&command(1000), false);
    for n in 0..50 {
        journal.accept(&command(n), false);
        journal.finish(command(n).id, succeeded());
        // The command that is not over was told before.
        let count = if n == 0 { 2 } else { 1 };
        let mut reader = journal.reader();
        sync(&journal);
        tells(&mut reader, count.max(2)).await;
        journal.acknowledge(&[command(n).id]);
    }
    sync(&journal);
    let all = journal.list(JournalFilter::All, usize::MAX);
    assert_eq!(all.lines.len(), 11);
    assert_eq!(journal.accept(&command(0), false), Acceptance::New);
    assert_eq!(journal.accept(&command(49), false), Acceptance::Known);
    assert_eq!(journal.accept(&command(1000), false), Acceptance::Known);
}

/// Has the disk refuse whatever is written from now on.
fn refuse(journal: &Journal, refuses: bool) {
    let disk = journal.shared.disk.as_ref().expect("it has a file");
    disk.refuses.store(refuses, Ordering::Relaxed);
}

async fn until_well(journal: &Journal) {
    let mut trouble = journal.trouble();
    trouble
        .wait_for(Option::is_none)
        .await
        .expect("the journal lives");
}

#[tokio::test]
async fn a_note_that_was_said_not_to_be_written_is_not_written_later() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.set_note("drain", Some(b"old")).expect("written");
    refuse(&journal, true);
    assert!(journal.set_note("drain", Some(b"new")).is_err());
    assert!(journal.trouble().borrow().is_some());
    assert!(journal.set_note("drain", None).is_err());
    refuse(&journal, false);
    until_well(&journal).await;
    sync(&journal);
    let old = || Some(b"old".to_vec());
    assert_eq!(journal.note("drain").expect("read"), old());
    drop(journal);
    let (journal, _) = place.open();
    assert_eq!(journal.note("drain").expect("read"), old());
}

#[tokio::test]
async fn nothing_piles_up_where_the_disk_refuses_and_nothing_is_lost() {
    let place = Place::new();
    let (journal, _) = place.open();
    let id = command(1).id;
    journal.accept(&command(1), false);
    begin(&journal, id, &attempt(1, "greeter"));
    refuse(&journal, true);
    for _ in 0..100 {
        let kept = journal.checkpoint(id, Bytes::from_static(b"half"));
        assert!(kept.is_err());
    }
    assert_eq!(
        journal.checkpoint_of(id),
        None,
        "it was said not to be kept"
    );
    assert_eq!(lock(&journal.shared.state).waiting_writes(), 0);
    assert_eq!(
        journal.accept(&command(2), false),
        Acceptance::Unwritable,
        "nothing is run that is not written down"
    );
    let outcome = journal.finish(id, succeeded()).expect("its first end");
    refuse(&journal, false);
    let mut reader = journal.reader();
    let told = loop {
        if let JournalUpdate::Finished(outcome) = reader.next().await {
            break outcome;
        }
    };
    assert_eq!(told, outcome);
    drop((journal, reader));
    let (journal, _) = place.open();
    assert_eq!(journal.held(), [id]);
}

#[test]
fn a_journal_has_one_owner() {
    let place = Place::new();
    let (_journal, _) = place.open();
    let options = JournalOptions {
        limits: JournalLimits::default(),
        expected: false,
    };
    assert!(matches!(
        Journal::open(&place.path(), options),
        Err(JournalError::InUse)
    ));
}

#[test]
fn notes_outlive_the_process() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal
        .set_note("drain", Some(b"since noon"))
        .expect("written");
    assert_eq!(
        journal.note("drain").expect("read").as_deref(),
        Some(b"since noon".as_ref())
    );
    drop(journal);
    let (journal, _) = place.open();
    assert_eq!(
        journal.note("drain").expect("read").as_deref(),
        Some(b"since noon".as_ref())
    );
    journal.set_note("drain", None).expect("written");
    assert_eq!(journal.note("drain").expect("read"), None);
}
