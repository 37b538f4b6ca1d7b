//! What addresses and members bring, checked, and the answers that every route may give besides its own.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use sea_orm::DbErr;
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, IntoResponses};

use crate::people_api::error::{ApiError, ApiResult, ErrorBody};
use crate::people_api::input::{LIST_MAX, time_ms};
use crate::people_api::paging::{Page, Paging};

/// How long a path may be, in characters.
pub const PATH_MAX: usize = 4_096;

const ID_BYTES_MAX: usize = 64;

/// Whose things are wanted, of people of the installation.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfTenant {
    /// The tenant, for people of the installation.
    pub tenant_id: Option<String>,
}

/// What looking at something may be answered with besides what every route may.
#[derive(IntoResponses)]
pub enum LookRefusals {
    /// It does not exist, or belongs to another tenant.
    #[response(status = 404)]
    NotFound(ErrorBody),
}

/// What changing something may be answered with besides what every route may.
#[derive(IntoResponses)]
pub enum ChangeRefusals {
    /// It does not exist, or belongs to another tenant.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// It does not go with what is there.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// Too much was asked for in a short time.
    #[response(status = 429)]
    TooMany(ErrorBody),
}

/// What the path names. Something that cannot be the id of anything does not exist.
#[derive(Clone, Debug)]
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::not_found("what the path names"))?;
        if id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(ApiError::not_found("what the path names"));
        }
        Ok(Self(id))
    }
}

/// Returns the cursor behind something in a list that is sorted by name and id.
pub fn name_cursor(name: &str, id: &str) -> String {
    hex::encode(format!("{id}\n{name}"))
}

/// Returns the name and the id that a cursor stands for.
pub fn name_of_cursor(cursor: Option<&str>) -> ApiResult<Option<(String, String)>> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let bytes = hex::decode(cursor).map_err(|_| unknown_cursor())?;
    let text = String::from_utf8(bytes).map_err(|_| unknown_cursor())?;
    let (id, name) = text.split_once('\n').ok_or_else(unknown_cursor)?;
    if text.contains('\0') {
        return Err(unknown_cursor());
    }
    Ok(Some((name.to_owned(), id.to_owned())))
}

/// Returns a page of a list that is sorted by name and id. `behind` finds the rows behind such a pair, so many at most;
/// `key` is the pair of a row.
pub async fn page_by_name<R, F: Future<Output = Result<Vec<R>, DbErr>>>(
    paging: &Paging,
    behind: impl FnOnce(Option<(String, String)>, u64) -> F,
    key: impl Fn(&R) -> (&str, &str),
) -> ApiResult<Page<R>> {
    let limit = paging.limit()?;
    let after = name_of_cursor(paging.after())?;
    let rows = behind(after, limit + 1).await?;
    let cursor = |row: &R| {
        let (name, id) = key(row);
        name_cursor(name, id)
    };
    Ok(Page::of(rows, limit, cursor, |row| row))
}

/// Returns the id of a run that a cursor stands for.
pub fn id_cursor(cursor: Option<&str>) -> ApiResult<Option<String>> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let id = uuid::Uuid::parse_str(cursor).map_err(|_| unknown_cursor())?;
    Ok(Some(id.to_string()))
}

fn unknown_cursor() -> ApiError {
    ApiError::invalid("cursor", "take the `next` of the part before as it is")
}

/// Returns the number in a path; what is no number, or is written in another way than we write it, names nothing.
pub fn number(what: &str, text: &str) -> ApiResult<i64> {
    text.parse()
        .ok()
        .filter(|number: &i64| number.to_string() == text)
        .ok_or_else(|| ApiError::not_found(format!("{what} {}", shown(text))))
}

/// Returns what a caller named, fit for a message.
pub fn shown(text: &str) -> String {
    let printable = text.chars().filter(|letter| !letter.is_control());
    printable.take(60).collect()
}

/// Takes a path, without space around it.
pub fn path(field: &str, value: &str) -> ApiResult<String> {
    let value = value.trim();
    if value.chars().count() > PATH_MAX {
        let message = format!("it may have {PATH_MAX} characters at most");
        return Err(ApiError::invalid(field, message));
    }
    if value.chars().any(char::is_control) {
        return Err(ApiError::invalid(field, "it holds control characters"));
    }
    Ok(value.to_owned())
}

/// Returns each item of a list as `each` takes it.
pub fn list(
    field: &str,
    items: &[String],
    each: impl Fn(&str, &str) -> ApiResult<String>,
) -> ApiResult<Vec<String>> {
    if items.len() > LIST_MAX {
        let message = format!("it may have {LIST_MAX} items at most");
        return Err(ApiError::invalid(field, message));
    }
    items.iter().map(|item| each(field, item)).collect()
}

/// Returns a number that lies in a range.
pub fn within(field: &str, value: i64, range: std::ops::RangeInclusive<i64>) -> ApiResult<i64> {
    if range.contains(&value) {
        return Ok(value);
    }
    let message = format!("say {} to {}", range.start(), range.end());
    Err(ApiError::invalid(field, message))
}

/// Returns the word if it is one of those that are known.
pub fn word(field: &str, value: &str, known: &[&str]) -> ApiResult<String> {
    if known.contains(&value) {
        return Ok(value.to_owned());
    }
    let message = format!("say one of: {}", known.join(", "));
    Err(ApiError::invalid(field, message))
}

/// Returns the moment that a text names, in milliseconds, where there is one.
pub fn moment(field: &str, value: Option<&str>) -> ApiResult<Option<i64>> {
    value.map(|value| time_ms(field, value)).transpose()
}

/// Reads a member that may be left out, which leaves things as they are, or be `null`, which takes them away.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_one_way() {
        assert_eq!(number("VM", "7").expect("a number"), 7);
        for wrong in ["07", "+7", "7.0", "-0", " 7", "9223372036854775808", ""] {
            assert!(number("VM", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cursors_come_back_as_they_went_and_others_are_refused() {
        let cursor = name_cursor("web\n01", "7");
        let read = name_of_cursor(Some(&cursor)).expect("read");
        assert_eq!(read, Some(("web\n01".to_owned(), "7".to_owned())));
        for wrong in [
            "x",
            "00",
            &*hex::encode("a\0\nb"),
            &*hex::encode([0xff, 0x0a]),
        ] {
            assert!(name_of_cursor(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(id_cursor(Some("7")).is_err());
    }
}
