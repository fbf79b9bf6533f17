//! Entry point of `krake-scheduler`.
fn main() {}
