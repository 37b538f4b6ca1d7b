//! The format blob and the object-lock settings (Kopia spec 2): how a repository is opened, and when it must be refused.

use crate::blob_folder::BlobFolder;
use crate::crypto::{self, Hash, Sealer};
use crate::ecc::Ecc;
use crate::json::{Fields, Json, go_string};

pub(crate) struct Format {
    pub(crate) unique_id: Vec<u8>,
    pub(crate) version: u64,
    pub(crate) index_version: u64,
    pub(crate) max_pack_bytes: u64,
    pub(crate) epochs: bool,
    pub(crate) enable_password_change: bool,
    pub(crate) maintenance_key: [u8; 32],
    pub(crate) hash: Hash,
    pub(crate) sealer: Sealer,
    pub(crate) violations: Vec<String>,
}

const MINUTE_NS: u64 = 60_000_000_000;

impl Format {
    pub(crate) fn open(blobs: &BlobFolder, password: &str) -> Result<Format, String> {
        let mut violations = Vec::new();
        let bytes = blobs.read("kopia.repository")?;
        let blob = Json::parse(&bytes)?;
        if printed(&blob)?.as_bytes() != bytes {
            violations.push("kopia.repository is not printed as Kopia prints it".to_owned());
        }
        let outer = blob.loose_fields("kopia.repository")?;
        if outer.need_text("encryption")? != "AES256_GCM" {
            return Err("format encryption is not AES256_GCM".to_owned());
        }
        let unique_id = outer.bytes("uniqueID")?;
        if unique_id.len() < 16 {
            return Err("uniqueID is shorter than 16 bytes".to_owned());
        }
        let format_key =
            crypto::format_key(outer.need_text("keyAlgo")?, password.as_bytes(), &unique_id)?;
        let sealed = outer.bytes("encryptedBlockFormat")?;
        let plain = crypto::open_format_sealed(&format_key, &unique_id, &sealed)
            .map_err(|error| format!("wrong password, or a damaged format blob: {error}"))?;
        let json = Json::parse(&plain)?;
        let fields = json
            .fields("sealed format", &["format"])?
            .need("format")?
            .loose_fields("format")?;
        refuse_what_we_do_not_understand(&fields)?;

        let version = fields.need_number("version")?;
        let index_version = match fields.number("indexVersion")? {
            0 => 1,
            version @ 1..=2 => version,
            version => return Err(format!("indexVersion {version} is unknown")),
        };
        if !(1..=3).contains(&version) {
            return Err(format!("format version {version} is unknown"));
        }
        let max_pack_bytes = match fields.number("maxPackSize")? {
            0 => 20 << 20,
            bytes => bytes,
        };
        if !((10 << 20)..=(120 << 20)).contains(&max_pack_bytes) {
            violations.push(format!("maxPackSize {max_pack_bytes} is out of range"));
        }
        let (secret, master_key) = (fields.bytes("secret")?, fields.bytes("masterKey")?);
        for (name, bytes) in [
            ("uniqueID", &unique_id),
            ("secret", &secret),
            ("masterKey", &master_key),
        ] {
            if bytes.len() != 32 || bytes.iter().all(|&byte| byte == 0) {
                violations.push(format!("{name} is not 32 random bytes"));
            }
        }
        if !is_splitter(fields.text("splitter")?) {
            violations.push(format!(
                "splitter {:?} is unknown",
                fields.text("splitter")?
            ));
        }
        let ecc = Ecc::new(fields.text("ecc")?, fields.number("eccOverheadPercent")?)?;
        if ecc.is_some() && version == 1 {
            violations.push("format version 1 has error correction".to_owned());
        }
        let enable_password_change = fields.flag("enablePasswordChange")?;
        let epochs = epochs_enabled(&fields, &mut violations)?;
        let purpose_root = if enable_password_change {
            &master_key[..]
        } else {
            &format_key[..]
        };
        check_blob_config(blobs, &format_key, &unique_id, &mut violations);
        Ok(Format {
            version,
            index_version,
            max_pack_bytes,
            epochs,
            enable_password_change,
            maintenance_key: crypto::hkdf(purpose_root, &unique_id, b"maintenance schedule"),
            hash: Hash::new(fields.need_text("hash")?, &secret)?,
            sealer: Sealer::new(fields.need_text("encryption")?, &master_key, ecc)?,
            violations,
            unique_id,
        })
    }
}

/// The format blob as Kopia prints it: one string a line, indented by two, and a newline at the end.
fn printed(blob: &Json) -> Result<String, String> {
    let members = blob.text_members("kopia.repository")?;
    let lines: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("  {}: {}", go_string(name), go_string(value)))
        .collect();
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

fn refuse_what_we_do_not_understand(format: &Fields<'_>) -> Result<(), String> {
    if format
        .get("upgradeLock")
        .is_some_and(|lock| *lock != Json::Null)
    {
        return Err("an upgrade is in progress".to_owned());
    }
    let features = match format.get("requiredFeatures") {
        None | Some(Json::Null) => &[],
        Some(list) => list.list("requiredFeatures")?,
    };
    for feature in features {
        let fields = feature.loose_fields("required feature")?;
        let name = fields.need_text("feature")?;
        let warn = match fields.get("ifNotUnderstood") {
            None => false,
            Some(gate) => gate.loose_fields("ifNotUnderstood")?.flag("warn")?,
        };
        if !matches!(name, "index-v1" | "index-v2") && !warn {
            return Err(format!("required feature {name:?} is unknown"));
        }
    }
    Ok(())
}

/// Whether the epoch manager is on; checks its parameters if so (Kopia spec 5.5).
fn epochs_enabled(format: &Fields<'_>, violations: &mut Vec<String>) -> Result<bool, String> {
    let Some(parameters) = format.get("epochParameters") else {
        return Ok(false);
    };
    let parameters = parameters.loose_fields("epochParameters")?;
    if !parameters.flag("Enabled")? {
        return Ok(false);
    }
    let refresh_ns = parameters.number("EpochRefreshFrequency")?;
    let duration_ns = parameters.number("MinEpochDuration")?;
    let thrice_refresh_ns = refresh_ns.saturating_mul(3);
    let valid = refresh_ns > 0
        && duration_ns >= 10 * MINUTE_NS
        && thrice_refresh_ns <= duration_ns
        && parameters.number("FullCheckpointFrequency")? >= 1
        && parameters.number("CleanupSafetyMargin")? >= thrice_refresh_ns
        && parameters.number("EpochAdvanceOnCountThreshold")? >= 10
        && parameters.number("EpochAdvanceOnTotalSizeBytesThreshold")? >= 1 << 20;
    if !valid {
        violations.push("epochParameters are out of range".to_owned());
    }
    Ok(true)
}

fn is_splitter(name: &str) -> bool {
    if matches!(name, "" | "FIXED" | "DYNAMIC") {
        return true;
    }
    let is_size = |size: &str| matches!(size, "128K" | "256K" | "512K" | "1M" | "2M" | "4M" | "8M");
    match name.split('-').collect::<Vec<_>>()[..] {
        ["FIXED", size] => is_size(size),
        ["DYNAMIC", size, "BUZHASH" | "RABINKARP"] => is_size(size),
        _ => false,
    }
}

fn check_blob_config(
    blobs: &BlobFolder,
    format_key: &[u8],
    unique_id: &[u8],
    violations: &mut Vec<String>,
) {
    let check = || {
        let plain =
            crypto::open_format_sealed(format_key, unique_id, &blobs.read("kopia.blobcfg")?)?;
        let json = Json::parse(&plain)?;
        let fields = json.fields("blob config", &["retentionMode", "retentionPeriod"])?;
        if fields.text("retentionMode")?.is_empty() && fields.number("retentionPeriod")? == 0 {
            Ok(())
        } else {
            Err("a folder cannot hold locked blobs".to_owned())
        }
    };
    if let Err(error) = check() {
        violations.push(format!("kopia.blobcfg: {error}"));
    }
}
