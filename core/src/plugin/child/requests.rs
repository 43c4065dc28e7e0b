//! What a plugin in a process of its own asks of its host. Each request has a
//! thread: to apply a config may ask the very same plugin to take its part.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use aegis_plugin_api::{HandlerError, abi::AEGIS_MAX_CHECKPOINT_BYTES};
use aegis_proto::error_code::OVERLOADED;
use bytes::Bytes;

use super::{Shared, life::Life};
use crate::{
    manifest::HostInterface,
    plugin::{
        CallId,
        frame::{self, Answer, Order, Request},
        interfaces::malformed,
    },
};

/// Of one process. Further ones are refused.
const AT_ONCE: usize = 16;

type Answered = Result<Option<Bytes>, HandlerError>;

/// Carries out a request and answers it.
pub(super) fn serve(shared: &Arc<Shared>, life: &Arc<Life>, request: Request) {
    let number = request.number;
    if life.asking.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
        life.asking.fetch_sub(1, Ordering::AcqRel);
        return answer(life, number, Err(overloaded("asks too much at once")));
    }
    let (own, on) = (Arc::clone(shared), Arc::clone(life));
    let thread = thread::Builder::new().name(format!("asks-{}", shared.setup.id));
    let spawned = thread.spawn(move || {
        let answered = carry_out(&own, &on, &request);
        // Before the answer, so that who waited for it may ask again.
        on.asking.fetch_sub(1, Ordering::AcqRel);
        answer(&on, number, answered);
    });
    if spawned.is_err() {
        life.asking.fetch_sub(1, Ordering::AcqRel);
        answer(life, number, Err(overloaded("finds no thread")));
    }
}

fn carry_out(shared: &Shared, life: &Life, request: &Request) -> Answered {
    if request.interface == frame::CHECKPOINT {
        return checkpoint(shared, life, request);
    }
    let interface = HostInterface::by_id(&request.interface)
        .ok_or_else(|| malformed("there is no such interface"))?;
    shared
        .setup
        .interfaces
        .call(interface, &request.function, &request.document)
        .map(|document| Some(document.into()))
}

fn checkpoint(shared: &Shared, life: &Life, request: &Request) -> Answered {
    let sink = shared
        .calls
        .sink(life.number, CallId(request.call))
        .ok_or_else(|| HandlerError::new("unknown-call", "the call is over"))?;
    match request.function.as_str() {
        "load" => Ok(sink.checkpoint()),
        "save" if request.document.len() <= AEGIS_MAX_CHECKPOINT_BYTES => {
            sink.save_checkpoint(&request.document).map(|()| None)
        }
        _ => Err(malformed("no such function, or too long")),
    }
}

fn answer(life: &Life, number: u64, answered: Answered) {
    let (done, document) = match answered {
        Ok(document) => (true, document),
        Err(error) => (false, Some(error.to_document().into())),
    };
    let order = Order::Answer(Answer {
        number,
        done,
        document,
    });
    if life.send(order).is_err() {
        let error = malformed("the answer is too long for the plugin's process");
        let refused = Order::Answer(Answer {
            number,
            done: false,
            document: Some(error.to_document().into()),
        });
        // It is short.
        let _ = life.send(refused);
    }
}

fn overloaded(why: &str) -> HandlerError {
    HandlerError::new(OVERLOADED, format!("the plugin's process {why}")).retryable()
}
