//! A file that is damaged, or gone.

use super::*;

#[test]
fn where_nothing_can_be_read_what_was_sent_before_is_not_said_to_be_rejected() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.shared.disk.as_ref().expect("a file").close();
    let of = |id, delivery| {
        Arc::new(Command {
            delivery,
            ..(*command(id)).clone()
        })
    };
    assert_eq!(journal.accept(&of(1, 2), false), Acceptance::Dropped);
    assert_eq!(journal.accept(&of(2, 1), false), Acceptance::Unwritable);
    assert_eq!(journal.counters().dropped, 1);
}

/// Whatever became of the bytes, the worker starts: with what the file held, or
/// beside it.
#[test]
fn a_file_that_is_damaged_anywhere_keeps_no_worker_from_its_start() {
    let place = Place::new();
    let (journal, _) = place.open();
    for n in 1..=20 {
        journal.accept(&command(n), false);
        begin(&journal, command(n).id, &attempt(1, "greeter"));
        journal.finish(command(n).id, succeeded());
    }
    sync(&journal);
    drop(journal);
    let whole = std::fs::read(place.path()).expect("the file");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("small")
    };
    for round in 0..48 {
        let mut bytes = whole.clone();
        match round % 4 {
            0 => bytes.truncate(next(whole.len())),
            1 => bytes[next(512)] ^= 1 << next(8),
            2 => bytes[next(whole.len())] ^= 1 << next(8),
            _ => {
                let from = next(whole.len() - 4096);
                bytes[from..from + 4096].fill(0);
            }
        }
        std::fs::write(place.path(), &bytes).expect("written");
        let (journal, _) = place.open();
        sync(&journal);
    }
}

#[test]
fn a_damaged_journal_is_set_aside_and_what_was_delivered_before_is_lost() {
    let place = Place::new();
    let (journal, _) = place.open();
    journal.accept(&command(1), false);
    sync(&journal);
    drop(journal);
    let whole = std::fs::read(place.path()).expect("the file");
    let garbage = |bytes: &mut Vec<u8>| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a);
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let stains = |bytes: &mut Vec<u8>| {
        bytes
            .iter_mut()
            .skip(4096)
            .step_by(7)
            .for_each(|byte| *byte ^= 0xff);
    };
    for damage in [&garbage as &dyn Fn(&mut Vec<u8>), &cut, &stains] {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(place.path(), &bytes).expect("written");
        assert!(
            Listing::read(&place.path(), JournalFilter::All, 10).is_err(),
            "whoever only reads is told and changes nothing"
        );
        assert_eq!(
            std::fs::read(place.path()).expect("the file").len(),
            bytes.len()
        );
        let (journal, recovery) = place.open();
        let aside = recovery.set_aside.expect("it is set aside");
        assert_eq!(std::fs::read(aside).expect("kept").len(), bytes.len());
        assert!(recovery.commands.is_empty());
        let now = Uuid::now_v7();
        let with = |id: Uuid, delivery| {
            Arc::new(Command {
                id: CommandId::from_uuid(id),
                delivery,
                ..(*command(1)).clone()
            })
        };
        assert_eq!(journal.accept(&with(now, 2), false), Acceptance::Lost);
        let fresh = Uuid::now_v7();
        assert_eq!(
            journal.accept(&with(fresh, 1), false),
            Acceptance::New,
            "it was never delivered before"
        );
        drop(journal);
        let (journal, _) = place.open();
        assert_eq!(
            journal.accept(&with(Uuid::now_v7(), 2), false),
            Acceptance::Lost,
            "the loss is remembered"
        );
    }
}

#[test]
fn a_missing_journal_of_a_node_that_had_one_is_a_lost_one() {
    let looks: [fn(&Place); 2] = [
        |_| {},
        // What makes an empty file, and ends before a worker begins with it.
        |place| drop(Journal::crashes_in(&place.path()).expect("a new file")),
    ];
    for look in looks {
        let place = Place::new();
        look(&place);
        let options = JournalOptions {
            limits: JournalLimits::default(),
            expected: true,
        };
        let (journal, _) = Journal::open(&place.path(), options).expect("it opens");
        let redelivered = || {
            Arc::new(Command {
                id: CommandId::from_uuid(Uuid::now_v7()),
                delivery: 2,
                ..(*command(1)).clone()
            })
        };
        assert_eq!(journal.accept(&redelivered(), false), Acceptance::Lost);
        let lost_at = journal.lost_at();
        drop(journal);
        let (journal, _) = Journal::open(&place.path(), options).expect("it opens");
        assert_eq!(journal.lost_at(), lost_at, "it is lost once");
    }
}
