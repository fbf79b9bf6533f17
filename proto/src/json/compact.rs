//! JSON text in one form, without building its values: no white space, members ordered by name. Equal names are
//! refused, or the last counts. Two texts of the same value give the same bytes, so that an update that changes nothing
//! is recognised.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::fault::{Fault, Strictness};

/// Reads one value and appends its text to `out`. The deserializer bounds the nesting.
pub(super) struct Compact<'o> {
    pub(super) out: &'o mut Vec<u8>,
    pub(super) strictness: Strictness,
    /// Why reading ended, if not for the syntax.
    pub(super) fault: &'o mut Option<Fault>,
}

impl Compact<'_> {
    fn write<E: Error>(self, value: impl serde::Serialize) -> Result<(), E> {
        serde_json::to_writer(self.out, &value).map_err(E::custom)
    }

    /// Reads a value inside of this one.
    fn inner(&mut self) -> Compact<'_> {
        Compact { out: self.out, strictness: self.strictness, fault: self.fault }
    }
}

impl<'de> DeserializeSeed<'de> for Compact<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Compact<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.write(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.write(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.write(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if self.strictness.refuses(value) {
            return Err(Fault::too_large(self.fault));
        }
        self.write(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.write(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let begin = self.out.len();
        self.out.push(b'[');
        let mut index = 0;
        loop {
            let item = items.next_element_seed(self.inner());
            if item.inspect_err(|_| Fault::below_index(self.fault, index))?.is_none() {
                break;
            }
            self.out.push(b',');
            index += 1;
        }
        close(self.out, begin, b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let begin = self.out.len();
        self.out.push(b'{');
        let mut written = Vec::new();
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            let start = self.out.len() - begin;
            serde_json::to_writer(&mut *self.out, &name).map_err(A::Error::custom)?;
            let value = self.out.len() - begin;
            self.out.push(b':');
            let read = members.next_value_seed(self.inner());
            read.inspect_err(|_| Fault::below_member(self.fault, &name))?;
            self.out.push(b',');
            written.push(Member::new(start, value).ok_or_else(|| A::Error::custom("too long"))?);
        }
        if let Some(name) = order(self.out, begin, &mut written)
            && self.strictness != Strictness::Lenient
        {
            return Err(Fault::given_twice(self.fault, &name));
        }
        close(self.out, begin, b'}');
        Ok(())
    }
}

/// Where a member of an object was written, counted from the object's beginning. Small, since an object may have very
/// many.
#[derive(Clone, Copy)]
struct Member {
    start: u32,
    /// Where its name ends.
    colon: u32,
}

impl Member {
    fn new(start: usize, colon: usize) -> Option<Self> {
        Some(Member { start: start.try_into().ok()?, colon: colon.try_into().ok()? })
    }

    fn name(self, object: &[u8]) -> &[u8] {
        // Without the quotes, so that a name comes before those that it begins.
        &object[self.start as usize + 1..self.colon as usize - 1]
    }
}

/// Puts the members of the object that begins at `begin` into the order of their names. Of equal names the last stays;
/// such a name is returned.
fn order(out: &mut Vec<u8>, begin: usize, members: &mut [Member]) -> Option<String> {
    let object = &out[begin..];
    if members.is_sorted_by(|one, other| one.name(object) < other.name(object)) {
        return None;
    }
    let object = object.to_vec();
    // Each member ends where the next one that was written begins.
    let end = |member: Member, members: &[Member]| {
        let next = members.partition_point(|other| other.start <= member.start);
        members.get(next).map_or(object.len(), |next| next.start as usize)
    };
    let written = members.to_vec();
    // Stable: the last of equal names stays the last.
    members.sort_by(|one, other| one.name(&object).cmp(other.name(&object)));
    out.truncate(begin + 1);
    let mut twice = None;
    for (index, member) in members.iter().enumerate() {
        let is_replaced =
            members.get(index + 1).is_some_and(|next| next.name(&object) == member.name(&object));
        if is_replaced {
            twice = Some(String::from_utf8_lossy(member.name(&object)).into_owned());
        } else {
            out.extend_from_slice(&object[member.start as usize..end(*member, &written)]);
        }
    }
    twice
}

/// Ends a list or an object: in place of the last comma, if there is one.
fn close(out: &mut Vec<u8>, begin: usize, bracket: u8) {
    if out.len() > begin + 1 {
        out.pop();
    }
    out.push(bracket);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn compact(text: &str) -> Result<String, serde_json::Error> {
        let (mut out, mut fault) = (Vec::new(), None);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Compact { out: &mut out, strictness: Strictness::Lenient, fault: &mut fault }
            .deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn json(depth: u32) -> impl Strategy<Value = Value> {
        let name = prop_oneof!["[a-c!\"]{0,2}", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter_map("finite", |value| serde_json::Number::from_f64(value).map(Value::from)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(depth, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_of_a_value_gives_the_same(value in json(4)) {
            let text = compact(&value.to_string()).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(&compact(&pretty).unwrap(), &text);
        }
    }

    #[test]
    fn members_are_ordered_and_of_equal_names_the_last_counts() {
        let text = r#" { "b" : [ 1.50, 1e2 ], "a" : {"y":"\u00e4\/","x":null}, "ab": {}, "b": [], "a": 2 } "#;
        assert_eq!(compact(text).unwrap(), r#"{"a":2,"ab":{},"b":[]}"#);
        assert_eq!(compact(r#"{"z":1,"a":{"d":1,"c":[]}}"#).unwrap(), r#"{"a":{"c":[],"d":1},"z":1}"#);
        assert!(compact(&("[".repeat(200) + &"]".repeat(200))).is_err(), "too deep");
        assert!(compact("{\"a\":1e999}").is_err() && compact("[1").is_err() && compact("1 2").is_err());
    }
}
