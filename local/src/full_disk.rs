//! A disk that can be full, without privileges and without a file system of its own.
//!
//! A small library, compiled here and preloaded into a process, makes its writes to certain files fail as they do when no
//! room is left (`full_disk.c`).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::error::{Error, doing};

/// A disk that has room until it is filled.
pub struct FullDisk {
    /// Holds the library and, while the disk is full, the flag.
    folder: TempDir,
    part: String,
}

impl FullDisk {
    /// A disk that holds all files whose path has this text in it.
    ///
    /// # Errors
    /// There is no C compiler.
    pub fn holding(part: &str) -> Result<FullDisk, Error> {
        // Whoever writes may be another user than we are.
        let open_to_all = fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix("slotwatch-disk-").permissions(open_to_all).tempdir();
        let disk = FullDisk { folder: folder.map_err(doing("creating a temporary folder"))?, part: part.to_owned() };
        let source = disk.folder.path().join("full_disk.c");
        fs::write(&source, include_str!("full_disk.c")).map_err(doing(format!("writing {}", source.display())))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(disk.library()).arg(&source).arg("-ldl");
        let output = compiler.output().map_err(doing("starting the C compiler, cc"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(doing("compiling full_disk.c")(io::Error::other(said)));
        }
        Ok(disk)
    }

    /// What a process needs in its environment to write to this disk.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.library().display().to_string()),
            ("FULL_DISK_PART", self.part.clone()),
            ("FULL_DISK_FLAG", self.flag().display().to_string()),
        ]
    }

    /// From now on there is no room.
    ///
    /// # Errors
    /// The real disk refuses.
    pub fn fill(&self) -> io::Result<()> {
        fs::write(self.flag(), "")
    }

    /// Now there is room again.
    ///
    /// # Errors
    /// There was already.
    pub fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.flag())
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("full_disk.so")
    }

    fn flag(&self) -> PathBuf {
        self.folder.path().join("full")
    }
}
