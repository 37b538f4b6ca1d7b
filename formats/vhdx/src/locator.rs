//! The parent locator: how a differencing disk names its parent. Follows no path itself.

use uuid::{Uuid, uuid};

use crate::error::{Result, damaged, unsupported};

const VHDX_LOCATOR: Uuid = uuid!("b04aefb7-d19e-4a81-b789-25b8e9445913");
const HEAD_BYTES: usize = 20;
const ENTRY_BYTES: usize = 12;

/// How a differencing disk names its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentLocator {
    /// The parent's data write GUID at the time the child was made.
    pub parent_linkage: Uuid,
    /// A second data write GUID that the parent may have.
    pub parent_linkage2: Option<Uuid>,
    /// The parent's path as seen from the child's folder, such as `.\base.vhdx`.
    pub relative_path: Option<String>,
    /// The parent's full path.
    pub absolute_win32_path: Option<String>,
    /// The parent's path on its volume, which is named by its GUID.
    pub volume_path: Option<String>,
}

impl ParentLocator {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let braced = |guid: Uuid| guid.braced().to_string();
        let entries: Vec<(&str, String)> = [
            ("parent_linkage", Some(braced(self.parent_linkage))),
            ("parent_linkage2", self.parent_linkage2.map(braced)),
            ("relative_path", self.relative_path.clone()),
            ("absolute_win32_path", self.absolute_win32_path.clone()),
            ("volume_path", self.volume_path.clone()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        let mut head = VHDX_LOCATOR.to_bytes_le().to_vec();
        head.extend([0; 2]);
        head.extend((entries.len() as u16).to_le_bytes());
        let mut texts: Vec<u8> = Vec::new();
        let texts_offset = HEAD_BYTES + entries.len() * ENTRY_BYTES;
        for (key, value) in entries {
            let key = utf16(key);
            let value = utf16(&value);
            let key_offset = texts_offset + texts.len();
            let too_long = |_| crate::error::out_of_range("name the parent: its path is too long");
            let value_bytes = u16::try_from(value.len()).map_err(too_long)?;
            head.extend((key_offset as u32).to_le_bytes());
            head.extend(((key_offset + key.len()) as u32).to_le_bytes());
            head.extend((key.len() as u16).to_le_bytes());
            head.extend(value_bytes.to_le_bytes());
            texts.extend(key);
            texts.extend(value);
        }
        head.extend(texts);
        Ok(head)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let impossible = || damaged("read the parent locator: it is impossible");
        let kind: [u8; 16] = part(bytes, 0, 16).and_then(array).ok_or_else(impossible)?;
        if Uuid::from_bytes_le(kind) != VHDX_LOCATOR {
            let kind = Uuid::from_bytes_le(kind);
            return Err(unsupported(format!(
                "understand a parent locator of type {kind}"
            )));
        }
        let count = part(bytes, 18, 2).and_then(array).ok_or_else(impossible)?;
        let mut found: [(&str, Option<String>); 5] = [
            ("parent_linkage", None),
            ("parent_linkage2", None),
            ("relative_path", None),
            ("absolute_win32_path", None),
            ("volume_path", None),
        ];
        for number in 0..usize::from(u16::from_le_bytes(count)) {
            let (key, value) =
                entry(bytes, HEAD_BYTES + number * ENTRY_BYTES).ok_or_else(impossible)?;
            let Some((_, slot)) = found.iter_mut().find(|(name, _)| *name == key) else {
                continue;
            };
            if slot.replace(value).is_some() {
                return Err(damaged(format!(
                    "read the parent locator: `{key}` comes twice"
                )));
            }
        }
        let [
            linkage,
            linkage2,
            relative_path,
            absolute_win32_path,
            volume_path,
        ] = found.map(|(_, value)| value);
        let guid = |text: String| {
            Uuid::try_parse(text.trim())
                .map_err(|cause| damaged("read the parent's linkage").caused_by(cause))
        };
        Ok(Self {
            parent_linkage: guid(linkage.ok_or_else(impossible)?)?,
            parent_linkage2: linkage2.map(guid).transpose()?,
            relative_path,
            absolute_win32_path,
            volume_path,
        })
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn part(bytes: &[u8], offset: usize, len: usize) -> Option<&[u8]> {
    bytes.get(offset..offset.checked_add(len)?)
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Returns key and value of the entry at `offset`.
fn entry(bytes: &[u8], offset: usize) -> Option<(String, String)> {
    let number = |at, len| {
        let mut wide = [0; 4];
        wide[..len].copy_from_slice(part(bytes, offset + at, len)?);
        usize::try_from(u32::from_le_bytes(wide)).ok()
    };
    let text = |offset, len: usize| {
        let units = part(bytes, offset, len)?.chunks_exact(2);
        let units = units.map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let whole = len.is_multiple_of(2);
        let decoded: std::result::Result<String, _> = char::decode_utf16(units).collect();
        decoded.ok().filter(|_| whole)
    };
    let key = text(number(0, 4)?, number(8, 2)?)?;
    let value = text(number(4, 4)?, number(10, 2)?)?;
    Some((key, value))
}
