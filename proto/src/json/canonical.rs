//! The canonical JSON of a set of documents: the bytes that a `Work` hashes.

use serde_json::Value;

/// Version of the rules below, recorded beside each hash: 1 is sorted keys, no white space, numbers as `serde_json` writes
/// them.
pub const CANONICAL_VERSION: u32 = 1;

/// The canonical JSON of documents: an array in their order. Equal documents give equal bytes, whatever order their keys
/// were written in.
pub fn canonical(documents: &[Value]) -> Vec<u8> {
    let mut text = vec![b'['];
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write(document, &mut text);
    }
    text.push(b']');
    text
}

/// Keys are sorted here rather than by `serde_json`, whose maps keep the written order if any crate of the build asks for
/// that.
fn write(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push(b'{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                text.extend(Value::from(name.as_str()).to_string().as_bytes());
                text.push(b':');
                write(field, text);
            }
            text.push(b'}');
        }
        Value::Array(items) => {
            text.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write(item, text);
            }
            text.push(b']');
        }
        scalar => text.extend(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        String::from_utf8(canonical(&[serde_json::from_str(text).unwrap()])).unwrap()
    }

    #[test]
    fn order_of_keys_and_white_space_do_not_matter_and_order_of_items_does() {
        let written = of(r#"{"b": [1, {"y": null, "x": "ü\n"}], "a": 9007199254740993}"#);
        assert_eq!(written, r#"[{"a":9007199254740993,"b":[1,{"x":"ü\n","y":null}]}]"#);
        assert_eq!(of(r#"{"a":9007199254740993,"b":[1,{"x":"\u00fc\n","y":null}]}"#), written);
        assert_ne!(of(r#"{"a":9007199254740993,"b":[{"x":"ü\n","y":null},1]}"#), written);
        assert_eq!(canonical(&[]), b"[]");
    }

    proptest::proptest! {
        #[test]
        fn it_reads_back_as_the_documents(text in r#"\{("[a-c]{1,2}":(-?[1-9][0-9]{0,5}|[0-9]\.[0-9]{1,12}|"[^"\\\x00-\x1f]{0,4}"|\[\]|null|true))?\}"#) {
            let document: Value = serde_json::from_str(&text).unwrap();
            let read: Vec<Value> = serde_json::from_slice(&canonical(std::slice::from_ref(&document))).unwrap();
            proptest::prop_assert_eq!(read, vec![document]);
        }
    }
}
