//! The pre-check on real libraries: whole, cut at every length, and with bytes turned over.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod corpus;

use std::fs;

use gm_native::plugins::elf::{self, ElfFacts, ElfRequirements, Machine};
use gm_native::plugins::glibc::GlibcVersion;
use gm_native::plugins::name::FunctionName;
use gm_native::plugins::probe::KINDS;
use gm_native::plugins::rejection::Rejection;

fn check(bytes: &[u8], function: &str) -> Result<ElfFacts, Rejection> {
    let function = FunctionName::new(function).unwrap();
    let glibc = GlibcVersion::running();
    elf::check(bytes, &ElfRequirements { prefix: "", function: &function, kinds: KINDS, machine: Machine::HOST, glibc })
}

fn whole() -> Vec<u8> {
    let cases = corpus::cases();
    fs::read(&corpus::find(&cases, "returns").path).unwrap()
}

#[test]
fn a_whole_library_passes() {
    let facts = check(&whole(), "returns").unwrap();
    assert_eq!(facts.needed, ["libc.so.6"]);
    assert!(facts.glibc <= GlibcVersion::running(), "{facts:?}");
}

#[test]
fn no_library_that_was_cut_short_passes() {
    let bytes = whole();
    for length in 0..bytes.len() {
        match check(&bytes[..length], "returns") {
            Err(Rejection::Truncated { size, .. }) if size == length as u64 => {}
            Err(Rejection::Empty) if length == 0 => {}
            Err(Rejection::NotALibrary { .. }) if length < 4 => {}
            other => panic!("cut to {length} of {} bytes: {other:?}", bytes.len()),
        }
    }
}

/// A real plugin as cargo builds it: too large to be cut everywhere.
#[test]
fn no_plugin_of_cargos_that_was_cut_short_passes() {
    let plugin = std::env::current_exe().unwrap().with_file_name("libreverse_string.so");
    let bytes = fs::read(plugin).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let some = std::iter::repeat_with(|| random.usize(64..bytes.len())).take(2000);
    for length in some.chain(bytes.len() - 256..bytes.len()) {
        let found = check(&bytes[..length], "reverse_string");
        assert!(matches!(found, Err(Rejection::Truncated { .. })), "cut to {length} of {}: {found:?}", bytes.len());
    }
}

/// The section table lies at the end of most files, and hides the rest from a test that cuts them.
#[test]
fn nothing_may_lie_outside_the_file() {
    let number = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let whole = whole();
    // p_filesz of the first segment; sh_size of the first section.
    let (segments, sections) = (number(&whole, 32), number(&whole, 40));
    let cases = [(segments + 32, "segment 0"), (sections + 64 + 32, "section 1 ")];
    for (at, part) in cases {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&(1u64 << 40).to_ne_bytes());
        match check(&bytes, "returns") {
            Err(Rejection::Truncated { part: found, .. }) => assert!(found.starts_with(part), "{part}: {found}"),
            other => panic!("{part}: {other:?}"),
        }
    }
}

#[test]
fn hostile_bytes_are_refused_or_pass_and_never_panic() {
    let bytes = whole();
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bytes = bytes.clone();
        // Half of the flips where the tables are: header and segments in front, sections at the end.
        for _ in 0..random.usize(1..8) {
            let at = match random.u8(0..4) {
                0 => random.usize(..1024),
                1 => bytes.len() - 1 - random.usize(..2048),
                _ => random.usize(..bytes.len()),
            };
            bytes[at] ^= 1 << random.u8(..8);
        }
        refused += usize::from(check(&bytes, "returns").is_err());
    }
    assert!(refused > 1000, "only {refused} were refused");
}

#[test]
fn random_bytes_behind_a_right_header() {
    let header = whole()[..64].to_vec();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..5_000 {
        let mut tail = vec![0; random.usize(..4096)];
        random.fill(&mut tail);
        let bytes = [header.as_slice(), &tail].concat();
        assert!(check(&bytes, "returns").is_err());
    }
}
