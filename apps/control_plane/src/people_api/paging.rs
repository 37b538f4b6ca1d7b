//! Lists that come in pages.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::people_api::error::{ApiError, ApiResult};

const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 500;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many items, at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u64>,
    /// What the page before said as `next`.
    cursor: Option<String>,
}

impl Paging {
    /// Returns how many items belong on the page. A query asks for one more, to learn whether there are more.
    pub fn limit(&self) -> ApiResult<u64> {
        match self.limit.unwrap_or(LIMIT) {
            limit @ 1..=LIMIT_MAX => Ok(limit),
            _ => Err(ApiError::invalid(
                "limit",
                format!("a page holds 1 to {LIMIT_MAX} items"),
            )),
        }
    }

    /// Returns where the page begins, if it is not the first: behind the item whose key this is.
    pub fn after(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Returns where the page begins, if it is not the first, in a list that is sorted by a number.
    pub fn after_number(&self) -> ApiResult<Option<i64>> {
        self.cursor
            .as_deref()
            .map(|cursor| cursor.parse::<i64>())
            .transpose()
            .map_err(|_| ApiError::invalid("cursor", "it is not what `next` of a page said"))
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `cursor` of the page that follows; null on the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of the rows that a query for one more than `limit` found. `key` is what the list is sorted by.
    pub fn of<R>(
        mut rows: Vec<R>,
        limit: u64,
        key: impl Fn(&R) -> String,
        item: impl FnMut(R) -> T,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Self {
            next: rows.last().filter(|_| more).map(key),
            items: rows.into_iter().map(item).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_one_only_when_there_is_more() {
        let page = |rows: Vec<u8>| Page::of(rows, 2, u8::to_string, |row| row);
        assert_eq!(page(vec![4, 5, 6]).next.as_deref(), Some("5"));
        assert_eq!(page(vec![4, 5, 6]).items, [4, 5]);
        assert_eq!(page(vec![4, 5]).next, None);
        assert_eq!(page(vec![]).next, None);
    }
}
