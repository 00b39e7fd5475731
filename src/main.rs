//! The `reproduceml` program.
fn main() {}
