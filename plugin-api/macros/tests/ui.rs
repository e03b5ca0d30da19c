//! The compiler's message for each mistake an author can make: one file for a mistake, with its message beside it.
//!
//! Words change with the compiler, which is pinned. After a deliberate change: `TRYBUILD=overwrite`, and read them.

#[test]
fn mistakes_are_named_where_they_stand() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
