//! The OpenAPI document: what every route has in common is put in here, so that no handler repeats it.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, InfoBuilder, ObjectBuilder, OpenApi, Ref, RefOr,
    ResponseBuilder, ServerBuilder, Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::people_api::caller::{CSRF_HEADER, PLAIN_COOKIE};
use crate::people_api::error::ErrorBody;

const SESSION: &str = "session";
const TOKEN: &str = "token";

/// Completes the document that the handlers made.
pub fn complete(document: &mut OpenApi) {
    document.info = InfoBuilder::new()
        .title("e3-control-plane")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(format!(
            "What the dashboard and programs call. People have a session's cookie and repeat its CSRF token in \
             `{CSRF_HEADER}` on calls that change something; programs have a token. Times are RFC 3339 in UTC, \
             sizes are bytes."
        )))
        .build();
    document.servers = Some(vec![ServerBuilder::new().url("/api/v1").build()]);
    document.security = Some(vec![requirement(TOKEN), requirement(SESSION)]);
    let components = document.components.get_or_insert_with(Components::new);
    components
        .schemas
        .insert(ErrorBody::name().into_owned(), ErrorBody::schema());
    components.security_schemes.insert(
        TOKEN.to_owned(),
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()).into(),
    );
    components.security_schemes.insert(
        SESSION.to_owned(),
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(PLAIN_COOKIE))).into(),
    );
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            complete_operation(operation);
        }
    }
}

fn requirement(name: &str) -> SecurityRequirement {
    SecurityRequirement::new::<_, [&str; 0], _>(name, [])
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Returns the name of a route for programs, such as `get_hosts_id`: handlers of different things are called the same.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    std::iter::once(method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn complete_operation(operation: &mut Operation) {
    let is_open = operation.security.is_some();
    let has_body = operation.request_body.is_some();
    let common = [
        (true, "400", "The request cannot be read"),
        (
            !is_open,
            "401",
            "Nobody is signed in, or the token is unknown",
        ),
        (
            !is_open,
            "403",
            "The role is not enough, or the CSRF token is wrong",
        ),
        (has_body, "413", "The body is larger than 1 MiB"),
        (has_body, "415", "The body is not said to be JSON"),
        (
            true,
            "422",
            "A member or a parameter cannot be taken; `field` names it",
        ),
        (true, "500", "The server failed; its log says why"),
        (true, "503", "The server is busy or stops; try again"),
    ];
    for (applies, status, description) in common {
        if applies {
            operation
                .responses
                .responses
                .entry(status.to_owned())
                .or_insert_with(|| {
                    let schema = Ref::from_schema_name(ErrorBody::name());
                    ResponseBuilder::new()
                        .description(description)
                        .content(
                            "application/json",
                            ContentBuilder::new().schema(Some(schema)).build(),
                        )
                        .build()
                        .into()
                });
        }
    }
    for (status, header, kind, description) in [
        (
            "401",
            "WWW-Authenticate",
            Type::String,
            "`Bearer`: how programs come in",
        ),
        (
            "429",
            "Retry-After",
            Type::Integer,
            "After how many seconds to try again",
        ),
    ] {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
            let schema = ObjectBuilder::new().schema_type(kind);
            let header_of_it = HeaderBuilder::new()
                .schema(Some(schema))
                .description(Some(description));
            response
                .headers
                .insert(header.to_owned(), header_of_it.build().into());
        }
    }
}
