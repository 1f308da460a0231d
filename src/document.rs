//! Small JSON files of ours: there whole, or not at all.

use std::fs::{DirBuilder, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// The folder a file is in.
pub(crate) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes one in one piece with these permissions, and makes its folder if there is none.
///
/// # Errors
/// When it cannot be written; what was there before is there still.
pub(crate) fn write(path: &Path, document: &impl Serialize, mode: u32) -> anyhow::Result<()> {
    let folder = folder(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))?;
    let file = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempfile_in(folder)?;
    let mut writer = BufWriter::new(&file);
    serde_json::to_writer_pretty(&mut writer, document)?;
    writer.write_all(b"\n")?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
