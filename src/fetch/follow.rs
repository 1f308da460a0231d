//! Hashes a file while it grows from its beginning: what has come is read from memory, before the kernel lets go of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::{compression, digest};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// Who hashes a file, on a thread of its own.
#[derive(Debug)]
pub(super) struct Follower {
    come: Sender<u64>,
    digest: JoinHandle<io::Result<String>>,
}

impl Follower {
    /// Follows a file that will have `size` bytes.
    pub(super) fn of(file: Arc<File>, size: u64) -> Follower {
        let (come, more) = channel();
        let hash = move || hash(Growing { file, at: 0, come: 0, size, more });
        Follower { come, digest: tokio::task::spawn_blocking(hash) }
    }

    /// Tells that all bytes before this offset are there.
    pub(super) fn tell(&self, until: u64) {
        // A follower that gave up says so at the end.
        let _ = self.come.send(until);
    }

    /// The digest of the file, once all of it is there.
    ///
    /// # Errors
    /// When it could not be read.
    pub(super) async fn digest(self) -> io::Result<String> {
        drop(self.come);
        self.digest.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

/// The digest of what a file unpacks to; none where it is damaged.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn unpacked(file: Arc<File>, size: u64) -> io::Result<Option<String>> {
    let (come, more) = channel();
    let _ = come.send(size);
    let unpacked = move || {
        let content = compression::unpacked(Growing { file, at: 0, come: 0, size, more }).and_then(hash);
        match content {
            Err(error) if compression::is_damage(&error) => Ok(None),
            content => content.map(Some),
        }
    };
    tokio::task::spawn_blocking(unpacked).await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn hash(mut bytes: impl Read) -> io::Result<String> {
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match bytes.read(&mut chunk)? {
            0 => return Ok(digest::written("sha256", &hash.finalize())),
            read => hash.update(&chunk[..read]),
        }
    }
}

/// A file that is read as it comes.
struct Growing {
    file: Arc<File>,
    at: u64,
    come: u64,
    size: u64,
    more: Receiver<u64>,
}

impl Read for Growing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.size || into.is_empty() {
            return Ok(0);
        }
        while self.come <= self.at {
            // Whoever fetched it gave up.
            let come = self.more.recv().map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            self.come = come.min(self.size);
        }
        let there = usize::try_from(self.come - self.at).unwrap_or(usize::MAX).min(into.len());
        let read = self.file.read_at(&mut into[..there], self.at)?;
        if read == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::tests::{gzip, zstd};

    async fn followed(bytes: &[u8]) -> (String, Option<String>) {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let follower = Follower::of(file.clone(), bytes.len() as u64);
        for (number, chunk) in bytes.chunks(7).enumerate() {
            file.write_all_at(chunk, number as u64 * 7).unwrap();
            follower.tell(number as u64 * 7 + chunk.len() as u64);
        }
        (follower.digest().await.unwrap(), unpacked(file, bytes.len() as u64).await.unwrap())
    }

    #[tokio::test]
    async fn a_file_is_hashed_as_it_comes_and_then_what_it_unpacks_to() {
        for blob in [gzip(b"the content"), zstd(b"the content"), b"the content".to_vec()] {
            assert_eq!(followed(&blob).await, (digest::sha256(&blob), Some(digest::sha256(b"the content"))));
        }
        let damaged = &gzip(&[7; 5000])[..20];
        assert_eq!(followed(damaged).await, (digest::sha256(damaged), None));
    }

    #[tokio::test]
    async fn a_file_that_does_not_come_to_its_end_has_no_digest() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        assert!(Follower::of(file, 5).digest().await.is_err());
    }
}
