//! Breaks inputs: few small changes, so that most of an input stays as it was and the change is reached.

use rand::Rng;
use rand::rngs::StdRng;

use crate::{MAX_INPUT, pick};

/// Bytes that are borders somewhere.
const BORDERS: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\n', b'%', b'0', b' '];

/// Changes `data` in a few places; `other` is an input to take parts from.
pub fn mutate(data: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut StdRng) {
    for _ in 0..random.random_range(1..=4) {
        once(data, other, words, random);
        data.truncate(MAX_INPUT);
    }
}

fn once(data: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut StdRng) {
    let at = random.random_range(0..=data.len());
    let part = part(data, random);
    match random.random_range(0..9) {
        0 if at < data.len() => data[at] ^= 1 << random.random_range(0..8),
        1 if at < data.len() => data[at] = *pick(random, &BORDERS),
        2 => data.insert(at, random.random()),
        3 => {
            data.drain(part);
        }
        4 => {
            let repeated = data[part].repeat(random.random_range(1..=8));
            data.splice(at..at, repeated);
        }
        5 if !words.is_empty() => {
            data.splice(at..at, pick(random, words).bytes());
        }
        6 => {
            let taken = other[self::part(other, random)].to_vec();
            data.splice(at..at, taken);
        }
        7 => data.truncate(at),
        _ => {
            let taken = other[self::part(other, random)].to_vec();
            data.splice(part, taken);
        }
    }
}

/// A range within `data`, short more often than long.
fn part(data: &[u8], random: &mut StdRng) -> std::ops::Range<usize> {
    let start = random.random_range(0..=data.len());
    let most = if random.random_ratio(1, 4) { data.len() } else { 16 };
    let length = random.random_range(0..=most.min(data.len() - start));
    start..start + length
}
