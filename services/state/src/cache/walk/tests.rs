//! Laws of pieces.

use krake_proto::Kind;

use super::*;
use crate::cache::Change;
use crate::object::sections::Sections;
use crate::object::{key, value};
use crate::store::{Batch, Change as StoreChange, ChangeKind, Entry};

const ALL: usize = usize::MAX;

fn kind(name: &str) -> &'static Kind {
    krake_proto::kind("core", name).unwrap()
}

/// A cache with objects of 100 bytes and more at these places.
fn cache(objects: &[(&str, &str, &str)]) -> Cache {
    let cache = Cache::default();
    for (number, (name, namespace, object)) in objects.iter().enumerate() {
        let (kind, revision) = (kind(name), Revision(number as i64 + 1));
        let spec = Sections { spec: Some(vec![0; 100].into()), ..Default::default() };
        let key = key::resource(kind, namespace, object);
        let value = value::encode(kind.message, &spec.encode());
        let entry = Entry { key: key.clone(), value, created: revision, modified: revision };
        let change = StoreChange { key, kind: ChangeKind::Put(entry), previous: None };
        cache.apply(Batch { revision, changes: vec![change] });
    }
    cache
}

fn names(found: &[(Key, Arc<Stored>)]) -> Vec<&str> {
    found.iter().map(|(key, _)| key::parse(key).unwrap().name).collect()
}

const OBJECTS: [(&str, &str, &str); 8] = [
    ("Metric", "", "global"),
    ("Metric", "a", "m1"),
    ("Metric", "a", "m2"),
    ("Metric", "a", "m22"),
    ("Metric", "ab", "m3"),
    ("MetricsProvider", "", "p1"),
    ("MetricsProvider", "a", "p2"),
    ("MetricsProvider", "b", "p3"),
];

#[test]
fn a_piece_looks_only_at_the_objects_of_its_spans() {
    let cache = cache(&OBJECTS);
    let metric = kind("Metric");
    let in_a = Span::below(key::namespace(metric, "a"));
    let cases = [
        (vec![Span::below(key::all(metric))], vec!["global", "m1", "m2", "m22", "m3"]),
        (vec![in_a.clone()], vec!["m1", "m2", "m22"]),
        (
            vec![Span::below_from(key::all(metric), key::first_namespace(metric))],
            vec!["m1", "m2", "m22", "m3"],
        ),
        (vec![Span::single(key::resource(metric, "a", "m2"))], vec!["m2"]),
        (vec![Span::single(key::resource(metric, "a", "m0"))], vec![]),
        (
            vec![in_a, Span::below(key::all(kind("MetricsProvider")))],
            vec!["m1", "m2", "m22", "p1", "p2", "p3"],
        ),
    ];
    for (spans, expected) in cases {
        let before = cache.figures().visited;
        let piece = cache.piece(&spans, None, None, ALL).unwrap();
        assert_eq!(names(&piece.found), expected, "{spans:?}");
        assert!(piece.done);
        assert_eq!(cache.figures().visited - before, expected.len() as u64);
        for (key, _) in &piece.found {
            assert!(spans.iter().any(|span| span.contains(key)));
        }
    }
}

#[test]
fn pieces_of_any_size_come_to_the_same() {
    let cache = cache(&OBJECTS);
    let spans: Vec<Span> = ["Metric", "MetricsProvider"].map(|name| Span::below(key::all(kind(name)))).into();
    let expected = ["global", "m1", "m2", "m22", "m3", "p1", "p2", "p3"];
    for limit in 1..10 {
        let (mut passed, mut seen) = (None, Vec::new());
        loop {
            let piece = cache.piece(&spans, passed.as_ref(), Some(Revision(8)), limit).unwrap();
            assert!(piece.found.len() <= limit);
            seen.extend(names(&piece.found).into_iter().map(str::to_owned));
            if piece.done {
                break;
            }
            passed = piece.found.last().map(|(key, _)| key.clone());
        }
        assert_eq!(seen, expected, "{limit}");
    }
}

#[test]
fn a_piece_is_of_the_revision_that_was_asked_for() {
    let cache = cache(&OBJECTS);
    let spans = [Span::below(key::ROOT)];
    assert!(cache.piece(&spans, None, Some(Revision(7)), ALL).is_none());
    assert_eq!(cache.piece(&spans, None, Some(Revision(8)), ALL).unwrap().revision, Revision(8));
}

#[test]
fn a_key_made_in_a_span_whose_end_was_reached_is_still_ahead() {
    let cache = cache(&OBJECTS[..6]);
    let spans: Vec<Span> = ["Metric", "MetricsProvider"].map(|name| Span::below(key::all(kind(name)))).into();
    let first = cache.piece(&spans, None, None, 5).unwrap();
    assert_eq!(names(&first.found).last(), Some(&"m3"));
    let late = key::resource(kind("Metric"), "z", "late");
    let stored = Arc::new(Stored::new(kind("Metric"), Sections::default(), Default::default(), Revision(9)));
    cache.write().objects.insert(late, stored);
    let second = cache.piece(&spans, Some(&first.found[4].0), None, ALL).unwrap();
    assert_eq!(names(&second.found), ["late", "p1"]);
}

#[test]
fn objects_are_counted_by_kind() {
    let cache = cache(&OBJECTS);
    let count = |cache: &Cache, name: &str| {
        let figures = cache.figures();
        figures.objects.iter().find(|(found, _)| **found == *kind(name)).unwrap().1
    };
    assert_eq!((count(&cache, "Metric"), count(&cache, "MetricsProvider")), (5, 3));
    let key = key::resource(kind("Metric"), "a", "m1");
    let change = StoreChange { key, kind: ChangeKind::Delete, previous: None };
    cache.apply(Batch { revision: Revision(9), changes: vec![change] });
    assert_eq!((count(&cache, "Metric"), count(&cache, "MetricsProvider")), (4, 3));
    assert_eq!(cache.figures().revision, Revision(9));
    let erased = |batches: Vec<Arc<crate::cache::Batch>>| -> Vec<bool> {
        let changes = batches.iter().flat_map(|batch| &batch.changes);
        changes.map(|Change { after, .. }| after.is_none()).collect()
    };
    assert_eq!(erased(cache.since(Revision(8), 9).unwrap().0), [true]);
}
