//! The worker's host interfaces, asked over the socket.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, SyncSender},
    },
};

use aegis_plugin_api::HandlerError;
use bytes::Bytes;

use super::link::Link;
use crate::{
    manifest::HostInterface,
    plugin::{
        HostInterfaces,
        frame::{Answer, Report, Request},
    },
    unpoisoned::lock,
};

/// The worker, as far as it answers this plugin.
pub(super) struct Remote {
    link: Arc<Link>,
    granted: BTreeSet<HostInterface>,
    waiting: Mutex<HashMap<u64, SyncSender<Answer>>>,
    next: AtomicU64,
}

impl Remote {
    pub(super) fn new(link: Arc<Link>, granted: &[String]) -> Self {
        Self {
            link,
            granted: granted
                .iter()
                .filter_map(|id| HostInterface::by_id(id))
                .collect(),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Asks, and waits for the answer as long as the worker takes: with the
    /// worker this process ends, too.
    pub(super) fn ask(
        &self,
        interface: &str,
        function: &str,
        call: u64,
        document: &[u8],
    ) -> Result<Option<Bytes>, HandlerError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = mpsc::sync_channel(1);
        lock(&self.waiting).insert(number, tell);
        let sent = self.link.send(Report::Request(Request {
            number,
            interface: interface.to_owned(),
            function: function.to_owned(),
            call,
            document: Bytes::copy_from_slice(document),
        }));
        if let Err(error) = sent {
            lock(&self.waiting).remove(&number);
            return Err(HandlerError::new(
                "malformed-request",
                format!("the request is {error}"),
            ));
        }
        let answer = told
            .recv()
            .map_err(|_| HandlerError::new("worker-lost", "the worker is gone"))?;
        if answer.done {
            return Ok(answer.document);
        }
        let document = answer.document.unwrap_or_default();
        Err(HandlerError::from_document(&document))
    }

    /// The worker answered.
    pub(super) fn answered(&self, answer: Answer) {
        if let Some(waiting) = lock(&self.waiting).remove(&answer.number) {
            // It waits, and the channel holds one.
            let _ = waiting.try_send(answer);
        }
    }
}

impl HostInterfaces for Remote {
    fn grants(&self, interface: HostInterface) -> bool {
        self.granted.contains(&interface)
    }

    fn call(
        &self,
        interface: HostInterface,
        function: &str,
        request: &[u8],
    ) -> Result<Vec<u8>, HandlerError> {
        self.ask(interface.id(), function, 0, request)
            .map(|document| document.unwrap_or_default().to_vec())
    }
}
