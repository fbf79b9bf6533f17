//! Which web pages may call: upstream's answers to preflights and the headers of all others.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use krake_runtime::serve::TrustedOrigins;

use crate::problem::Problem;

/// The methods that pages may use.
const METHODS: [Method; 5] = [Method::DELETE, Method::GET, Method::OPTIONS, Method::POST, Method::PUT];

/// Origins whose pages may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// Nobody's: browsers let no foreign page see an answer, and changes by one are refused.
    #[default]
    None,
    /// Those of these origins, such as `https://dashboard.example.com`.
    Listed(Vec<String>),
    /// Everybody's, with their users' credentials.
    Any,
}

impl Origins {
    fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Origins::None => false,
            Origins::Listed(known) => known.iter().any(|known| known.as_bytes() == origin.as_bytes()),
            Origins::Any => true,
        }
    }

    /// Answers a preflight for a path that knows `methods`.
    pub(crate) fn preflight(
        &self,
        headers: &HeaderMap,
        methods: &[Method],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Problem> {
        let refused = |text: String| {
            Err(Problem::new(StatusCode::FORBIDDEN, format!("CORS preflight request failed: {text}")))
        };
        let Some(origin) = headers.get(header::ORIGIN) else {
            return refused("origin header is not specified in the request".to_owned());
        };
        let shown = String::from_utf8_lossy(origin.as_bytes());
        let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD) else {
            return refused("'Access-Control-Request-Method' header is not specified".to_owned());
        };
        if !self.allow(origin) {
            return refused(format!("origin '{shown}' is not allowed"));
        }
        let known = Method::from_bytes(asked.as_bytes()).ok();
        if !known.is_some_and(|method| METHODS.contains(&method) && methods.contains(&method)) {
            let asked = String::from_utf8_lossy(asked.as_bytes());
            return refused(format!("request method '{asked}' is not allowed for '{shown}' origin"));
        }
        let mut answer = headers_for(origin);
        answer.push((header::ACCESS_CONTROL_ALLOW_METHODS, asked.clone()));
        if let Some(names) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.push((header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone()));
        }
        Ok(answer)
    }

    /// The headers of an answer to a page of an allowed origin.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        match headers.get(header::ORIGIN) {
            Some(origin) if self.allow(origin) => {
                let mut answer = headers_for(origin);
                answer.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag")));
                answer
            }
            _ => Vec::new(),
        }
    }

    /// The same for the listener, which stops the pages of all others before anything is changed: browsers send some
    /// requests without a preflight, with their user's access to the network.
    pub(crate) fn trusted(&self) -> TrustedOrigins {
        match self {
            Origins::None => TrustedOrigins::None,
            Origins::Listed(known) => TrustedOrigins::Listed(known.clone()),
            Origins::Any => TrustedOrigins::Any,
        }
    }
}

fn headers_for(origin: &HeaderValue) -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
        (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
        (header::VARY, HeaderValue::from_static("Origin")),
    ]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const PAGE: &str = "https://page.example";

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn preflight(origins: &Origins, pairs: &[(HeaderName, &str)]) -> Result<HeaderMap, StatusCode> {
        let answer = origins.preflight(&headers(pairs), &[Method::GET, Method::POST, Method::PATCH]);
        answer.map(|pairs| pairs.into_iter().collect()).map_err(|problem| problem.status)
    }

    #[test]
    fn a_preflight_echoes_what_is_allowed() {
        let asked = [
            (header::ORIGIN, PAGE),
            (header::ACCESS_CONTROL_REQUEST_METHOD, "POST"),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type, x-own"),
        ];
        for origins in [Origins::Any, Origins::Listed(vec![PAGE.to_owned()])] {
            let answer = preflight(&origins, &asked).unwrap();
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_HEADERS], "content-type, x-own");
            assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        }
    }

    #[rstest]
    #[case::no_origin(&[(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")])]
    #[case::no_method(&[(header::ORIGIN, PAGE)])]
    #[case::bad_method(&[(header::ORIGIN, PAGE), (header::ACCESS_CONTROL_REQUEST_METHOD, "BREW")])]
    #[case::method_of_another_path(&[(header::ORIGIN, PAGE), (header::ACCESS_CONTROL_REQUEST_METHOD, "PUT")])]
    #[case::method_not_for_pages(&[(header::ORIGIN, PAGE), (header::ACCESS_CONTROL_REQUEST_METHOD, "PATCH")])]
    fn a_bad_preflight_is_forbidden(#[case] asked: &[(HeaderName, &str)]) {
        assert_eq!(preflight(&Origins::Any, asked).unwrap_err(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn pages_of_others_learn_nothing() {
        let asked = [(header::ORIGIN, PAGE), (header::ACCESS_CONTROL_REQUEST_METHOD, "GET")];
        let listed = Origins::Listed(vec!["https://other.example".to_owned()]);
        for origins in [Origins::None, listed] {
            assert_eq!(preflight(&origins, &asked).unwrap_err(), StatusCode::FORBIDDEN);
            assert!(origins.answer(&headers(&asked)).is_empty());
        }
    }
}
