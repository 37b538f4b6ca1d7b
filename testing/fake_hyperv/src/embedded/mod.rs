//! Embedded instances as text: CIM DTD 2.0, and WMI DTD 2.0 on the way in (Hyper-V spec 2.3).
//!
//! What comes in is read strictly against the class: an unknown property, a type that is not
//! the property's or a value that is none is refused, as whatever else is no such instance.

mod xml;

use windows_host::wmi::{TextForm, Value, WmiObject};

use crate::schema::{CimType, Class, Property, Schema};
use xml::Element;

/// Why a text is no instance of the class that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EmbeddedError {
    /// It is no such text at all.
    Syntax,
    /// It is an instance of another class.
    Class,
    /// It has a property that the class has not.
    Property,
    /// A property has another type, or a value that does not fit it.
    Type,
}

/// Returns an object of `class` as text, in the form that Hyper-V hands out.
pub(crate) fn write(class: &Class, object: &WmiObject) -> String {
    write_as(TextForm::CimDtd20, class, object)
}

/// Returns an object of `class` as text. WMI DTD 2.0 tells system properties too, and of each
/// property the class that it comes from.
pub(crate) fn write_as(form: TextForm, class: &Class, object: &WmiObject) -> String {
    let mut text = format!("<INSTANCE CLASSNAME=\"{}\">", class.name);
    let origin = match form {
        TextForm::CimDtd20 => String::new(),
        TextForm::WmiDtd20 => {
            text += &format!(
                "<PROPERTY NAME=\"__CLASS\" CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\"><VALUE>{}</VALUE></PROPERTY>",
                class.name
            );
            format!(" CLASSORIGIN=\"{}\"", class.name)
        }
    };
    for property in &class.properties {
        let value = object.value(&property.name);
        let tag = if property.array {
            "PROPERTY.ARRAY"
        } else {
            "PROPERTY"
        };
        text += &format!(
            "<{tag} NAME=\"{}\"{origin} TYPE=\"{}\">",
            property.name,
            property.cim.name()
        );
        text += &write_value(property, value);
        text += &format!("</{tag}>");
    }
    text + "</INSTANCE>"
}

fn write_value(property: &Property, value: &Value) -> String {
    let one = |value: &Value| {
        let text = property.cim.write(value).unwrap_or_default();
        format!("<VALUE>{}</VALUE>", xml::escaped(&text))
    };
    match value {
        Value::Null => String::new(),
        Value::Bytes(bytes) => {
            let values: String = bytes.iter().map(|byte| one(&Value::U8(*byte))).collect();
            format!("<VALUE.ARRAY>{values}</VALUE.ARRAY>")
        }
        Value::Array(values) => {
            let values: String = values.iter().map(one).collect();
            format!("<VALUE.ARRAY>{values}</VALUE.ARRAY>")
        }
        value => one(value),
    }
}

/// Reads an instance of `class` or of a class that inherits from it.
pub(crate) fn read(schema: &Schema, class: &str, text: &str) -> Result<WmiObject, EmbeddedError> {
    let root = xml::parse(text).ok_or(EmbeddedError::Syntax)?;
    if root.name != "INSTANCE" {
        return Err(EmbeddedError::Syntax);
    }
    let name = root.attribute("CLASSNAME").ok_or(EmbeddedError::Syntax)?;
    if !schema.takes(form_of(&root)) {
        return Err(EmbeddedError::Syntax);
    }
    if !schema.is_a(name, class) {
        return Err(EmbeddedError::Class);
    }
    let class = schema.class(name).ok_or(EmbeddedError::Class)?;
    let mut object = WmiObject {
        class: class.name.clone(),
        ..WmiObject::default()
    };
    for element in &root.children {
        if element.name == "QUALIFIER" {
            continue;
        }
        if let Some((property, value)) = read_property(class, element)? {
            object.set(&property.name, value);
        }
    }
    Ok(object)
}

/// Returns the form of an instance: only WMI DTD 2.0 tells where properties come from.
fn form_of(instance: &Element) -> TextForm {
    let mut properties = instance.children.iter();
    match properties.any(|property| property.attribute("CLASSORIGIN").is_some()) {
        true => TextForm::WmiDtd20,
        false => TextForm::CimDtd20,
    }
}

fn read_property<'a>(
    class: &'a Class,
    element: &Element,
) -> Result<Option<(&'a Property, Value)>, EmbeddedError> {
    let array = match element.name.as_str() {
        "PROPERTY" => false,
        "PROPERTY.ARRAY" => true,
        _ => return Err(EmbeddedError::Syntax),
    };
    let name = element.attribute("NAME").ok_or(EmbeddedError::Syntax)?;
    // WMI DTD 2.0 tells system properties too.
    if name.starts_with("__") && element.attribute("CLASSORIGIN") == Some("___SYSTEM") {
        return Ok(None);
    }
    let property = class.property(name).ok_or(EmbeddedError::Property)?;
    let cim = element
        .attribute("TYPE")
        .and_then(CimType::named)
        .ok_or(EmbeddedError::Syntax)?;
    if cim != property.cim || array != property.array {
        return Err(EmbeddedError::Type);
    }
    let mut content = element
        .children
        .iter()
        .filter(|child| child.name != "QUALIFIER");
    let value = match (content.next(), content.next()) {
        (None, _) => Value::Null,
        (Some(value), None) if array && value.name == "VALUE.ARRAY" => read_array(cim, value)?,
        (Some(value), None) if !array && value.name == "VALUE" => read_one(cim, value)?,
        _ => return Err(EmbeddedError::Syntax),
    };
    Ok(Some((property, value)))
}

fn read_array(cim: CimType, element: &Element) -> Result<Value, EmbeddedError> {
    let values = element.children.iter().map(|child| read_one(cim, child));
    let values: Vec<Value> = values.collect::<Result<_, _>>()?;
    if cim != CimType::Uint8 {
        return Ok(Value::Array(values));
    }
    let bytes = values.into_iter().filter_map(|value| match value {
        Value::U8(byte) => Some(byte),
        _ => None,
    });
    Ok(Value::Bytes(bytes.collect()))
}

fn read_one(cim: CimType, element: &Element) -> Result<Value, EmbeddedError> {
    if element.name != "VALUE" || !element.children.is_empty() {
        return Err(EmbeddedError::Syntax);
    }
    cim.read(&element.text).ok_or(EmbeddedError::Type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manners;

    const CLASS: &str = "Msvm_VirtualSystemSettingData";

    fn schema() -> Schema {
        Schema::virtualization(&Manners::default())
    }

    #[test]
    fn an_object_survives_its_text() {
        let schema = schema();
        let mut object = WmiObject {
            class: CLASS.to_owned(),
            ..WmiObject::default()
        };
        object.set("InstanceID", r"Microsoft:A\B");
        object.set("ElementName", "a <b> & \"c\" 'd'\nBücher");
        object.set("Notes", Value::texts(["one", "", "<three>"]));
        object.set("UserSnapshotType", 3u16);
        object.set("DebugPort", Value::u32(u32::MAX));
        object.set("LowMmioGapSize", Value::decimal(u64::MAX));
        object.set("IsSaved", false);
        let text = write(schema.class(CLASS).unwrap(), &object);
        let read = read(&schema, "CIM_VirtualSystemSettingData", &text).unwrap();
        for (name, value) in &object.properties {
            assert_eq!(read.value(name), value, "{name} of {text}");
        }
        assert_eq!(*read.value("Version"), Value::Null);
    }

    #[test]
    fn what_does_not_fit_the_class_is_refused() {
        let class = "Msvm_VirtualSystemSnapshotSettingData";
        let good = format!(
            "<INSTANCE CLASSNAME=\"{class}\"><PROPERTY NAME=\"ConsistencyLevel\" TYPE=\"uint8\"><VALUE>1</VALUE></PROPERTY></INSTANCE>"
        );
        let schema = schema();
        assert_eq!(
            *read(&schema, class, &good)
                .unwrap()
                .value("ConsistencyLevel"),
            Value::U8(1)
        );
        for (from, to, error) in [
            (class, "Msvm_Error", EmbeddedError::Class),
            (class, "Msvm_Nothing", EmbeddedError::Class),
            ("uint8", "uint16", EmbeddedError::Type),
            (">1<", ">256<", EmbeddedError::Type),
            (">1<", ">one<", EmbeddedError::Type),
            ("ConsistencyLevel", "Consistency", EmbeddedError::Property),
            ("VALUE", "value", EmbeddedError::Syntax),
            ("</INSTANCE>", "", EmbeddedError::Syntax),
            ("INSTANCE CLASSNAME", "INSTANCE NAME", EmbeddedError::Syntax),
        ] {
            let bad = good.replace(from, to);
            assert_eq!(read(&schema, class, &bad), Err(error), "{bad}");
        }
        assert_eq!(read(&schema, class, ""), Err(EmbeddedError::Syntax));
    }

    #[test]
    fn the_other_encoding_is_read_too() {
        let text = "<INSTANCE CLASSNAME=\"Msvm_DiskMergeSettingData\"><PROPERTY NAME=\"__PATH\" CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\"><VALUE>x</VALUE></PROPERTY><PROPERTY NAME=\"EnabledState\" CLASSORIGIN=\"Msvm_DiskMergeSettingData\" TYPE=\"uint16\"><QUALIFIER NAME=\"CIMTYPE\" TYPE=\"string\"><VALUE>uint16</VALUE></QUALIFIER><VALUE>1</VALUE></PROPERTY></INSTANCE>";
        let object = read(&schema(), "Msvm_DiskMergeSettingData", text).unwrap();
        assert_eq!(object.u16("EnabledState").unwrap(), 1);
    }

    #[test]
    fn one_form_alone_may_be_taken() {
        for only in [TextForm::CimDtd20, TextForm::WmiDtd20] {
            let manners = Manners {
                only_text_form: Some(only),
                ..Manners::default()
            };
            let schema = Schema::virtualization(&manners);
            let class = schema.class("Msvm_DiskMergeSettingData").unwrap();
            let mut object = WmiObject::default();
            object.set("EnabledState", 1u16);
            for form in [TextForm::CimDtd20, TextForm::WmiDtd20] {
                let text = write_as(form, class, &object);
                let taken = read(&schema, &class.name, &text).is_ok();
                assert_eq!(taken, form == only, "{text}");
            }
        }
    }
}
