//! Reads a sparse file by its data: a file of a terabyte may hold a few kilobytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rustix::fs::{SeekFrom as Offset, seek};
use rustix::io::Errno;

/// The data of a file without its holes; one zero stands for each hole, so that nothing joins what is apart.
pub(super) struct Data<'f> {
    file: &'f File,
    /// Where the present run of data ends, in bytes.
    end: u64,
    at: u64,
    length: u64,
}

impl Data<'_> {
    /// Reads a file from its beginning to where it ends now.
    ///
    /// # Errors
    /// When its length is not to be had.
    pub(super) fn of(file: &File) -> io::Result<Data<'_>> {
        Ok(Data { file, end: 0, at: 0, length: file.metadata()?.len() })
    }
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || (self.at >= self.end && self.at >= self.length) {
            // A file that grows is read to where it ended when it was opened.
            return Ok(0);
        }
        if self.at >= self.end {
            let start = match seek(self.file, Offset::Data(self.at)) {
                Err(Errno::NXIO) => self.length,
                // A file system without holes.
                Err(Errno::INVAL) => self.at,
                start => start?,
            };
            let is_hole = start > self.at;
            self.at = start;
            if start < self.length {
                self.end = match seek(self.file, Offset::Hole(start)) {
                    Err(Errno::INVAL) => self.length,
                    end => end?,
                };
            }
            (&*self.file).seek(SeekFrom::Start(start))?;
            if is_hole {
                buffer[0] = 0;
                return Ok(1);
            }
        }
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = (&*self.file).read(&mut buffer[..most])?;
        if read == 0 {
            // It was cut off meanwhile.
            (self.at, self.end) = (self.length, self.length);
        }
        self.at += read as u64;
        Ok(read)
    }
}
