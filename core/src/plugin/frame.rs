//! What the worker and a plugin's process say to each other, over the socket
//! between them. Both are of one program, so nothing here is kept for older
//! peers; [`PROTOCOL`] tells a mistake from a message.

mod codec;

use bytes::Bytes;

pub(crate) use codec::{Decoder, FrameError, MAX_FRAME, encode};

/// Changed with the meaning of any message.
pub(crate) const PROTOCOL: u32 = 1;

/// Where the process finds its end of the socket.
pub(crate) const SOCKET: i32 = 3;
/// Where the process finds the library.
pub(crate) const LIBRARY: i32 = 4;

/// As an interface: what a call keeps for its next attempt. It needs no grant.
pub(crate) const CHECKPOINT: &str = "aegis.checkpoint/1";

/// From the worker.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ToPlugin {
    #[prost(oneof = "Order", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(crate) order: Option<Order>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Order {
    /// The first one, and never again.
    #[prost(message, tag = "1")]
    Begin(Begin),
    #[prost(message, tag = "2")]
    Start(Start),
    #[prost(message, tag = "3")]
    Cancel(Cancel),
    #[prost(message, tag = "4")]
    Reconfigure(Reconfigure),
    /// In milliseconds, from now. No call is started any more.
    #[prost(uint64, tag = "5")]
    Quiesce(u64),
    /// As on the ABI; 0: nothing.
    #[prost(uint32, tag = "6")]
    LogLevel(u32),
    #[prost(message, tag = "7")]
    Answer(Answer),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Begin {
    #[prost(uint32, tag = "1")]
    pub(crate) protocol: u32,
    #[prost(string, tag = "2")]
    pub(crate) id: String,
    /// The exported descriptor.
    #[prost(string, tag = "3")]
    pub(crate) symbol: String,
    /// The manifest's very text, which the library has to agree with.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) manifest: Bytes,
    /// A JSON object.
    #[prost(string, tag = "5")]
    pub(crate) config: String,
    /// The node, a JSON object.
    #[prost(string, tag = "6")]
    pub(crate) node: String,
    #[prost(string, tag = "7")]
    pub(crate) state_dir: String,
    /// As [`Order::LogLevel`].
    #[prost(uint32, tag = "8")]
    pub(crate) log_level: u32,
    /// The ids of the interfaces that are granted.
    #[prost(string, repeated, tag = "9")]
    pub(crate) interfaces: Vec<String>,
    /// The handlers whose schemas the manifest leaves out.
    #[prost(uint32, repeated, tag = "10")]
    pub(crate) schemas: Vec<u32>,
    #[prost(message, optional, tag = "11")]
    pub(crate) paths: Option<Paths>,
}

/// [`PathRules`](crate::landlock::PathRules), each path as its bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Paths {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) read: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) write: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) withheld: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) state_dir: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Start {
    /// The worker's id of the call.
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) handler: u32,
    /// 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) command_id: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) payload: Bytes,
    /// From now, in nanoseconds.
    #[prost(uint64, optional, tag = "5")]
    pub(crate) timeout: Option<u64>,
    #[prost(string, tag = "6")]
    pub(crate) issuer: String,
    #[prost(string, tag = "7")]
    pub(crate) traceparent: String,
    #[prost(uint32, tag = "8")]
    pub(crate) attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Cancel {
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    /// As on the ABI.
    #[prost(uint32, tag = "2")]
    pub(crate) reason: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reconfigure {
    /// Comes back in the answer.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// A JSON object.
    #[prost(string, tag = "2")]
    pub(crate) config: String,
}

/// To a [`Request`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// Whether it was carried out; if not, the document is an error's.
    #[prost(bool, tag = "2")]
    pub(crate) done: bool,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) document: Option<Bytes>,
}

/// From the plugin's process.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ToWorker {
    #[prost(oneof = "Report", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub(crate) report: Option<Report>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Report {
    /// Before [`Ready`].
    #[prost(message, tag = "1")]
    Schema(Schema),
    #[prost(message, tag = "2")]
    Ready(Ready),
    /// Instead of [`Ready`].
    #[prost(message, tag = "3")]
    Failed(Failed),
    #[prost(message, tag = "4")]
    Done(Done),
    /// The call was not taken and had no effect.
    #[prost(message, tag = "5")]
    Refused(Refused),
    #[prost(message, tag = "6")]
    Progress(Progress),
    #[prost(message, tag = "7")]
    Output(Output),
    #[prost(message, tag = "8")]
    Log(Log),
    #[prost(message, tag = "9")]
    Request(Request),
    #[prost(message, tag = "10")]
    Reconfigured(Reconfigured),
    /// Whether no call runs any more.
    #[prost(bool, tag = "11")]
    Quiesced(bool),
    #[prost(message, tag = "12")]
    Condition(Condition),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Schema {
    #[prost(uint32, tag = "1")]
    pub(crate) handler: u32,
    /// JSON; empty: none.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) request: Bytes,
    /// JSON; empty: none.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) response: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ready {
    /// What came of the rules for paths, in words.
    #[prost(string, tag = "1")]
    pub(crate) paths: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Failed {
    /// The library could not be mapped: nothing of the plugin ran.
    #[prost(bool, tag = "1")]
    pub(crate) unmapped: bool,
    #[prost(string, tag = "2")]
    pub(crate) reason: String,
    #[prost(string, tag = "3")]
    pub(crate) remedy: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Done {
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    /// As on the ABI.
    #[prost(uint32, tag = "2")]
    pub(crate) status: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) document: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Refused {
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    /// An error's.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) document: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Progress {
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) permille: u32,
    #[prost(string, tag = "3")]
    pub(crate) note: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Output {
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Log {
    /// 0: none.
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    /// As on the ABI.
    #[prost(uint32, tag = "2")]
    pub(crate) level: u32,
    #[prost(string, tag = "3")]
    pub(crate) part: String,
    #[prost(string, tag = "4")]
    pub(crate) message: String,
    #[prost(string, tag = "5")]
    pub(crate) fields: String,
}

/// The plugin asks something of its host.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    /// Comes back in the answer.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// Its id on the ABI.
    #[prost(string, tag = "2")]
    pub(crate) interface: String,
    #[prost(string, tag = "3")]
    pub(crate) function: String,
    /// 0: none.
    #[prost(uint64, tag = "4")]
    pub(crate) call: u64,
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) document: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reconfigured {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    /// The error's; `None`: it is in force.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) refused: Option<Bytes>,
}

/// How the plugin fares, whenever that changes. The numbers are those of this
/// process.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Condition {
    #[prost(uint64, tag = "1")]
    pub(crate) panics: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) double: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) late: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) forged: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) after_quiesce: u64,
    /// Why it has no instance; empty: it has one.
    #[prost(string, tag = "6")]
    pub(crate) failure: String,
}

impl Order {
    /// Its frame.
    pub(crate) fn into_frame(self) -> Result<Vec<u8>, FrameError> {
        encode(&ToPlugin { order: Some(self) })
    }
}

impl Report {
    /// Its frame.
    pub(crate) fn into_frame(self) -> Result<Vec<u8>, FrameError> {
        encode(&ToWorker { report: Some(self) })
    }
}
