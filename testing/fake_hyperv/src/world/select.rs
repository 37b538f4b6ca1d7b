//! Objects as queries show them: those of a class that fit, whole or with what is selected.

use windows_host::wmi::{WmiError, WmiObject};

use super::{Subject, World};
use crate::codes;
use crate::wql::Condition;

/// A row of an answer.
pub(crate) type Row = (WmiObject, Option<Subject>);

impl World<'_> {
    /// Returns the objects of a class that fit a condition.
    ///
    /// # Errors
    /// 0x80041010 if there is no such class, 0x80041017 if the condition is none for it.
    pub(crate) fn select(
        &self,
        class: &str,
        condition: Option<&Condition>,
    ) -> Result<Vec<Row>, WmiError> {
        let known = self.schema.wanted(class)?;
        if condition.is_some_and(|condition| !condition.fits(known)) {
            return Err(WmiError::call(
                format!("query {class} by properties that it does not have"),
                codes::INVALID_QUERY,
            ));
        }
        let instances = self
            .instances
            .iter()
            .filter(|instance| self.schema.is_a(&instance.object.class, class))
            .map(|instance| (instance.object.clone(), Some(instance.subject.clone())));
        let links = self
            .links
            .iter()
            .filter(|link| self.schema.is_a(link.class, class))
            .map(|link| (self.link_object(link), None));
        let rows = instances.chain(links);
        let holds = |(object, _): &Row| condition.is_none_or(|condition| condition.holds(object));
        Ok(rows.filter(holds).collect())
    }

    /// Returns an object with every property of its class.
    pub(crate) fn full(&self, object: &WmiObject) -> Result<WmiObject, WmiError> {
        let class = self.schema.wanted(&object.class)?;
        let properties = class.properties.iter();
        Ok(WmiObject {
            class: object.class.clone(),
            path: object.path.clone(),
            properties: properties
                .map(|property| (property.name.clone(), object.value(&property.name).clone()))
                .collect(),
        })
    }

    /// Returns an object with the properties of these names; with all if none are named.
    ///
    /// # Errors
    /// 0x80041017 if its class has no property of one of the names.
    pub(crate) fn selected(
        &self,
        object: &WmiObject,
        names: Option<&[String]>,
    ) -> Result<WmiObject, WmiError> {
        let full = self.full(object)?;
        let Some(names) = names else {
            return Ok(full);
        };
        let class = self.schema.wanted(&object.class)?;
        let mut properties = Vec::new();
        for name in names.iter().filter(|name| !name.starts_with("__")) {
            let known = class.property(name).ok_or_else(|| {
                WmiError::call(
                    format!("select {name} of {}: there is no such property", class.name),
                    codes::INVALID_QUERY,
                )
            })?;
            properties.push((known.name.clone(), full.value(name).clone()));
        }
        // Without its keys an object cannot be located, and has no path.
        let named = |key: &str| names.iter().any(|name| name.eq_ignore_ascii_case(key));
        let locatable = class.keys().all(|key| named(&key.name));
        let path = full.path.filter(|_| locatable);
        Ok(WmiObject {
            properties,
            path,
            ..full
        })
    }
}
