//! A frame is the length of a message, four bytes with the lowest first, and
//! the message.

use aegis_proto::limits::MAX_PAYLOAD_BYTES;
use prost::Message;

/// Bytes of the longest message: the longest payload and what goes with it.
pub(crate) const MAX_FRAME: usize = MAX_PAYLOAD_BYTES + 256 * 1024;

const HEAD: usize = size_of::<u32>();

/// What is no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// It is longer than one can be.
    #[error("a message of {0} bytes, more than {MAX_FRAME}")]
    TooLong(usize),
    /// It is no message.
    #[error("a message that cannot be read")]
    Malformed(#[from] prost::DecodeError),
}

/// The frame of a message.
pub(crate) fn encode(message: &impl Message) -> Result<Vec<u8>, FrameError> {
    let length = message.encoded_len();
    let Some(head) = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME) else {
        return Err(FrameError::TooLong(length));
    };
    let mut frame = Vec::with_capacity(HEAD + length);
    frame.extend_from_slice(&head.to_le_bytes());
    message.encode_raw(&mut frame);
    Ok(frame)
}

/// Takes bytes as they come and gives messages. It holds one incomplete frame
/// at the most, besides what was put in since.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    /// How many of them were given out.
    taken: usize,
}

impl Decoder {
    /// More bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it is here. After an error there is nothing
    /// more to be had.
    pub(crate) fn next<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let rest = &self.bytes[self.taken..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        let message = M::decode(message)?;
        self.taken += HEAD + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::plugin::frame::{Done, Log, Output, Report, ToPlugin, ToWorker};

    fn reports() -> impl Strategy<Value = Report> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        prop_oneof![
            (any::<u64>(), any::<u32>(), bytes()).prop_map(|(call, status, document)| {
                Report::Done(Done {
                    call,
                    status,
                    document,
                })
            }),
            (any::<u64>(), bytes()).prop_map(|(call, data)| Report::Output(Output { call, data })),
            (any::<u32>(), ".{0,40}").prop_map(|(level, message)| Report::Log(Log {
                level,
                message,
                ..Log::default()
            })),
            any::<bool>().prop_map(Report::Quiesced),
        ]
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            sent in prop::collection::vec(reports(), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..200),
        ) {
            let mut stream: Vec<u8> = Vec::new();
            for report in &sent {
                stream.extend(report.clone().into_frame().expect("short"));
            }
            let (mut decoder, mut received) = (Decoder::default(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let at = cuts.next().map_or(1, |cut| *cut).min(rest.len());
                let (now, later) = rest.split_at(at);
                decoder.extend(now);
                rest = later;
                while let Some(message) = decoder.next::<ToWorker>().expect("sound") {
                    received.extend(message.report);
                }
            }
            prop_assert_eq!(received, sent);
        }

        #[test]
        fn whatever_comes_nothing_panics_and_little_is_held(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..30),
        ) {
            let mut decoder = Decoder::default();
            for piece in &pieces {
                decoder.extend(piece);
                loop {
                    match decoder.next::<ToPlugin>() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
                prop_assert!(decoder.bytes.len() <= HEAD + MAX_FRAME + piece.len());
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_anything_is_kept_for_it() {
        let mut decoder = Decoder::default();
        decoder.extend(&u32::MAX.to_le_bytes());
        assert_eq!(
            decoder.next::<ToWorker>(),
            Err(FrameError::TooLong(u32::MAX as usize))
        );
        let huge = Report::Output(Output {
            call: 1,
            data: vec![0; MAX_FRAME].into(),
        });
        assert!(matches!(huge.into_frame(), Err(FrameError::TooLong(_))));
    }
}
