//! Where things are.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use development_key::DevelopmentKey;

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

/// The folder of the programs that the functions are measured against.
pub(crate) fn peers() -> PathBuf {
    root().join("lab/bench/peers")
}

/// The folder of what is built of them, and of the results.
pub(crate) fn bench() -> PathBuf {
    root().join("target/bench")
}

/// The folder of what the linters need.
pub(crate) fn checks() -> PathBuf {
    root().join("xtask/checks")
}

/// The file of the key that signs tokens for the stacks of this checkout.
pub(crate) fn development_key_file() -> PathBuf {
    scratch().join("development-key.p8")
}

/// The key that signs tokens for the stacks of this checkout. It is made on first use.
pub(crate) fn development_key() -> Result<DevelopmentKey, Failure> {
    DevelopmentKey::load_or_create(&development_key_file()).map_err(|error| Failure::new(error.to_string()))
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

    /// The file that describes the running stack to others.
    pub(crate) fn description(&self) -> PathBuf {
        self.file("stack.json")
    }

    /// The file with the environment of the functions.
    pub(crate) fn function_environment(&self) -> PathBuf {
        self.file("functions.env")
    }

    /// The home folder of the programs that run here: the user's has settings and accounts in it.
    pub(crate) fn home(&self) -> Result<PathBuf, Failure> {
        self.folder("home")
    }

    /// The folder of temporary files.
    pub(crate) fn temporary(&self) -> Result<PathBuf, Failure> {
        self.folder("tmp")
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.file(name);
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

/// What is of use only while the stack runs goes with it; the logs stay for whoever wants to know what happened.
impl Drop for StateFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the folder is claimed again.
        for file in [self.description(), self.function_environment()] {
            let _ = fs::remove_file(file);
        }
        for name in ["home", "tmp"] {
            let _ = fs::remove_dir_all(self.file(name));
        }
    }
}
