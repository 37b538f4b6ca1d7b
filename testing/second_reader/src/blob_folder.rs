//! The blobs of a repository in a folder (Kopia spec 1.3): which there are, and their bytes. Knows nothing of what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::json::Json;

pub(crate) struct BlobFolder {
    root: PathBuf,
    shards: Shards,
    blobs: BTreeMap<String, (PathBuf, u64)>,
    pub(crate) violations: Vec<String>,
}

struct Shards {
    default: Vec<usize>,
    overrides: Vec<(String, Vec<usize>)>,
    max_non_sharded_length: usize,
}

impl BlobFolder {
    pub(crate) fn open(root: &Path) -> Result<BlobFolder, String> {
        let mut violations = Vec::new();
        let shards_path = root.join(".shards");
        let shards = if shards_path.exists() {
            let bytes = fs::read(&shards_path).map_err(|error| format!("read .shards: {error}"))?;
            Shards::parse(&bytes)?
        } else {
            violations.push("there is no .shards file".to_owned());
            Shards {
                default: vec![3, 3],
                overrides: Vec::new(),
                max_non_sharded_length: 20,
            }
        };
        let mut folder = BlobFolder {
            root: root.to_owned(),
            shards,
            blobs: BTreeMap::new(),
            violations,
        };
        folder.list(root, "")?;
        Ok(folder)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All blob IDs with their lengths, in order.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (&str, u64)> {
        self.blobs
            .iter()
            .map(|(id, (_, length))| (id.as_str(), *length))
    }

    pub(crate) fn read(&self, id: &str) -> Result<Vec<u8>, String> {
        let (path, _) = self
            .blobs
            .get(id)
            .ok_or_else(|| format!("blob {id} does not exist"))?;
        fs::read(path).map_err(|error| format!("read blob {id}: {error}"))
    }

    pub(crate) fn read_range(&self, id: &str, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        let (path, blob_length) = self
            .blobs
            .get(id)
            .ok_or_else(|| format!("blob {id} does not exist"))?;
        let end = offset.checked_add(length).filter(|end| end <= blob_length);
        let length = match (end, usize::try_from(length)) {
            (Some(_), Ok(length)) => length,
            _ => return Err(format!("blob {id} ends before {offset}+{length}")),
        };
        let mut bytes = vec![0; length];
        fs::File::open(path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)
            })
            .map_err(|error| format!("read blob {id}: {error}"))?;
        Ok(bytes)
    }

    fn list(&mut self, directory: &Path, id_so_far: &str) -> Result<(), String> {
        let fail = |error: std::io::Error| format!("list {}: {error}", directory.display());
        for item in fs::read_dir(directory).map_err(fail)? {
            let item = item.map_err(fail)?;
            let path = item.path();
            let name = item.file_name();
            let Some(name) = name.to_str() else {
                self.violations.push(format!(
                    "file {} has a name that is not UTF-8",
                    path.display()
                ));
                continue;
            };
            let kind = item.file_type().map_err(fail)?;
            if kind.is_dir() {
                self.list(&path, &format!("{id_so_far}{name}"))?;
            } else if let (true, Some(last)) = (kind.is_file(), name.strip_suffix(".f")) {
                let length = item.metadata().map_err(fail)?.len();
                let id = format!("{id_so_far}{last}");
                if self.root.join(self.shards.path(&id)) == path {
                    self.blobs.insert(id, (path, length));
                } else {
                    self.violations.push(format!(
                        "file {} is not where blob {id} belongs",
                        path.display()
                    ));
                }
            } else if path != self.root.join(".shards") {
                self.violations
                    .push(format!("file {} is no blob", path.display()));
            }
        }
        Ok(())
    }
}

impl Shards {
    fn parse(bytes: &[u8]) -> Result<Shards, String> {
        let json = Json::parse(bytes)?;
        let fields = json.fields(".shards", &["default", "maxNonShardedLength", "overrides"])?;
        let mut overrides = Vec::new();
        if let Some(list) = fields.get("overrides") {
            for item in list.list(".shards overrides")? {
                let item = item.fields(".shards override", &["prefix", "shards"])?;
                overrides.push((
                    item.need_text("prefix")?.to_owned(),
                    sizes(item.need("shards")?)?,
                ));
            }
        }
        Ok(Shards {
            default: sizes(fields.need("default")?)?,
            overrides,
            max_non_sharded_length: usize::try_from(fields.need_number("maxNonShardedLength")?)
                .map_err(|error| error.to_string())?,
        })
    }

    /// The path of a blob below the root.
    fn path(&self, id: &str) -> PathBuf {
        if id.len() <= self.max_non_sharded_length {
            return PathBuf::from(format!("{id}.f"));
        }
        let sizes = self
            .overrides
            .iter()
            .find(|(prefix, _)| id.starts_with(prefix.as_str()))
            .map_or(&self.default, |(_, sizes)| sizes);
        let mut path = PathBuf::new();
        let mut rest = id;
        for &size in sizes {
            if rest.len() <= size {
                break;
            }
            let Some((first, others)) = rest.split_at_checked(size) else {
                break;
            };
            path.push(first);
            rest = others;
        }
        path.join(format!("{rest}.f"))
    }
}

fn sizes(json: &Json) -> Result<Vec<usize>, String> {
    json.list(".shards sizes")?
        .iter()
        .map(|size| match size {
            Json::Integer(size) if (1..=64).contains(size) => Ok(*size as usize),
            _ => Err(".shards has a size out of range".to_owned()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_lie_where_the_shards_say() {
        let shards = Shards::parse(
            br#"{"default":[1,3],"maxNonShardedLength":20,"overrides":[{"prefix":"zz","shards":[2]}]}"#,
        )
        .unwrap();
        for (id, path) in [
            (
                "p14970cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147",
                "p/149/70cbcc0aad5c5862d56ab05c37223-s953d137f970f7379147.f",
            ),
            ("kopia.repository", "kopia.repository.f"),
            ("xe12", "xe12.f"),
            ("zz14970cbcc0aad5c5862d56", "zz/14970cbcc0aad5c5862d56.f"),
        ] {
            assert_eq!(shards.path(id), PathBuf::from(path));
        }
    }
}
