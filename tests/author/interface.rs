//! A library that was built for an earlier interface, kept as a source with types of its own: it serves as it did.

use crate::run_gm_native;
use crate::support::plugins::example;

#[test]
fn a_library_of_interface_1_0_is_served() {
    let library = example("interface_1_0");
    let library = library.to_str().unwrap();
    let checked = run_gm_native(&["check", library], b"");
    assert_eq!(checked.code(), Some(0), "{}{}", checked.out(), checked.err());
    for text in ["interface  1.0", "interface_1_0", "rustc of then"] {
        assert!(checked.out().contains(text), "{text}: {}", checked.out());
    }

    let call =
        |workload: &str, settings: &[&str]| run_gm_native(&[&["call", library, workload], settings].concat(), b"");
    let greeting = ["--setting", "greeting=Hello"];
    let done = call("world", &greeting);
    assert_eq!(done.out(), "Hello, world! 1 [true, true, true, false]", "{}", done.err());
    assert_eq!(done.err(), "status  1 of 2\ndata    5 bytes: part \nwarning careful\nINFO    a line\n");
    let failed = call("", &greeting);
    assert_eq!(failed.code(), Some(1));
    assert!(failed.err().contains("nothing to do"), "{}", failed.err());
    let unmade = call("world", &[]);
    assert_eq!(unmade.code(), Some(1));
    assert!(unmade.err().contains("setting.greeting is missing"), "{}", unmade.err());
}
