//! Headers that a request may hold once: of several, no rule says which one counts.

use http::{HeaderMap, HeaderValue};

use crate::problem::Problem;

/// The header `name`, if it was sent.
///
/// # Errors
/// 422 if it was sent more than once.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Problem::header(name, "Must be sent once.")),
        (value, None) => Ok(value),
    }
}
