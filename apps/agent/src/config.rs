//! The configuration file `agent.conf`: what it says, and how it is written anew.
//!
//! YAML with one level of keys (control-plane API 2.3). What it does not name has a default; keys
//! that nobody here knows, and comments, survive a change.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fault::Fault;
use protocol::SecretText;
use serde::Deserialize;
use serde::de::Deserializer;
use zeroize::Zeroizing;

use crate::bandwidth::{UploadLimits, UploadWindow};

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// There is no such file.
    NotFound,
    /// It makes no sense, or lacks what is needed.
    Invalid,
    /// It cannot be read or written.
    File,
}

/// A configuration that cannot be used.
pub type ConfigError = Fault<ConfigErrorKind>;

/// No configuration file is longer.
const BYTES_MAX: u64 = 1 << 20;

/// How often a run is looked for, unless the file says otherwise.
const POLL_SECONDS: u64 = 5;
/// How often commands are looked for, unless the file says otherwise.
const COMMAND_POLL_SECONDS: u64 = 15;
/// Durable progress events are at least this far apart, unless the file says otherwise.
const PROGRESS_EVENT_SECONDS: u64 = 30;
/// The storage that is used when a run names none.
const DEST_ENDPOINT: &str = "https://s3.ca-central-1.eazybackup.com";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where the control plane's scripts are.
    #[serde(deserialize_with = "text")]
    pub api_base_url: String,
    /// What requests say they come from; empty for the usual.
    #[serde(deserialize_with = "text")]
    pub user_agent: String,
    /// Which machine this is.
    #[serde(deserialize_with = "text")]
    pub device_id: String,
    /// Which installation this is.
    #[serde(deserialize_with = "text")]
    pub install_id: String,
    /// What people call the machine; empty for its host name.
    #[serde(deserialize_with = "text")]
    pub device_name: String,
    /// Whose machine it is.
    #[serde(deserialize_with = "text")]
    pub client_id: String,
    /// Who the agent is to current servers.
    #[serde(deserialize_with = "text")]
    pub agent_uuid: String,
    /// Who it is to older ones.
    #[serde(deserialize_with = "text")]
    pub agent_id: String,
    /// What it proves that with.
    #[serde(deserialize_with = "secret")]
    pub agent_token: SecretText,
    /// What to enrol with.
    #[serde(deserialize_with = "secret")]
    pub enrollment_token: SecretText,
    /// Whom to enrol for.
    #[serde(deserialize_with = "text")]
    pub enroll_email: String,
    /// The password that goes with it.
    #[serde(deserialize_with = "secret")]
    pub enroll_password: SecretText,
    /// How much is logged: `debug`, `info`, `warn` or `error`.
    #[serde(deserialize_with = "text")]
    pub log_level: String,
    /// Seconds between looks for a run.
    pub poll_interval_secs: u64,
    /// Seconds between looks for commands.
    pub command_poll_interval_secs: u64,
    /// Whether commands and repository operations are asked for together.
    pub use_combined_poll: bool,
    /// Durable progress events are at least so many seconds apart.
    pub progress_event_interval_secs: u64,
    /// Or so much progress apart, in percent.
    pub progress_event_pct_step: f64,
    /// The server of buckets, for runs that name none.
    #[serde(deserialize_with = "text")]
    pub dest_endpoint: String,
    /// Its region.
    #[serde(deserialize_with = "text")]
    pub dest_region: String,
    /// Ours: how many runs are carried out at once.
    pub runs_at_once: usize,
    /// Ours: how many VMs of a run are backed up side by side.
    pub vms_at_once: usize,
    /// Ours: the memory that one run may take.
    pub memory_mib: u32,
    /// Ours: a checkpoint is given up when a volume of its VM has less room.
    pub min_free_gib: u32,
    /// Ours: the Hyper-V host, `hyperv:` or `sim:DIR`; empty for this machine's own.
    #[serde(deserialize_with = "text")]
    pub hyperv_host: String,
    /// Ours: KiB per second of uploads when none of the windows holds; 0 is no limit.
    pub upload_limit_kib: u64,
    /// Ours: times of the week with limits of their own, as texts; use
    /// [`upload_limits`](Self::upload_limits).
    #[serde(deserialize_with = "texts")]
    pub upload_windows: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let none = String::new;
        Self {
            api_base_url: none(),
            user_agent: none(),
            device_id: none(),
            install_id: none(),
            device_name: none(),
            client_id: none(),
            agent_uuid: none(),
            agent_id: none(),
            agent_token: SecretText::default(),
            enrollment_token: SecretText::default(),
            enroll_email: none(),
            enroll_password: SecretText::default(),
            log_level: none(),
            poll_interval_secs: POLL_SECONDS,
            command_poll_interval_secs: COMMAND_POLL_SECONDS,
            use_combined_poll: true,
            progress_event_interval_secs: PROGRESS_EVENT_SECONDS,
            progress_event_pct_step: 1.0,
            dest_endpoint: DEST_ENDPOINT.to_owned(),
            dest_region: none(),
            runs_at_once: 1,
            vms_at_once: 1,
            memory_mib: 512,
            min_free_gib: 4,
            hyperv_host: none(),
            upload_limit_kib: 0,
            upload_windows: Vec::new(),
        }
    }
}

/// Reads a text that may stand there as nothing.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.unwrap_or_default().trim().to_owned())
}

/// Reads texts that stand in a list, or between semicolons.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        One(String),
        Several(Vec<String>),
    }
    let read = Option::<Texts>::deserialize(deserializer)?;
    Ok(match read {
        None => Vec::new(),
        Some(Texts::Several(texts)) => texts,
        Some(Texts::One(text)) => {
            let parts = text.split(';').map(str::trim).filter(|it| !it.is_empty());
            parts.map(str::to_owned).collect()
        }
    })
}

/// Reads a secret as it stands there: one of digits alone is no number.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretText, D::Error> {
    text(deserializer).map(SecretText::new)
}

impl Config {
    /// Reads what stands in a configuration file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let invalid = |what: String| ConfigError::new(ConfigErrorKind::Invalid, what);
        let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(is_blank) {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| {
            // The parser quotes the line, which may hold a secret.
            let place = error.location();
            let place = place.map_or_else(String::new, |at| format!(" in line {}", at.line()));
            invalid(format!("understand it: it is no YAML of known keys{place}"))
        })?;
        config.upload_limits()?;
        Ok(config)
    }

    /// Returns how fast uploads may be, and when.
    pub fn upload_limits(&self) -> Result<UploadLimits, ConfigError> {
        let window = |text: &String| {
            text.parse().map_err(|wrong| {
                let what = format!(
                    "understand `upload_windows`: {text:?} {wrong}. One reads \"mon-fri 08:00-18:00 2048\""
                );
                ConfigError::new(ConfigErrorKind::Invalid, what)
            })
        };
        let windows: Result<Vec<UploadWindow>, _> =
            self.upload_windows.iter().map(window).collect();
        Ok(UploadLimits {
            otherwise_kib: self.upload_limit_kib,
            windows: windows?,
        })
    }

    /// Returns whether the agent has an identity at the control plane.
    pub fn is_enrolled(&self) -> bool {
        let has_name = !self.agent_uuid.is_empty() || !self.agent_id.is_empty();
        has_name && !self.agent_token.is_empty()
    }

    /// Returns whether it says how to get one.
    pub fn can_enrol(&self) -> bool {
        let by_login = !self.enroll_email.is_empty() && !self.enroll_password.is_empty();
        !self.enrollment_token.is_empty() || by_login
    }

    /// Returns whether a running service has to begin anew when this takes the place of another.
    pub fn is_another_agent_than(&self, other: &Self) -> bool {
        self.api_base_url != other.api_base_url
            || self.client_id != other.client_id
            || self.agent_uuid != other.agent_uuid
            || self.agent_id != other.agent_id
            || self.agent_token != other.agent_token
    }

    /// Returns how often a run is looked for.
    pub fn poll_interval(&self) -> Duration {
        Duration::from_secs(self.poll_interval_secs.max(1))
    }

    /// Returns how often commands are looked for.
    pub fn command_poll_interval(&self) -> Duration {
        Duration::from_secs(self.command_poll_interval_secs.max(1))
    }

    /// Returns the secrets in it.
    pub fn secrets(&self) -> [&SecretText; 3] {
        [
            &self.agent_token,
            &self.enrollment_token,
            &self.enroll_password,
        ]
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    protect: Protect,
}

/// Lets a file be read by the system and its administrators alone, where that is not so by itself.
pub type Protect = fn(&Path) -> io::Result<()>;

impl ConfigFile {
    /// Returns the file at `path`, whether it is there or not.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            protect: |_| Ok(()),
        }
    }

    /// Returns the file, of which every new content is protected like this before it is written.
    pub fn protected_by(self, protect: Protect) -> Self {
        Self { protect, ..self }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let text = self.text()?;
        Config::parse(&text).map_err(|error| self.failed("use", error.kind(), error))
    }

    /// Changes keys of it; the others, and comments, stay as they are. The new file takes the place
    /// of the old one as a whole, readable by its owner alone.
    pub fn change(&self, changes: &[(&str, &str)]) -> Result<(), ConfigError> {
        self.write(&self.text_if_there()?, changes)
    }

    /// Returns a copy beside it, with other values for some keys, that no service looks at: what is tried with
    /// it takes the file's place when it went well, and changes nothing otherwise.
    pub fn draft(&self, changes: &[(&str, &str)]) -> Result<Draft, ConfigError> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".draft");
        let draft = Draft {
            file: Self {
                path: self.path.with_file_name(name),
                protect: self.protect,
            },
            target: self.clone(),
        };
        draft.file.write(&self.text_if_there()?, changes)?;
        Ok(draft)
    }

    fn write(&self, text: &str, changes: &[(&str, &str)]) -> Result<(), ConfigError> {
        let changed = Zeroizing::new(changed(text, changes));
        Config::parse(&changed).map_err(|error| self.failed("change", error.kind(), error))?;
        let failed = |error| self.failed("write", ConfigErrorKind::File, error);
        if let Some(folder) = self.path.parent().filter(|it| !it.as_os_str().is_empty()) {
            local_file::create_private_folders(folder).map_err(failed)?;
        }
        local_file::replace_protected(&self.path, changed.as_bytes(), self.protect).map_err(failed)
    }

    fn text_if_there(&self) -> Result<Zeroizing<String>, ConfigError> {
        match self.text() {
            Err(error) if error.kind() == ConfigErrorKind::NotFound => Ok(Zeroizing::default()),
            read => read,
        }
    }

    fn text(&self) -> Result<Zeroizing<String>, ConfigError> {
        let length = std::fs::metadata(&self.path).map(|it| it.len());
        let read = length.and_then(|length| match length <= BYTES_MAX {
            true => std::fs::read_to_string(&self.path),
            false => Err(io::ErrorKind::FileTooLarge.into()),
        });
        read.map(Zeroizing::new).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ConfigErrorKind::NotFound,
                _ => ConfigErrorKind::File,
            };
            self.failed("read", kind, error)
        })
    }

    fn failed(
        &self,
        doing: &str,
        kind: ConfigErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ConfigError {
        let what = format!("{doing} the configuration file {}", self.path.display());
        ConfigError::new(kind, what).caused_by(source)
    }
}

/// A copy of a configuration file that is being tried; it goes when this does.
#[derive(Debug)]
pub struct Draft {
    file: ConfigFile,
    target: ConfigFile,
}

impl Draft {
    /// Returns the copy.
    pub fn file(&self) -> &ConfigFile {
        &self.file
    }

    /// Puts the copy in the place of the file.
    pub fn adopt(self) -> Result<(), ConfigError> {
        local_file::take_the_name_of(&self.file.path, &self.target.path)
            .map_err(|error| self.target.failed("replace", ConfigErrorKind::File, error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It holds secrets. Once it was adopted there is none of this name.
        let _ = std::fs::remove_file(&self.file.path);
    }
}

/// Returns the text with other values for some keys: each on the line of the old one, or at the end.
fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    let mut new = String::with_capacity(text.len() + 256);
    let mut done = vec![false; changes.len()];
    let mut is_in_old_value = false;
    for line in text.lines() {
        let is_continued = line.starts_with([' ', '\t']);
        if is_in_old_value && is_continued {
            // The rest of a value that was written over several lines.
            continue;
        }
        let place = changes.iter().position(|(key, _)| is_line_of(line, key));
        is_in_old_value = place.is_some();
        match place {
            Some(place) if done[place] => {}
            Some(place) => {
                done[place] = true;
                push_line(&mut new, changes[place]);
            }
            None => {
                new.push_str(line);
                new.push('\n');
            }
        }
    }
    let missing = changes.iter().zip(done).filter(|(_, done)| !done);
    missing.for_each(|(change, _)| push_line(&mut new, *change));
    new
}

fn is_line_of(line: &str, key: &str) -> bool {
    let plain = line.strip_prefix(key);
    let quoted = || line.strip_prefix('"')?.strip_prefix(key)?.strip_prefix('"');
    plain
        .or_else(quoted)
        .is_some_and(|rest| rest.trim_start().starts_with(':'))
}

fn push_line(text: &mut String, (key, value): (&str, &str)) {
    // A text of JSON is one of YAML.
    let value = serde_json::Value::from(value);
    text.push_str(&format!("{key}: {value}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_older_agent_is_understood() {
        let config = Config::parse(
            "# made by the installer\napi_base_url: https://a.example/api\nclient_id: 1204\nagent_uuid: \"0f0e\"\nagent_token: 0123456789012345678901234567890123456789\nenroll_password:\npoll_interval_secs: 7\nuse_combined_poll: false\nprogress_event_pct_step: 2\nrun_dir: C:\\ProgramData\\E3Backup\\runs\nrclone_binary: rclone\nenroll_remember_me: true\n",
        )
        .unwrap();
        assert_eq!(config.api_base_url, "https://a.example/api");
        assert_eq!(config.client_id, "1204");
        let token = "0123456789012345678901234567890123456789";
        assert_eq!(config.agent_token.reveal(), token);
        assert!(config.is_enrolled() && !config.can_enrol());
        assert_eq!(config.poll_interval(), Duration::from_secs(7));
        assert_eq!(config.command_poll_interval(), Duration::from_secs(15));
        assert!(!config.use_combined_poll);
        assert!(!format!("{config:?}").contains(token));
    }

    #[test]
    fn windows_of_uploads_are_read_in_every_form_and_what_is_wrong_with_one_is_told() {
        let limits = |text: &str| Config::parse(text).and_then(|it| it.upload_limits());
        let flow = "upload_windows: [\"mon-fri 08:00-18:00 2048\", \"sat 00:00-24:00 0\"]\nupload_limit_kib: 9000\n";
        let block = "upload_limit_kib: 9000\nupload_windows:\n- mon-fri 08:00-18:00 2048\n  # half a day\n- sat 00:00-24:00 0\n";
        let line =
            "upload_windows: mon-fri 08:00-18:00 2048; sat 00:00-24:00 0\nupload_limit_kib: 9000\n";
        let expected = limits(flow).unwrap();
        assert_eq!((expected.otherwise_kib, expected.windows.len()), (9000, 2));
        assert_eq!(limits(block).unwrap(), expected);
        assert_eq!(limits(line).unwrap(), expected);
        assert_eq!(
            limits("upload_windows:\n").unwrap(),
            UploadLimits::default()
        );
        let told = limits("upload_windows: mon-fri 8-18 2048").unwrap_err();
        let told = told.to_string();
        let words = [
            "`upload_windows`",
            "\"mon-fri 8-18 2048\"",
            "08:30",
            "One reads",
        ];
        assert!(words.iter().all(|it| told.contains(it)), "{told}");
    }

    #[test]
    fn a_draft_changes_nothing_until_it_is_adopted_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = ConfigFile::at(folder.path().join("agent.conf"));
        let url = || file.load().map(|it| it.api_base_url).ok();
        let new = [("api_base_url", "https://new.example")];
        let draft = file.draft(&new).unwrap();
        assert_eq!(url(), None);
        drop(draft);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        file.change(&[("client_id", "7")]).unwrap();
        let draft = file.draft(&new).unwrap();
        assert_eq!(url().as_deref(), Some(""));
        draft.file().change(&[("agent_uuid", "0f0e")]).unwrap();
        draft.adopt().unwrap();
        let config = file.load().unwrap();
        assert_eq!(config.api_base_url, "https://new.example");
        assert_eq!((&*config.client_id, &*config.agent_uuid), ("7", "0f0e"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_protected_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = ConfigFile::at(folder.path().join("agent.conf"));
        file.change(&[("agent_uuid", "first")]).unwrap();
        let file = file.protected_by(|_| Err(io::ErrorKind::PermissionDenied.into()));
        for refused in [
            file.change(&[("agent_token", "hush")]),
            file.draft(&[("agent_token", "hush")]).map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ConfigErrorKind::File);
        }
        assert_eq!(file.load().unwrap().agent_uuid, "first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_at_all_means_defaults() {
        for text in ["", "\n# only a comment\n"] {
            assert_eq!(Config::parse(text).unwrap(), Config::default());
        }
    }

    #[test]
    fn an_error_names_the_line_and_no_secret() {
        let text = "api_base_url: x\nagent_token: [hush, hush]\n";
        let error = Config::parse(text).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Invalid);
        assert!(!error.to_string().contains("hush"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn a_change_leaves_comments_and_unknown_keys_alone() {
        let text = "# ours\nagent_token: old # was\nenrollment_token: >-\n  aa\n  bb\nlater: {a: 1}\nagent_uuid: \"\"\n";
        let new = changed(
            text,
            &[
                ("agent_token", "n\"ew"),
                ("enrollment_token", ""),
                ("agent_uuid", "u"),
                ("client_id", "12"),
            ],
        );
        assert_eq!(
            new,
            "# ours\nagent_token: \"n\\\"ew\"\nenrollment_token: \"\"\nlater: {a: 1}\nagent_uuid: \"u\"\nclient_id: \"12\"\n"
        );
        let config = Config::parse(&new).unwrap();
        assert_eq!(config.agent_token.reveal(), "n\"ew");
        assert_eq!(config.client_id, "12");
    }

    #[test]
    fn a_file_is_made_changed_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = ConfigFile::at(folder.path().join("new/agent.conf"));
        assert_eq!(file.load().unwrap_err().kind(), ConfigErrorKind::NotFound);
        file.change(&[("api_base_url", "https://a.example")])
            .unwrap();
        file.change(&[("agent_uuid", "u"), ("agent_token", "t")])
            .unwrap();
        let config = file.load().unwrap();
        assert_eq!(config.api_base_url, "https://a.example");
        assert!(config.is_enrolled());
    }
}
