//! How files are compressed, told by their first bytes, and what they unpack to. BuildKit writes layers as gzip, as zstd
//! (zstd:chunked adds frames that are to be skipped) and uncompressed.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// A format of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// That of what is about to be read; none when it is none of these.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of(bytes: &mut impl BufRead) -> io::Result<Option<Compression>> {
        Ok(match bytes.fill_buf()? {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            // A frame, or one that is to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            _ => None,
        })
    }

    /// What it unpacks to. Where it is damaged, reading gives an error that [`is_damage`].
    pub(crate) fn unpacked<'r>(self, bytes: impl BufRead + 'r) -> Box<dyn Read + 'r> {
        match self {
            Compression::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Compression::Zstd => Box::new(Frames::of(bytes)),
        }
    }
}

/// What bytes are without their compression, if they have one.
///
/// # Errors
/// When the first of them cannot be read; what is wrong with later ones, reading tells.
pub(crate) fn unpacked<'r>(bytes: impl Read + 'r) -> io::Result<Box<dyn Read + 'r>> {
    let mut bytes = BufReader::with_capacity(CHUNK, bytes);
    Ok(match Compression::of(&mut bytes)? {
        Some(compression) => compression.unpacked(bytes),
        None => Box::new(bytes),
    })
}

/// Whether what was unpacked is damaged, or not what it began like, as opposed to not having been read.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof)
}

/// The content of zstd frames that follow each other.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Frames<R> {
    fn of(source: R) -> Frames<R> {
        Frames { source, decoder: FrameDecoder::new(), is_in_frame: false }
    }

    /// Goes to the start of a frame's content; whether there is another frame.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_in_frame && !self.enter()? {
                return Ok(0);
            }
            self.is_in_frame = true;
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let decoded = self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(damaged)?;
            }
            match self.decoder.read(into)? {
                0 => self.is_in_frame = false,
                read => return Ok(read),
            }
        }
    }
}

fn damaged(error: FrameDecoderError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn content(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        unpacked(blob)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    #[test]
    fn frames_are_put_together_and_those_to_be_skipped_are() {
        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"toc"].concat();
        let blob =
            [&skipped, &zstd(b"one "), &skipped, &zstd(b""), &zstd(b"two"), &skipped].map(Vec::as_slice).concat();
        assert_eq!(content(&blob).unwrap(), b"one two");
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(content(&members).unwrap(), b"one two");
        assert_eq!(content(b"").unwrap(), b"");
    }

    #[test]
    fn what_is_damaged_is_an_error_of_its_own_kind() {
        for blob in [zstd(&[7; 1000]), gzip(&[7; 1000])] {
            assert!(is_damage(&content(&blob[..blob.len() - 1]).unwrap_err()));
            let garbage = [&blob[..], b"no frame, no member"].concat();
            // What follows a member of gzip and is none is left alone, as gzip does.
            assert!(content(&garbage).is_err_and(|error| is_damage(&error)) || garbage.starts_with(&[0x1f, 0x8b]));
        }
    }

    proptest! {
        #[test]
        fn every_compression_gives_the_same(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert_eq!(content(&gzip(&bytes)).unwrap(), bytes.clone());
            prop_assert_eq!(content(&zstd(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn no_bytes_are_too_odd(
            start in prop::sample::select(vec![vec![0x1f, 0x8b], vec![0x28, 0xb5, 0x2f, 0xfd], vec![0x50, 0x2a, 0x4d, 0x18]]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = content(&[start, rest].concat());
        }

        #[test]
        fn a_flipped_bit_does_not_panic(at in 0_usize..500, bit in 0_u32..8) {
            let mut blob = zstd(&[&[7; 5000][..], b"and something else"].concat());
            let at = at % blob.len();
            blob[at] ^= 1 << bit;
            let _ = content(&blob);
        }
    }
}
