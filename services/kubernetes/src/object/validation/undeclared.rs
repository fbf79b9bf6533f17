//! Fields that a server-side apply refuses because the server does not know them: named in its answer, and left out.

use serde_json::Value;

/// What follows the path of such a field in the answer.
const UNDECLARED: &str = ": field not declared in schema";

/// The paths of the fields that the answer to an apply names as unknown, as `.spec.replcias`.
pub(crate) fn paths(message: &str) -> Vec<&str> {
    let before = message.split(UNDECLARED).collect::<Vec<_>>();
    // What is behind the last one is no path any more.
    let paths = before.iter().take(before.len() - 1);
    // A path may hold spaces within quotes only, which names of fields do not.
    paths.filter_map(|text| text.rsplit([' ', '\n']).next()).filter(|path| path.starts_with('.')).collect()
}

/// Removes the field at a path; whether it was there.
pub(crate) fn remove(object: &mut Value, path: &str) -> bool {
    let Some((step, rest)) = step(object, path) else { return false };
    match (object, step, rest) {
        (Value::Object(fields), Step::Field(name), "") => fields.remove(&name).is_some(),
        (Value::Object(fields), Step::Field(name), rest) => {
            fields.get_mut(&name).is_some_and(|value| remove(value, rest))
        }
        (Value::Array(items), Step::Item(index), rest) if !rest.is_empty() => {
            items.get_mut(index).is_some_and(|value| remove(value, rest))
        }
        _ => false,
    }
}

enum Step {
    Field(String),
    Item(usize),
}

/// The first step of a path within a value, and the rest of the path. Names of fields may hold dots: of those that fit the
/// longest counts.
fn step<'a>(value: &Value, path: &'a str) -> Option<(Step, &'a str)> {
    match value {
        Value::Object(fields) => {
            let path = path.strip_prefix('.')?;
            let rest_of = |name: &String| {
                path.strip_prefix(name.as_str())
                    .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            let fits = fields.keys().filter_map(|name| Some((name, rest_of(name)?)));
            let (name, rest) = fits.max_by_key(|(name, _)| name.len())?;
            Some((Step::Field(name.clone()), rest))
        }
        Value::Array(items) => {
            let (within, rest) = path.strip_prefix('[')?.split_once(']')?;
            let index = match within.parse::<usize>() {
                Ok(index) => index,
                Err(_) => items.iter().position(|item| is_meant(item, within))?,
            };
            Some((Step::Item(index), rest))
        }
        _ => None,
    }
}

/// Whether an item of a list is the one that `name="c",port=80` names. Keys that it leaves to the server's default fit.
fn is_meant(item: &Value, keys: &str) -> bool {
    let mut keys = keys.split(',').filter_map(|key| key.split_once('='));
    keys.all(|(name, value)| item.get(name).is_none_or(|own| own.to_string().as_str() == value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[test]
    fn the_answer_names_the_fields() {
        let one = "failed to create typed patch object (demo/web; apps/v1, Kind=Deployment): .spec.replcias: field not \
            declared in schema";
        assert_eq!(paths(one), [".spec.replcias"]);
        let several = "failed to create typed patch object (demo/web; apps/v1, Kind=Deployment): errors:\n  \
            .spec.a: field not declared in schema\n  .spec.template.spec.containers[name=\"c\"].b: field not declared in \
            schema\n  .spec.replicas: expected numeric (int or float), got string";
        assert_eq!(paths(several), [".spec.a", ".spec.template.spec.containers[name=\"c\"].b"]);
        assert_eq!(paths("field is immutable"), [""; 0]);
        assert_eq!(paths(": field not declared in schema"), [""; 0]);
    }

    #[rstest]
    #[case(".spec.replcias", json!({"spec": {"replcias": 3, "x": 1}}), json!({"spec": {"x": 1}}))]
    #[case(".l[name=\"c\"].b", json!({"l": [{"name": "a", "b": 1}, {"name": "c", "b": 2}]}),
        json!({"l": [{"name": "a", "b": 1}, {"name": "c"}]}))]
    #[case(".p[containerPort=80,protocol=\"TCP\"].x", json!({"p": [{"containerPort": 80, "x": 1}]}),
        json!({"p": [{"containerPort": 80}]}))]
    #[case(".l[1].b", json!({"l": [{"b": 1}, {"b": 2}]}), json!({"l": [{"b": 1}, {}]}))]
    #[case(".m.a.b/c.d", json!({"m": {"a": {}, "a.b/c": {"d": 1}}}), json!({"m": {"a": {}, "a.b/c": {}}}))]
    fn a_field_is_removed(#[case] path: &str, #[case] mut object: Value, #[case] expected: Value) {
        assert!(remove(&mut object, path));
        assert_eq!(object, expected);
    }

    #[rstest]
    #[case(".spec.other")]
    #[case(".spec[0]")]
    #[case(".l[7].b")]
    #[case(".l[")]
    #[case("")]
    #[case(".")]
    fn what_is_not_there_changes_nothing(#[case] path: &str) {
        let mut object = json!({"spec": {"x": 1}, "l": [{"b": 1}]});
        assert!(!remove(&mut object, path));
        assert_eq!(object, json!({"spec": {"x": 1}, "l": [{"b": 1}]}));
    }
}
