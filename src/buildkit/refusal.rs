//! What a builder answers when it does not do what it was asked for, in its own words; and channels that let them through.

use std::error::Error;
use std::fmt;

use tonic::Status;
use tonic::transport::Endpoint;

/// Bytes of headers that an answer may have. BuildKit sends an error's details as a header, with the text of the Dockerfile and
/// of every other source in it, and takes this much itself (`util/grpcerrors` and `session/grpc.go` of BuildKit).
pub(super) const HEADER_LIMIT: u32 = 16 * 1024 * 1024;

/// A status other than OK. Its text is the builder's message.
#[derive(Debug)]
pub(crate) struct Refusal(pub(super) Status);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.message() {
            "" => f.write_str(self.0.code().description()),
            message => f.write_str(message),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// A way to a builder at an address, which takes all that BuildKit sends.
pub(super) fn endpoint(address: Endpoint) -> Endpoint {
    address.http2_max_header_list_size(HEADER_LIMIT)
}

/// The address of a builder behind a connection of our own: it is not used, for BuildKit takes any on such a connection.
pub(super) fn unused_address() -> Endpoint {
    endpoint(Endpoint::from_static("http://localhost"))
}
