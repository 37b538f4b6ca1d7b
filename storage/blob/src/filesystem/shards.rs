//! Kopia's layout of blobs in folders: the `.shards` file and the path it gives each name
//! (Kopia spec 1.3).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{BlobError, BlobErrorKind};

/// The side file's name in the root folder.
pub const SHARDS_FILE: &str = ".shards";

/// What every blob's file name ends with.
pub const SUFFIX: &str = ".f";

/// Folders under folders that one name may be cut into.
const DEPTH_MAX: usize = 16;

/// The content of `.shards`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shards {
    #[serde(default)]
    default: Option<Vec<usize>>,
    #[serde(default)]
    max_non_sharded_length: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    overrides: Option<Vec<Override>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Override {
    prefix: String,
    #[serde(default)]
    shards: Option<Vec<usize>>,
}

impl Shards {
    /// Returns a layout without overrides.
    pub fn new(sizes: &[usize]) -> Self {
        Self {
            default: Some(sizes.to_vec()),
            max_non_sharded_length: 20,
            overrides: None,
        }
    }

    /// Reads the `.shards` of the store in `root`; one that would lead anywhere odd is refused.
    pub fn parse(text: &[u8], root: &Path) -> Result<Self, BlobError> {
        // As a map first: serde would take a list for a structure as well.
        let shards: Self = serde_json::from_slice::<Map<String, Value>>(text)
            .and_then(|members| serde_json::from_value(Value::Object(members)))
            .map_err(|error| {
                let message = format!("understand {}", root.join(SHARDS_FILE).display());
                BlobError::new(BlobErrorKind::Invalid, message).caused_by(error)
            })?;
        let lists = shards.overrides.iter().flatten().map(|it| &it.shards);
        for sizes in lists.chain([&shards.default]).flatten() {
            if sizes.len() > DEPTH_MAX || sizes.contains(&0) {
                return Err(BlobError::new(
                    BlobErrorKind::Invalid,
                    format!(
                        "understand {}: {sizes:?} is no list of at most {DEPTH_MAX} lengths",
                        root.join(SHARDS_FILE).display()
                    ),
                ));
            }
        }
        Ok(shards)
    }

    /// Returns the file's text.
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string(self).expect("numbers and strings are always JSON");
        text + "\n"
    }

    /// Returns where below the root the blob lies. `name` must have passed [`crate::name::check`].
    ///
    /// # Errors
    /// `Invalid` for a name that would be cut into `.` or `..`.
    pub fn path(&self, name: &str) -> Result<PathBuf, BlobError> {
        let mut path = PathBuf::new();
        let mut rest = name;
        for &size in self.sizes(name) {
            if rest.len() <= size {
                break;
            }
            let (folder, after) = rest.split_at(size);
            if folder == "." || folder == ".." {
                return Err(BlobError::new(
                    BlobErrorKind::Invalid,
                    format!("place blob {name}: its name would be cut into {folder:?}"),
                ));
            }
            path.push(folder);
            rest = after;
        }
        path.push(format!("{rest}{SUFFIX}"));
        Ok(path)
    }

    fn sizes(&self, name: &str) -> &[usize] {
        if name.len() <= self.max_non_sharded_length {
            return &[];
        }
        let special = self.overrides.iter().flatten();
        let sizes = special
            .filter(|it| name.starts_with(&it.prefix))
            .map(|it| &it.shards)
            .next()
            .unwrap_or(&self.default);
        sizes.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(shards: &Shards, name: &str) -> String {
        let path = shards.path(name).expect(name);
        path.to_str().expect("names are ASCII").replace('\\', "/")
    }

    #[test]
    fn names_lie_where_kopia_looks_for_them() {
        let long = "p14970cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147";
        let index = "xn0_472300112233445566778899aabbccdd-s01-c1";
        let overridden =
            Shards::parse(br#"{"default":[3,3],"maxNonShardedLength":20,"overrides":[{"prefix":"p","shards":[2]},{"prefix":"p1","shards":[9]}]}"#, Path::new("repo"))
                .expect("well formed");
        let greedy = Shards::parse(
            br#"{"default":[15,15,15],"maxNonShardedLength":0}"#,
            Path::new("repo"),
        )
        .expect("well formed");
        let table = [
            (
                &Shards::new(&[1, 3]),
                long,
                "p/149/70cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147.f",
            ),
            (
                &Shards::new(&[1, 3]),
                "kopia.repository",
                "kopia.repository.f",
            ),
            (&Shards::new(&[1, 3]), "xe12", "xe12.f"),
            (
                &Shards::new(&[1, 3]),
                index,
                "x/n0_/472300112233445566778899aabbccdd-s01-c1.f",
            ),
            (
                &Shards::new(&[1, 3]),
                "a1234567890123456789",
                "a1234567890123456789.f",
            ),
            (
                &Shards::new(&[1, 3]),
                "a12345678901234567890",
                "a/123/45678901234567890.f",
            ),
            (
                &Shards::new(&[3, 3]),
                long,
                "p14/970/cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147.f",
            ),
            (
                &Shards::new(&[]),
                long,
                "p14970cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147.f",
            ),
            (
                &overridden,
                long,
                "p1/4970cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147.f",
            ),
            (
                &overridden,
                index,
                "xn0/_47/2300112233445566778899aabbccdd-s01-c1.f",
            ),
            (&greedy, "kopia.repository", "kopia.repositor/y.f"),
            (&greedy, "kopia.repositor", "kopia.repositor.f"),
        ];
        for (shards, name, path) in table {
            assert_eq!(path_of(shards, name), path);
        }
    }

    #[test]
    fn the_text_is_kopias() {
        let text = "{\"default\":[1,3],\"maxNonShardedLength\":20}\n";
        assert_eq!(Shards::new(&[1, 3]).to_text(), text);
        assert_eq!(
            Shards::parse(text.as_bytes(), Path::new("repo")).expect("its own"),
            Shards::new(&[1, 3])
        );
    }

    #[test]
    fn absent_members_mean_no_sharding_as_in_go() {
        let shards = Shards::parse(br#"{"default":null,"later":1}"#, Path::new("repo"))
            .expect("well formed");
        assert_eq!(
            path_of(&shards, &"p".repeat(40)),
            format!("{}.f", "p".repeat(40))
        );
    }

    #[test]
    fn a_shards_file_that_leads_nowhere_is_refused() {
        for text in [
            "",
            "[]",
            "{\"default\":[0]}",
            "{\"default\":[-1]}",
            "{\"default\":\"1\"}",
        ] {
            let error = Shards::parse(text.as_bytes(), Path::new("repo")).expect_err(text);
            assert_eq!(error.kind(), BlobErrorKind::Invalid, "{text}");
        }
        let deep = format!(
            "{{\"overrides\":[{{\"prefix\":\"p\",\"shards\":{:?}}}]}}",
            [1; DEPTH_MAX + 1]
        );
        assert!(Shards::parse(deep.as_bytes(), Path::new("repo")).is_err());
    }

    #[test]
    fn a_name_never_climbs_out() {
        let name = "p..4970cbcc0aad5c5862d56ab05c37223";
        assert!(crate::name::is_valid(name));
        let error = Shards::new(&[1, 2]).path(name).expect_err("cut into ..");
        assert_eq!(error.kind(), BlobErrorKind::Invalid);
    }
}
