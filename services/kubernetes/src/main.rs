//! Entry point of `krake-kubernetes`.
fn main() {}
