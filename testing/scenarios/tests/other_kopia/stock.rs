//! Stock Kopia, as processes with a configuration and a cache of their own.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use scenarios::PASSWORD;
use serde_json::Value;

use crate::other_client::OtherClient;

/// Returns `$KOPIA`, or `kopia` on the path; or says what is left out without it.
pub fn find_or_leave_out(what: &str) -> Option<PathBuf> {
    let on_path = || {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders)
            .map(|folder| folder.join("kopia"))
            .find(|path| path.is_file())
    };
    let found = std::env::var_os("KOPIA")
        .map(PathBuf::from)
        .or_else(on_path);
    if found.is_none() {
        // Not by `println!`, which shows nothing of tests that pass.
        let said = writeln!(
            std::io::stderr(),
            "left out: {what}: stock kopia is neither named by KOPIA nor on PATH"
        );
        said.unwrap();
    }
    found
}

/// Stock Kopia, connected to a repository.
pub struct StockKopia {
    executable: PathBuf,
    folder: PathBuf,
    time_zone: String,
}

impl StockKopia {
    /// Connects to the repository in the folder `repository`, as somebody else than we are;
    /// `folder` is for itself.
    pub fn connect(executable: &Path, repository: &Path, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let kopia = Self {
            executable: executable.to_owned(),
            folder: folder.to_owned(),
            time_zone: "UTC".to_owned(),
        };
        kopia.run(&[
            "repository",
            "connect",
            "filesystem",
            &format!("--path={}", repository.display()),
            "--override-username=someone",
            "--override-hostname=elsewhere",
            "--no-check-for-updates",
        ]);
        kopia
    }

    /// Returns the same client on a machine in another time zone.
    pub fn in_time_zone(&self, name: &str) -> Self {
        Self {
            executable: self.executable.clone(),
            folder: self.folder.clone(),
            time_zone: name.to_owned(),
        }
    }

    /// Runs a command, which must succeed; returns what it wrote to stdout.
    pub fn run(&self, arguments: &[&str]) -> String {
        let cache = self.folder.join("cache");
        // Kopia believes a listing of index blobs for 30 seconds; what we wrote since then it would not see.
        if cache.join("blob-list").exists() {
            std::fs::remove_dir_all(cache.join("blob-list")).unwrap();
        }
        let output = Command::new(&self.executable)
            .args(["--no-progress", "--no-auto-maintenance"])
            .args(arguments)
            .current_dir(&self.folder)
            .env("KOPIA_PASSWORD", PASSWORD)
            .env("KOPIA_CONFIG_PATH", self.folder.join("config"))
            .env("KOPIA_CACHE_DIRECTORY", cache)
            .env("KOPIA_LOG_DIR", self.folder.join("logs"))
            .env("KOPIA_CHECK_FOR_UPDATES", "false")
            .env("KOPIA_PERSIST_CREDENTIALS_ON_CONNECT", "false")
            .env("TZ", &self.time_zone)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "kopia {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the manifests of all snapshots, incomplete ones included, with the reasons why
    /// retention keeps them.
    pub fn manifests(&self) -> Vec<Value> {
        let list = self.run(&["snapshot", "list", "--all", "--json"]);
        serde_json::from_str(&list).unwrap()
    }
}

/// Returns a text in a manifest, or an empty one.
pub fn text_of<'v>(manifest: &'v Value, member: &str) -> &'v str {
    manifest[member].as_str().unwrap_or_default()
}

impl OtherClient for StockKopia {
    fn list(&self) -> BTreeSet<String> {
        let manifests = self.manifests();
        let complete = manifests
            .iter()
            .filter(|manifest| text_of(manifest, "incomplete").is_empty());
        complete
            .map(|manifest| text_of(manifest, "id").to_owned())
            .collect()
    }

    fn verify(&self) {
        self.run(&["snapshot", "verify", "--verify-files-percent=100"]);
    }

    fn restore(&self, id: &str, to: &Path) {
        self.run(&["restore", id, to.to_str().unwrap(), "--mode=local"]);
    }

    fn store(&self, folder: &Path) -> String {
        let json = self.run(&["snapshot", "create", "--json", folder.to_str().unwrap()]);
        let manifest: Value = serde_json::from_str(&json).unwrap();
        text_of(&manifest, "id").to_owned()
    }

    fn delete(&self, id: &str) {
        self.run(&["snapshot", "delete", id, "--delete"]);
    }

    fn pin(&self, id: &str) -> String {
        let before = self.list();
        self.run(&["snapshot", "pin", id, "--add=keep"]);
        let after = self.list();
        let mut new = after.difference(&before);
        new.next().expect("a pinned snapshot has a new id").clone()
    }

    fn maintain(&self) {
        self.run(&["maintenance", "set", "--owner=me"]);
        self.run(&["maintenance", "run", "--full", "--safety=none"]);
    }

    fn maintain_beside_others(&self) {
        self.run(&["maintenance", "set", "--owner=me"]);
        self.run(&["maintenance", "run", "--full", "--safety=full"]);
    }
}
