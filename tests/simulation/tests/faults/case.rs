//! The cases of the matrix.

use std::fmt;

use krake_cluster_sim::{Fault, Refusal, RuleVerb};

/// Size of a huge answer in bytes: more than the adapter takes of any.
const HUGE: u64 = 24 << 20;

/// The verb that the fault is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Patch,
    Delete,
}

/// What the API server does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// It refuses with this code.
    Code(u16),
    /// It does not answer.
    Hang,
    /// It breaks the connection within the answer.
    Cut,
    /// It answers without end.
    Huge,
}

/// What is going on meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Situation {
    /// The application is placed for the first time.
    Placement,
    /// Somebody changes and deletes objects of an application that runs.
    Drift,
    /// The application moves to another cluster.
    Handover,
    /// The application is deleted.
    Removal,
}

/// What goes first in a handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strategy {
    CreateFirst,
    DeleteFirst,
}

pub(crate) const VERBS: [Verb; 6] =
    [Verb::Get, Verb::List, Verb::Watch, Verb::Create, Verb::Patch, Verb::Delete];
pub(crate) const TROUBLES: [Trouble; 10] = [
    Trouble::Code(401),
    Trouble::Code(403),
    Trouble::Code(404),
    Trouble::Code(409),
    Trouble::Code(422),
    Trouble::Code(429),
    Trouble::Code(500),
    Trouble::Hang,
    Trouble::Cut,
    Trouble::Huge,
];
pub(crate) const SITUATIONS: [Situation; 4] =
    [Situation::Placement, Situation::Drift, Situation::Handover, Situation::Removal];
pub(crate) const STRATEGIES: [Strategy; 2] = [Strategy::CreateFirst, Strategy::DeleteFirst];

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) verb: Verb,
    pub(crate) trouble: Trouble,
    pub(crate) situation: Situation,
    pub(crate) strategy: Strategy,
}

impl Verb {
    pub(crate) fn rule(self) -> RuleVerb {
        match self {
            Verb::Get => RuleVerb::Get,
            Verb::List => RuleVerb::List,
            Verb::Watch => RuleVerb::Watch,
            Verb::Create => RuleVerb::Create,
            Verb::Patch => RuleVerb::Patch,
            Verb::Delete => RuleVerb::Delete,
        }
    }
}

impl Trouble {
    pub(crate) fn fault(self) -> Fault {
        match self {
            Trouble::Code(code) => Fault::Code(Refusal::try_from(code).unwrap()),
            Trouble::Hang => Fault::Hang,
            Trouble::Cut => Fault::Cut,
            Trouble::Huge => Fault::Huge { bytes: HUGE },
        }
    }
}

impl Case {
    pub(crate) fn all() -> impl Iterator<Item = Case> {
        VERBS.into_iter().flat_map(|verb| {
            TROUBLES.into_iter().flat_map(move |trouble| {
                SITUATIONS.into_iter().flat_map(move |situation| {
                    STRATEGIES.into_iter().map(move |strategy| Case { verb, trouble, situation, strategy })
                })
            })
        })
    }

    /// Whether it is in the tenth that always runs: one trouble for each verb, situation and strategy, so chosen that
    /// each trouble meets most verbs.
    pub(crate) fn is_in_sample(&self) -> bool {
        let turn = 9 * self.verb as usize + 7 * self.situation as usize + 5 * self.strategy as usize;
        self.trouble == TROUBLES[turn % TROUBLES.len()]
    }

    /// Whether what is going on has requests of the verb, so that the fault must be met. Others are there to show that a
    /// fault of a verb that is not needed hinders nothing.
    pub(crate) fn must_meet(&self) -> bool {
        match self.verb {
            Verb::Get | Verb::List | Verb::Watch | Verb::Create => self.situation != Situation::Removal,
            Verb::Patch => self.situation == Situation::Drift,
            Verb::Delete => matches!(self.situation, Situation::Handover | Situation::Removal),
        }
    }

    /// The case as the name of namespaces and clusters.
    pub(crate) fn name(&self) -> String {
        self.to_string().replace('/', "-")
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Code(code) => write!(f, "{code}"),
            other => write!(f, "{}", format!("{other:?}").to_lowercase()),
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strategy::CreateFirst => "create-first",
            Strategy::DeleteFirst => "delete-first",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { verb, trouble, situation, strategy } = self;
        write!(f, "{verb}/{trouble}/{situation}/{strategy}")
    }
}

#[test]
fn the_sample_is_a_tenth_and_leaves_no_verb_trouble_situation_or_strategy_out() {
    assert_eq!(Case::all().count(), 480);
    let sample: Vec<Case> = Case::all().filter(Case::is_in_sample).collect();
    assert_eq!(sample.len(), 48);
    // How many values of something the cases of a trouble have.
    let values = |trouble: Trouble, value: fn(&Case) -> String| {
        let of = sample.iter().filter(|case| case.trouble == trouble);
        of.map(value).collect::<std::collections::BTreeSet<_>>().len()
    };
    for trouble in TROUBLES {
        assert_eq!(values(trouble, |case| case.strategy.to_string()), STRATEGIES.len(), "{trouble}");
        assert_eq!(values(trouble, |case| case.situation.to_string()), SITUATIONS.len(), "{trouble}");
        assert!(values(trouble, |case| case.verb.to_string()) >= 4, "{trouble}");
    }
}
