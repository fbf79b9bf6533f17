//! Label and field selectors.

use serde_json::Value;

/// A label selector: every requirement holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl LabelSelector {
    /// Understands `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in split(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            requirements.push(requirement(part).ok_or_else(|| {
                format!(
                    "unable to parse requirement: found '{part}', expected: !, identifier, or 'end of string'"
                )
            })?);
        }
        Ok(Self(requirements))
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn selects<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|value| values.iter().any(|one| one == value))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|value| values.iter().all(|one| one != value))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// At commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let at_comma = move |character: char| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ',' && depth == 0
    };
    text.split(at_comma).collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    let fit = |key: &str| {
        let key = key.trim();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        (!key.is_empty() && key.chars().all(valid)).then(|| key.to_owned())
    };
    if let Some(key) = part.strip_prefix('!') {
        return Some(Requirement::Absent(fit(key)?));
    }
    if let Some(values) = part.strip_suffix(')') {
        let (left, values) = values.split_once('(')?;
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let mut words = left.split_whitespace();
        return match (fit(words.next()?)?, words.next()?, words.next()) {
            (key, "in", None) => Some(Requirement::In(key, values)),
            (key, "notin", None) => Some(Requirement::NotIn(key, values)),
            _ => None,
        };
    }
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(fit(key)?, one(value)));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(fit(key)?, one(value)));
    }
    Some(Requirement::Exists(fit(part)?))
}

/// A field selector: fields (as paths) with the values that they must, or must not, have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<(String, String, bool)>);

/// Fields that pods are selected by, besides the two that all objects are.
const OF_PODS: [&str; 3] = ["spec.nodeName", "status.phase", "spec.restartPolicy"];

/// Fields that events are selected by, besides the two that all objects are.
const OF_EVENTS: [&str; 9] = [
    "involvedObject.apiVersion",
    "involvedObject.fieldPath",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.uid",
    "reason",
    "reportingComponent",
    "type",
];

impl FieldSelector {
    /// Understands `metadata.name=a,status.phase!=Running`, for kinds whose plural is `plural`.
    pub(crate) fn parse(text: &str, plural: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, value, equal) = match part.split_once("!=") {
                Some((field, value)) => (field, value, false),
                None => {
                    let (field, value) = part
                        .split_once("==")
                        .or_else(|| part.split_once('='))
                        .ok_or_else(|| format!("invalid selector: '{part}'; can't understand '{part}'"))?;
                    (field, value, true)
                }
            };
            let field = field.trim();
            let known = matches!(field, "metadata.name" | "metadata.namespace")
                || (plural == "pods" && OF_PODS.contains(&field))
                || (plural == "events" && OF_EVENTS.contains(&field));
            if !known {
                return Err(format!(
                    "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                ));
            }
            terms.push((field.to_owned(), value.trim().to_owned(), equal));
        }
        Ok(Self(terms))
    }

    /// Whether the object is selected.
    pub(crate) fn selects(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, value, equal)| {
            let found = field.split('.').fold(object, |object, step| &object[step]);
            (found.as_str().unwrap_or_default() == value) == *equal
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let find = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        LabelSelector::parse(selector).unwrap().selects(find)
    }

    #[test]
    fn labels_select_as_kubernetes_says() {
        let labels = [("a", "1"), ("krake.cloud/installation", "x")];
        for selector in ["", "a=1", "a==1", "a!=2", "b!=1", "a in (1,2)", "b notin (1)", "a", "!b", "a=1,!b"]
        {
            assert!(selects(selector, &labels), "{selector}");
        }
        assert!(selects("krake.cloud/installation=x,a in (1, 3)", &labels));
        for selector in ["a=2", "a!=1", "b=1", "a in (2)", "a notin (1)", "!a", "b", "a=1,b"] {
            assert!(!selects(selector, &labels), "{selector}");
        }
        for wrong in ["==", "a in 1)", "a b", "=x"] {
            assert!(LabelSelector::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_select_by_name_and_unknown_ones_are_refused() {
        let object = json!({"metadata": {"name": "a", "namespace": "n"}, "status": {"phase": "Running"}});
        let selects = |text: &str, plural: &str| FieldSelector::parse(text, plural).unwrap().selects(&object);
        assert!(selects("metadata.name=a,metadata.namespace!=m", "configmaps"));
        assert!(!selects("metadata.name=b", "configmaps"));
        assert!(selects("status.phase=Running", "pods"));
        assert!(FieldSelector::parse("status.phase=Running", "configmaps").is_err());
        let event = json!({"involvedObject": {"uid": "u"}, "type": "Warning"});
        let warnings = FieldSelector::parse("involvedObject.uid=u,type=Warning", "events").unwrap();
        assert!(warnings.selects(&event) && !warnings.selects(&object));
    }
}
