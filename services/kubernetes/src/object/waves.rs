//! The waves in which objects are removed: the reverse of the order in which they are applied, each after the one before is
//! gone. Pure.
//!
//! An operator must outlive its custom resources, which wait for it to take their finalizers off; their definition outlives
//! them too; and a namespace goes last, when nothing in it needs it any more.

use crate::object::ObjectKey;
use crate::object::order::Rank;

/// When an object is removed: the first ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wave {
    /// What the API server calls for requests of everybody.
    Webhook,
    /// Custom resources.
    Custom,
    /// Workloads and what they need.
    Workload,
    /// Definitions of kinds.
    Definition,
    /// Namespaces.
    Namespace,
}

impl Wave {
    /// The wave of an object. The server behind an APIService is among the workloads: a namespace does not go while one of
    /// these does not answer.
    pub fn of(key: &ObjectKey) -> Self {
        match Rank::of(key) {
            Rank::Webhook => Self::Webhook,
            Rank::Custom => Self::Custom,
            Rank::Workload | Rank::Needed | Rank::ApiService => Self::Workload,
            Rank::Definition => Self::Definition,
            Rank::Namespace => Self::Namespace,
        }
    }
}

/// What an object waits for that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    why: String,
    ends: Ends,
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// By itself.
    ByItself,
    /// When what set a finalizer takes it off.
    ByItsFinalizers,
    /// When a person decides.
    ByAPerson,
}

impl Wait {
    /// For finalizers of somebody else, which may hold it for ever.
    pub fn for_finalizers(names: &[&str]) -> Self {
        Self { why: format!("its finalizers {}", names.join(", ")), ends: Ends::ByItsFinalizers }
    }

    /// For a person, since Krake may not remove it and must not start its successor beside it.
    pub fn for_a_person(why: &str) -> Self {
        Self { why: format!("a person: {why}"), ends: Ends::ByAPerson }
    }

    /// How it ends.
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// For what, for people.
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl<T: Into<String>> From<T> for Wait {
    /// For something that ends by itself.
    fn from(why: T) -> Self {
        Self { why: why.into(), ends: Ends::ByItself }
    }
}

/// What is seen of an object that is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is not there, or it is not the application's any more.
    Gone,
    /// It is there.
    Present,
    /// It was asked to go; what it waits for.
    Going(Wait),
    /// It is not known whether it is there; why.
    Unknown(String),
    /// As before, but it was never accepted: nothing waits for it.
    Unlikely(String),
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The wave that is under way; absent if nothing is left that is waited for.
    pub wave: Option<Wave>,
    /// The objects to delete now, in this order, by their place.
    pub delete: Vec<usize>,
    /// The objects that come later, by their place.
    pub later: Vec<usize>,
}

/// Decides on the objects of an inventory, which is in the order in which they were applied.
pub fn next(objects: &[(ObjectKey, State)]) -> Next {
    let is_left = |state: &State| matches!(state, State::Present | State::Going(_) | State::Unknown(_));
    let left = objects.iter().filter(|(_, state)| is_left(state));
    let Some(wave) = left.map(|(key, _)| Wave::of(key)).min() else { return Next::default() };
    let present =
        |place: &usize| matches!(objects[*place].1, State::Present) && Wave::of(&objects[*place].0) == wave;
    let comes_later =
        |place: &usize| !matches!(objects[*place].1, State::Gone) && Wave::of(&objects[*place].0) > wave;
    let mut delete: Vec<usize> = (0..objects.len()).filter(present).collect();
    // Within a wave too, what others need goes after them.
    delete.sort_by_key(|place| (std::cmp::Reverse(Rank::of(&objects[*place].0)), std::cmp::Reverse(*place)));
    Next { wave: Some(wave), delete, later: (0..objects.len()).filter(comes_later).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(api_version: &str, kind: &str, name: &str) -> ObjectKey {
        ObjectKey { api_version: api_version.into(), kind: kind.into(), namespace: None, name: name.into() }
    }

    fn bundle() -> Vec<ObjectKey> {
        vec![
            key("v1", "Namespace", "n"),
            key("apiextensions.k8s.io/v1", "CustomResourceDefinition", "d"),
            key("v1", "ServiceAccount", "s"),
            key("apps/v1", "Deployment", "o"),
            key("example.org/v1", "Tub", "t"),
            key("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "w"),
        ]
    }

    /// The names of what is to be deleted.
    fn deleted(objects: &[(ObjectKey, State)]) -> Vec<&str> {
        next(objects).delete.into_iter().map(|place| objects[place].0.name.as_str()).collect()
    }

    #[test]
    fn the_reverse_of_the_order_of_applying_and_each_wave_waits_for_the_one_before() {
        let mut objects: Vec<_> = bundle().into_iter().map(|key| (key, State::Present)).collect();
        let mut waves = Vec::new();
        loop {
            let Next { delete, .. } = next(&objects);
            if delete.is_empty() {
                break;
            }
            waves.push(deleted(&objects).join(" "));
            for place in &delete {
                objects[*place].1 = State::Going(Wait::for_finalizers(&["x"]));
            }
            assert_eq!(deleted(&objects), [""; 0], "nothing more while they are there");
            for place in delete {
                objects[place].1 = State::Gone;
            }
        }
        assert_eq!(waves, ["w", "t", "o s", "d", "n"]);
    }

    #[test]
    fn what_may_be_there_is_waited_for_and_what_was_never_accepted_is_not() {
        let state = |custom: State| {
            vec![
                (key("apps/v1", "Deployment", "o"), State::Present),
                (key("example.org/v1", "Tub", "t"), custom),
            ]
        };
        let unknown = state(State::Unknown("the API does not answer".into()));
        assert_eq!((deleted(&unknown).len(), next(&unknown).later), (0, vec![0]));
        let unlikely = state(State::Unlikely("the API does not answer".into()));
        assert_eq!(deleted(&unlikely), ["o"]);
        assert_eq!(next(&state(State::Gone)[1..]), Next::default());
    }

    fn any_state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Gone),
            Just(State::Present),
            Just(State::Going("x".into())),
            Just(State::Unknown("x".into())),
            Just(State::Unlikely("x".into())),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_deleted_while_something_of_an_earlier_wave_may_be_there(
            objects in prop::collection::vec((prop::sample::select(bundle()), any_state()), 0..12)
        ) {
            let next = next(&objects);
            for place in &next.delete {
                prop_assert_eq!(&objects[*place].1, &State::Present);
                let wave = Wave::of(&objects[*place].0);
                for (key, state) in &objects {
                    let gone = matches!(state, State::Gone | State::Unlikely(_));
                    prop_assert!(gone || Wave::of(key) >= wave);
                }
            }
            // It comes to an end: what is there is deleted at last.
            let waits = |state: &State| matches!(state, State::Going(_) | State::Unknown(_));
            if !objects.iter().any(|(_, state)| waits(state)) {
                let any_present = objects.iter().any(|(_, state)| *state == State::Present);
                prop_assert_eq!(next.delete.is_empty(), !any_present);
            }
        }
    }
}
