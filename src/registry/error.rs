//! What a registry can answer instead of what was asked for.
//!
//! **Invariant:** a message never holds a token or a presigned URL, and is at most a few hundred characters long.
//! What to do about it is deliberately not said here: the probe knows what the request was for.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio_rustls::rustls;

use crate::retry::Retry;

/// Longest part of a foreign message that is shown, in characters.
const MESSAGE_LENGTH: usize = 300;

/// A request that failed, and the host that answered or did not.
#[derive(Debug)]
pub(crate) struct RegistryError {
    /// `HOST[:PORT]`.
    pub(crate) host: String,
    /// What happened.
    pub(crate) fault: Fault,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Fault {
    /// 404.
    NotFound {
        /// The registry's own words.
        message: String,
    },
    /// 401 or 403.
    Denied {
        /// The status code.
        status: u16,
        /// The registry's own words.
        message: String,
        /// Its words say that the token is too old.
        expired: bool,
        /// We had no credentials to show.
        anonymous: bool,
    },
    /// 429.
    TooManyRequests {
        /// The registry's own words.
        message: String,
        /// How long it asks us to wait.
        after: Option<Duration>,
    },
    /// 5xx and 408.
    Server {
        /// The status code.
        status: u16,
        /// The registry's own words.
        message: String,
        /// How long it asks us to wait.
        after: Option<Duration>,
    },
    /// Any other status.
    Refused {
        /// The status code.
        status: u16,
        /// The registry's own words.
        message: String,
    },
    /// No answer: no route, no name, no TLS, a timeout, or an answer that breaks off.
    Unreachable {
        /// What the network said.
        cause: String,
        /// The answer to TLS was none, or nobody listens where TLS is spoken by default.
        speaks_no_tls: bool,
    },
    /// More bytes than we are willing to read.
    TooLarge {
        /// Its size in bytes, or at least this many.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes are not the ones their digest names, or not what the protocol says.
    Corrupt {
        /// What is wrong with them.
        what: String,
    },
    /// Our credentials could not be had; the error explains itself.
    Credentials(anyhow::Error),
    /// A certificate or key of the configuration could not be used.
    Setup(anyhow::Error),
}

/// Whether an error means that a server speaks no TLS: it answered with something else, or the host, which names no port,
/// refuses connections.
fn is_no_tls(error: &(dyn std::error::Error + 'static), host: &str) -> bool {
    let Some(mut error) = error.downcast_ref::<io::Error>() else { return false };
    // Errors of the system hold others of the same kind.
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        error = inner;
    }
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let names_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    matches!(tls, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)))
        || error.kind() == io::ErrorKind::ConnectionRefused && !names_port
}

impl RegistryError {
    pub(super) fn new(host: &str, fault: Fault) -> RegistryError {
        RegistryError { host: host.to_owned(), fault }
    }

    /// For an answer with an error status; `body` is the beginning of its body.
    pub(super) fn of_status(
        host: &str,
        status: u16,
        after: Option<Duration>,
        body: &[u8],
        anonymous: bool,
    ) -> RegistryError {
        let message = message(body);
        let lower = message.to_lowercase();
        let expired = lower.contains("expired");
        let fault = match status {
            404 => Fault::NotFound { message },
            401 | 403 => Fault::Denied { status, message, expired, anonymous },
            // S3 says so with a 400 when the signed address was made with a token that is too old.
            400 if lower.contains("expiredtoken") => Fault::Denied { status, message, expired, anonymous },
            429 => Fault::TooManyRequests { message, after },
            408 | 500.. => Fault::Server { status, message, after },
            _ => Fault::Refused { status, message },
        };
        RegistryError::new(host, fault)
    }

    /// For a request that got no whole answer.
    pub(super) fn of_network(host: &str, error: reqwest::Error) -> RegistryError {
        // The address may be a presigned one.
        let error = error.without_url();
        let mut causes = vec![error.to_string()];
        let mut next = std::error::Error::source(&error);
        let mut speaks_no_tls = false;
        while let Some(cause) = next {
            speaks_no_tls |= is_no_tls(cause, host);
            let text = cause.to_string();
            if !causes.last().is_some_and(|last| last.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        RegistryError::new(host, Fault::Unreachable { cause: shortened(&causes.join(": ")), speaks_no_tls })
    }

    /// Whether asking again may help.
    pub(crate) fn retry(&self) -> Retry {
        match &self.fault {
            Fault::TooManyRequests { after, .. } | Fault::Server { after, .. } => {
                after.map_or(Retry::Later, Retry::After)
            }
            Fault::Unreachable { .. } | Fault::Corrupt { .. } => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// How much an error tells when several hosts were asked: the one that got furthest tells most.
    pub(super) fn weight(&self) -> u8 {
        match &self.fault {
            Fault::Unreachable { .. } => 1,
            Fault::NotFound { .. } => 2,
            _ => 3,
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.fault {
            Fault::NotFound { message } => write!(f, "{host} answered 404{}", said(message)),
            Fault::Denied { status, message, .. }
            | Fault::Server { status, message, .. }
            | Fault::Refused { status, message } => write!(f, "{host} answered {status}{}", said(message)),
            Fault::TooManyRequests { message, .. } => write!(f, "{host} answered 429{}", said(message)),
            Fault::Unreachable { cause, .. } => write!(f, "{host} does not answer: {cause}"),
            Fault::TooLarge { size, limit } => {
                write!(f, "{host} answered with {size} bytes, over the limit of {limit}")
            }
            Fault::Corrupt { what } => write!(f, "{host} answered with the wrong bytes: {what}"),
            Fault::Credentials(error) | Fault::Setup(error) => write!(f, "{error:#}"),
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Credentials(error) | Fault::Setup(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: Option<String>,
    message: Option<String>,
}

/// The registry's own words out of an error body: the distribution specification's JSON, S3's XML, or plain text.
fn message(body: &[u8]) -> String {
    if let Ok(body) = serde_json::from_slice::<ErrorBody>(body) {
        let entries = body.errors.iter().map(|entry| match (&entry.code, &entry.message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(only), None) | (None, Some(only)) => only.clone(),
            (None, None) => String::new(),
        });
        return shortened(&entries.collect::<Vec<_>>().join("; "));
    }
    let text = String::from_utf8_lossy(body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner.to_owned())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => shortened(&format!("{code}: {message}")),
        (Some(code), None) => shortened(&code),
        // A page for browsers says nothing that the status does not.
        _ if text.trim_start().starts_with('<') => String::new(),
        _ => shortened(&text),
    }
}

fn shortened(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MESSAGE_LENGTH).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(status: u16, body: &str) -> Fault {
        RegistryError::of_status("h.io", status, None, body.as_bytes(), false).fault
    }

    #[test]
    fn ecrs_expired_token_is_told_from_any_other_refusal() {
        let body = r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#;
        assert!(matches!(of(403, body), Fault::Denied { expired: true, .. }));
        let body = r#"{"errors":[{"code":"DENIED","message":"User is not authorized to perform ecr:BatchGetImage"}]}"#;
        assert!(matches!(of(403, body), Fault::Denied { expired: false, .. }));
        let body = "<?xml?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
        assert!(matches!(of(400, body), Fault::Denied { expired: true, .. }));
    }

    #[test]
    fn the_registrys_own_words_are_shown_in_any_of_their_forms() {
        assert_eq!(message(br#"{"errors":[{"code":"A","message":"b"},{"code":"C"}]}"#), "A: b; C");
        assert_eq!(message(b"<Error><Code>SlowDown</Code></Error>"), "SlowDown");
        assert_eq!(message(b"<html><body>Bad Gateway</body></html>"), "");
        assert_eq!(message(b" no\n\x1b[31mway "), "no  [31mway");
    }

    #[test]
    fn only_what_may_pass_is_asked_again() {
        let retry = |status| RegistryError::of_status("h", status, Some(Duration::from_secs(2)), b"", true).retry();
        assert_eq!(retry(429), Retry::After(Duration::from_secs(2)));
        assert_eq!(retry(503), Retry::After(Duration::from_secs(2)));
        for status in [400, 401, 403, 404, 405] {
            assert_eq!(retry(status), Retry::Never, "{status}");
        }
    }

    proptest! {
        #[test]
        fn any_body_becomes_a_short_printable_message(body in prop::collection::vec(any::<u8>(), 0..2000)) {
            let message = message(&body);
            prop_assert!(message.chars().count() <= MESSAGE_LENGTH);
            prop_assert!(!message.chars().any(char::is_control));
        }
    }
}
