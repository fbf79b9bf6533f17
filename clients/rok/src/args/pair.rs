//! Options that are pairs: `KEY=VALUE` and `NAME NUMBER`.

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl std::str::FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) =
            text.split_once('=').ok_or("expected KEY=VALUE, for example location=DE".to_owned())?;
        Ok(Label { key: key.to_owned(), value: value.to_owned() })
    }
}

/// The pairs of an option that takes a name and a number, as clap delivers them: flat.
pub(crate) fn numbers(option: &str, flat: &[String]) -> Result<Vec<(String, f64)>, String> {
    let (pairs, _) = flat.as_chunks::<2>();
    let pair = |[name, number]: &[String; 2]| match number.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((name.clone(), value)),
        _ => Err(format!("{option} {name} {number}: expected a number after the name, found {number:?}")),
    };
    pairs.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_split_at_the_first_equals_sign() {
        let label: Label = "a=b=c".parse().unwrap();
        assert_eq!((label.key.as_str(), label.value.as_str()), ("a", "b=c"));
        assert!("a".parse::<Label>().is_err());
    }

    #[test]
    fn numbers_follow_names() {
        let flat = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            numbers("--metric", &flat(&["heat", "0.5", "load", "-1"])),
            Ok(vec![("heat".to_owned(), 0.5), ("load".to_owned(), -1.0)])
        );
        for wrong in ["much", "inf", "NaN"] {
            let error = numbers("--metric", &flat(&["heat", wrong])).unwrap_err();
            assert!(error.contains("--metric") && error.contains(wrong), "{error}");
        }
    }
}
