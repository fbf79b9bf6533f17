//! Runs every fuzz target on its corpus and on generated inputs: some thousand in tests, and for `KRAKE_FUZZ_SECONDS`
//! each in `make fuzz`. Inputs follow from their number, so that a failure is found again.
#![allow(clippy::unwrap_used, reason = "in a test, its helpers included, a panic is the verdict")]
#![allow(clippy::print_stdout, reason = "executions and findings are what `make fuzz` prints")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use krake_fuzz::{MAX_INPUT, TARGETS, Target, mutate};
use peak_alloc::PeakAlloc;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Generated inputs of a target in tests.
const CASES: u64 = 2_000;
/// A case that takes longer is printed.
const SLOW: Duration = Duration::from_secs(1);
/// The most memory that a case may take, in bytes: requests may take six MiB for their elements and some more for
/// copies, whatever their size.
const MOST_MEMORY: usize = 64 << 20;
/// Different failures that are looked for before a target is given up.
const MOST_FINDINGS: usize = 20;

/// One target at a time: memory is measured for the process.
static TURN: Mutex<()> = Mutex::new(());

/// Where the last panic came from and what it said.
static PANIC: Mutex<String> = Mutex::new(String::new());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Keeps what panics say, in place of printing each.
fn note_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        *PANIC.lock().unwrap() = format!("{place}\n{}", info.payload_as_str().unwrap_or_default());
    }));
}

/// What a run found: the first input of each failure, by the place of the panic.
#[derive(Default)]
struct Run {
    executions: u64,
    findings: BTreeMap<String, (String, Vec<u8>)>,
    slowest: Duration,
    most_memory: usize,
}

impl Run {
    fn case(&mut self, target: &Target, input: &[u8]) {
        self.executions += 1;
        MEMORY.reset_peak_usage();
        let (before, started) = (MEMORY.current_usage(), Instant::now());
        let done = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        let (took, memory) = (started.elapsed(), MEMORY.peak_usage().saturating_sub(before));
        self.slowest = self.slowest.max(took);
        self.most_memory = self.most_memory.max(memory);
        if took > SLOW {
            println!("{}: {took:?} for {}", target.name, kept(target, input).display());
        }
        if memory > MOST_MEMORY {
            self.found("memory".to_owned(), format!("{memory} bytes of memory"), input);
        }
        if done.is_err() {
            let text = PANIC.lock().unwrap().clone();
            let place = text.lines().next().unwrap_or_default().to_owned();
            self.found(place, text, input);
        }
    }

    fn found(&mut self, place: String, text: String, input: &[u8]) {
        let finding = self.findings.entry(place).or_insert_with(|| (text.clone(), input.to_vec()));
        // The shortest input of each.
        if input.len() < finding.1.len() {
            *finding = (text, input.to_vec());
        }
    }
}

/// Writes an input to a file, for replays and for the corpus.
fn kept(target: &Target, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(target.name);
    fs::create_dir_all(&folder).unwrap();
    let number = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let file = folder.join(format!("{number:016x}"));
    fs::write(&file, input).unwrap();
    file
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// The generated input of this number.
fn input(target: &Target, corpus: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(number);
    let mut one = || match random.random_ratio(1, 8) {
        true if !corpus.is_empty() => corpus[random.random_range(0..corpus.len())].clone(),
        _ => (target.case)(&mut random),
    };
    let (mut input, other) = (one(), one());
    if random.random_ratio(3, 4) {
        mutate::mutate(&mut input, &other, target.words, &mut random);
    }
    input.truncate(MAX_INPUT);
    input
}

/// Runs a target on its corpus and on generated inputs.
fn run(name: &str) {
    let _turn = turn();
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let time =
        std::env::var("KRAKE_FUZZ_SECONDS").ok().map(|text| Duration::from_secs(text.parse().unwrap()));
    let first: u64 = std::env::var("KRAKE_FUZZ_FIRST").map_or(0, |text| text.parse().unwrap());
    note_panics();
    let mut run = Run::default();
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for input in &corpus {
        run.case(target, input);
    }
    let started = Instant::now();
    for number in first.. {
        let more = time.map_or(number - first < CASES, |time| started.elapsed() < time);
        if !more || run.findings.len() >= MOST_FINDINGS {
            break;
        }
        run.case(target, &input(target, &corpus, number));
    }
    drop(std::panic::take_hook());
    report(target, &run, started.elapsed());
    assert!(run.findings.is_empty(), "{name}: see above; each file is for {name}'s corpus once it is fixed");
}

fn report(target: &Target, run: &Run, time: Duration) {
    let Run { executions, findings, slowest, most_memory } = run;
    println!(
        "{}: {executions} executions in {time:.1?}, slowest {slowest:.1?}, at most {most_memory} bytes, {} findings",
        target.name,
        findings.len()
    );
    for (text, input) in findings.values() {
        println!("{}: {text}\n  input: {}", target.name, kept(target, input).display());
    }
}

#[test]
fn rest_requests_become_messages_that_hold_their_laws() {
    run("rest");
}

#[test]
fn encoded_objects_hold_their_laws() {
    run("wire");
}

#[test]
fn constraints_and_selectors_hold_their_laws() {
    run("constraint");
}

#[test]
fn page_tokens_hold_their_laws() {
    run("page");
}

#[test]
fn manifests_hold_their_laws() {
    run("manifest");
}

#[test]
fn kubeconfigs_hold_their_laws() {
    run("kubeconfig");
}

/// A panic and too much memory are found, and inputs follow from their number.
#[test]
fn the_runner_finds_what_breaks() {
    let _turn = turn();
    let broken =
        Target { name: "broken", run: |input| assert!(input.len() < 3), case: |_| vec![], words: &[] };
    note_panics();
    let mut run = Run::default();
    for input in [&b"abcd"[..], b"abc", b"a"] {
        run.case(&broken, input);
    }
    drop(std::panic::take_hook());
    assert_eq!(run.findings.values().map(|(_, input)| input.as_slice()).collect::<Vec<_>>(), [b"abc"]);
    let large = Target { run: |_| drop(std::hint::black_box(vec![1_u8; MOST_MEMORY + 1])), ..broken };
    let mut run = Run::default();
    run.case(&large, b"");
    assert_eq!(run.findings.len(), 1);
    for target in &TARGETS {
        assert_eq!(input(target, &[], 7), input(target, &[], 7));
    }
}
