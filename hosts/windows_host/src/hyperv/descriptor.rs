//! The settings of a checkpoint as text: for people to read, and for the day on which its own files
//! are of no use (Hyper-V spec 9.1, way 3).

use hyperv::{ConfigurationFile, HypervError};

use super::errors::wmi_error;
use super::provider::Provider;
use crate::wmi::{EmbeddedSource, WmiObject};

/// The name under which the text is kept.
pub(super) const DESCRIPTOR: &str = "settings.xml";

/// Returns the settings and all their parts, one instance after the other as Hyper-V writes them.
/// What cannot be written stands there as a remark, as does why there are no other files.
///
/// # Errors
/// If Hyper-V does not tell which parts there are.
pub(super) fn of(
    provider: &Provider,
    settings: &WmiObject,
    why_alone: Option<&str>,
) -> Result<ConfigurationFile, HypervError> {
    let path = settings
        .path()
        .map_err(|error| wmi_error("write down the settings of a VM", error))?;
    let parts = provider.components(path)?;
    let mut text = "<settings>\n".to_owned();
    if let Some(why) = why_alone {
        text += &remark(&format!("the VM's own files could not be had: {why}"));
    }
    for object in std::iter::once(settings).chain(&parts) {
        text += &instance(provider, object);
    }
    text += "</settings>\n";
    Ok(ConfigurationFile {
        name: DESCRIPTOR.to_owned(),
        content: text.into_bytes(),
    })
}

fn instance(provider: &Provider, object: &WmiObject) -> String {
    let doing = format!("write down a {}", object.class);
    let path = object.path().map_err(|error| wmi_error(&doing, error));
    let written =
        path.and_then(|path| provider.embedded(&doing, EmbeddedSource::Instance(path), &[]));
    match written {
        Ok(text) => text.trim().to_owned() + "\n",
        Err(error) => remark(&error.to_string()),
    }
}

fn remark(text: &str) -> String {
    // Two hyphens would end it.
    format!("<!-- {} -->\n", text.replace("--", "- -"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_ends_where_it_should() {
        let text = remark("no --> here ---");
        assert_eq!(text.matches("-->").count(), 1, "{text}");
        assert!(text.ends_with("-->\n"));
    }
}
