//! Information as bytes, laid out as GET_VIRTUAL_DISK_INFO is.

use uuid::Uuid;
use windows::Win32::Storage::Vhd::VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT;
use windows_host::virtdisk::{Container, VirtualDiskSize};

/// Every answer is at least as long as the structure.
const STRUCTURE_BYTES: usize = 32;

/// What is answered, behind the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Word(u32),
    Size(VirtualDiskSize),
    Guid(Uuid),
    StorageType(Container),
    /// Numbers, then text that ends with two zeros.
    Text(Vec<u32>, String),
}

impl Answer {
    /// Returns it as bytes, with the version in front.
    pub fn bytes(&self, version: i32) -> Vec<u8> {
        let mut bytes = version.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        match self {
            Self::Word(word) => bytes.extend(word.to_le_bytes()),
            Self::Size(size) => {
                bytes.extend(size.virtual_bytes.to_le_bytes());
                // How long the file is now; nobody here asks.
                bytes.extend([0; 8]);
                bytes.extend(size.block_bytes.to_le_bytes());
                bytes.extend(size.sector_bytes.to_le_bytes());
            }
            Self::Guid(guid) => bytes.extend(guid.to_bytes_le()),
            Self::StorageType(container) => {
                bytes.extend(device_id(*container).to_le_bytes());
                let vendor = Uuid::from_u128(VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT.to_u128());
                bytes.extend(vendor.to_bytes_le());
            }
            Self::Text(words, text) => {
                bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
                bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
                bytes.extend([0; 4]);
            }
        }
        bytes.resize(bytes.len().max(STRUCTURE_BYTES), 0);
        bytes
    }
}

fn device_id(container: Container) -> u32 {
    match container {
        Container::Vhd => 2,
        Container::Vhdx => 3,
        Container::VhdSet => 4,
        Container::Other(other) => other,
    }
}
