//! The messages of a file transfer (fsutil's `Packet` and `Stat`), and how gRPC carries them.
//!
//! These are the messages of `bollard_buildkit_proto::fsutil::types` with paths as bytes instead of text: a file
//! name on Linux need not be UTF-8, and BuildKit does not ask for it. A test holds that the wire is the same.

use std::collections::HashMap;

use prost::Message;
use prost::bytes::Bytes;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// A `Packet`'s type: an entry, or with no entry the end of the list.
pub(super) const STAT: i32 = 0;
/// A `Packet`'s type: the receiver wants the content of an entry.
pub(super) const REQUEST: i32 = 1;
/// A `Packet`'s type: some content of an entry, or with no data its end.
pub(super) const DATA: i32 = 2;
/// A `Packet`'s type: all has arrived; the sender echoes it.
pub(super) const FINISHED: i32 = 3;
/// A `Packet`'s type: one side gives up, and says why.
pub(super) const ERROR: i32 = 4;

/// One message of a transfer, in either direction.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Packet {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) stat: Option<Stat>,
    /// The entry's place in the list, from 0.
    #[prost(uint32, tag = "3")]
    pub(super) id: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) data: Bytes,
}

impl Packet {
    /// Announces an entry.
    pub(super) fn entry(stat: Stat) -> Packet {
        Packet { kind: STAT, stat: Some(stat), ..Packet::default() }
    }

    /// Ends the list of entries.
    pub(super) fn end_of_list() -> Packet {
        Packet::default()
    }

    /// Carries some content of an entry; its end when empty.
    pub(super) fn data(id: u32, data: Bytes) -> Packet {
        Packet { kind: DATA, id, data, ..Packet::default() }
    }

    /// Ends the transfer well.
    pub(super) fn finished() -> Packet {
        Packet { kind: FINISHED, ..Packet::default() }
    }

    /// Ends the transfer badly.
    pub(super) fn error(text: String) -> Packet {
        Packet { kind: ERROR, data: text.into(), ..Packet::default() }
    }
}

/// One entry.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Stat {
    /// Relative and clean, with slashes.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) path: Vec<u8>,
    /// Go's `os.FileMode`.
    #[prost(uint32, tag = "2")]
    pub(super) mode: u32,
    #[prost(uint32, tag = "3")]
    pub(super) uid: u32,
    #[prost(uint32, tag = "4")]
    pub(super) gid: u32,
    /// Bytes; 0 for a directory.
    #[prost(int64, tag = "5")]
    pub(super) size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(super) modified: i64,
    /// A symlink's raw target; or for a hard link, the path of the same file that was sent before.
    #[prost(bytes = "vec", tag = "7")]
    pub(super) link: Vec<u8>,
    #[prost(int64, tag = "8")]
    pub(super) device_major: i64,
    #[prost(int64, tag = "9")]
    pub(super) device_minor: i64,
    #[prost(map = "string, bytes", tag = "10")]
    pub(super) attributes: HashMap<String, Vec<u8>>,
}

/// Puts packets into gRPC's frames and takes them out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PacketCodec;

impl Codec for PacketCodec {
    type Encode = Packet;
    type Decode = Packet;
    type Encoder = PacketCodec;
    type Decoder = PacketCodec;

    fn encoder(&mut self) -> PacketCodec {
        PacketCodec
    }

    fn decoder(&mut self) -> PacketCodec {
        PacketCodec
    }
}

impl Encoder for PacketCodec {
    type Item = Packet;
    type Error = Status;

    fn encode(&mut self, packet: Packet, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        packet.encode(buffer).map_err(|error| Status::internal(format!("could not encode a packet: {error}")))
    }
}

impl Decoder for PacketCodec {
    type Item = Packet;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Packet>, Status> {
        match Packet::decode(buffer) {
            Ok(packet) => Ok(Some(packet)),
            Err(error) => Err(Status::internal(format!("could not decode a packet: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::fsutil::types;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn our_packets_are_fsutils_packets(
            kind in 0..5, id: u32, path in "\\PC{0,9}", mode: u32, size: i64, modified: i64, link in "\\PC{0,9}",
            data: Vec<u8>, name in "[a-z.]{1,9}", major in 0i64..9,
        ) {
            let attributes = HashMap::from([(name, data.clone())]);
            let theirs = types::Packet {
                r#type: kind,
                id,
                data: data.clone(),
                stat: Some(types::Stat {
                    path: path.clone(), mode, uid: 1, gid: 2, size, mod_time: modified, linkname: link.clone(),
                    devmajor: major, devminor: 4, xattrs: attributes.clone(),
                }),
            };
            let ours = Packet {
                kind,
                id,
                data: data.into(),
                stat: Some(Stat {
                    path: path.into_bytes(), mode, uid: 1, gid: 2, size, modified, link: link.into_bytes(),
                    device_major: major, device_minor: 4, attributes,
                }),
            };
            prop_assert_eq!(Packet::decode(theirs.encode_to_vec().as_slice()).expect("it decodes"), ours.clone());
            prop_assert_eq!(types::Packet::decode(ours.encode_to_vec().as_slice()).expect("it decodes"), theirs);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = Packet::decode(bytes.as_slice());
        }
    }

    #[test]
    fn the_end_of_the_list_is_an_empty_message() {
        assert!(Packet::end_of_list().encode_to_vec().is_empty());
    }
}
