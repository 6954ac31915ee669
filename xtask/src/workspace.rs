//! Where things are in the repository.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use development_key::DevelopmentKey;
use serde_json::Value;

use crate::failure::Failure;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The folder of generated files, which are never committed.
pub(crate) fn scratch() -> PathBuf {
    root().join("target/intake")
}

/// The folder of the local emulator's files.
pub(crate) fn emulator() -> PathBuf {
    root().join("xtask/emulator")
}

/// The folder of the programs that the functions are compared with.
pub(crate) fn peers() -> PathBuf {
    root().join("lab/bench/peers")
}

/// The folder of their builds, and of the results.
pub(crate) fn bench() -> PathBuf {
    root().join("target/bench")
}

/// The folder of what the checks need.
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

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| Failure::file("create", path, &error))
}

/// The folder of one running stack. It belongs to one process at a time, and the operating system releases it when
/// that process ends, however it ends.
pub(crate) struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Takes the folder of the stack of this name, and removes what the last run left there.
    pub(crate) fn claim(name: &str) -> Result<Self, Failure> {
        let path = scratch().join(name);
        make_folder(&path)?;
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).map_err(|error| Failure::file("write", &lock_path, &error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Failure::new(format!("`cargo xtask {name}` is running already")).advise("end that one first")
            }
            TryLockError::Error(error) => Failure::file("lock", &lock_path, &error),
        })?;
        fs::remove_dir_all(&path).map_err(|error| Failure::file("remove", &path, &error))?;
        make_folder(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file that describes the running stack to other programs.
    pub(crate) fn description(&self) -> PathBuf {
        self.file("stack.json")
    }

    /// Writes that file, and returns its path.
    pub(crate) fn describe(&self, description: &Value) -> Result<PathBuf, Failure> {
        let path = self.description();
        fs::write(&path, format!("{description:#}\n"))
            .map_err(|error| Failure::file("write", &path, &error))?;
        Ok(path)
    }

    /// The file with the environment of the functions.
    pub(crate) fn function_environment(&self) -> PathBuf {
        self.file("functions.env")
    }

    /// A folder in the folder.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.file(name);
        make_folder(&path)?;
        Ok(path)
    }

    /// The home folder of the programs that run here: the user's has settings and accounts.
    pub(crate) fn home(&self) -> Result<PathBuf, Failure> {
        self.folder("home")
    }
}

/// What is useful only while the stack runs goes with it. The logs stay.
impl Drop for StateFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the folder is taken again.
        for file in [self.description(), self.function_environment()] {
            let _ = fs::remove_file(file);
        }
        for name in ["home", "tmp", "events"] {
            let _ = fs::remove_dir_all(self.file(name));
        }
    }
}
