//! Where things are.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The folder of all that is made while working and never committed.
pub(crate) fn scratch() -> PathBuf {
    root().join("target/intake")
}

/// The folder of the local emulator's own files.
pub(crate) fn emulator() -> PathBuf {
    root().join("xtask/emulator")
}

/// The packages of the functions, by name.
pub(crate) fn functions() -> Result<Vec<String>, Failure> {
    let folder = root().join("functions");
    let read = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    };
    read().map_err(|error| Failure::file("read", &folder, &error))
}

/// Makes a folder with all above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| Failure::file("create", path, &error))
}

/// The folder of one running stack. It belongs to one process at a time, and the operating system takes it
/// back when that process ends, in whatever way.
pub(crate) struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Takes the folder of the stack of this name, and empties it of what the last run left there.
    pub(crate) fn claim(name: &str) -> Result<Self, Failure> {
        let path = scratch().join(name);
        make_folder(&path)?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).map_err(|error| Failure::file("write", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::new(format!("`cargo xtask {name}` is running already"))
                    .advise("end that one first"));
            }
            Err(TryLockError::Error(error)) => return Err(Failure::file("lock", &lock_path, &error)),
        }
        let folder = Self { path, _lock: lock };
        folder.empty()?;
        Ok(folder)
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new folder in the folder.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        make_folder(&path)?;
        Ok(path)
    }

    fn empty(&self) -> Result<(), Failure> {
        let empty = || -> std::io::Result<()> {
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_name() == "lock" {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        empty().map_err(|error| Failure::file("empty", &self.path, &error))
    }
}
