//! Translates the system loader's errors into our rejections. Pure.
//!
//! glibc names the right thing in the wrong sentence ("cannot open shared object file: No such file or directory"), and
//! names the copy in the store, which the user does not know.

use super::display_path::clipped;
use super::rejection::Rejection;

/// How much of the loader's text is kept.
const MAX_DETAIL: usize = 4096;

/// The system's texts for a shortage that may pass; glibc appends one to its own text, which may be wrong: "not found"
/// for a library that exists.
const PASSING: &[&str] = &[
    "Cannot allocate memory",
    "Too many open files",
    "Too many open files in system",
    "Input/output error",
    "Resource temporarily unavailable",
    "Stale file handle",
    "Connection timed out",
];

/// The rejection for an error text of `dlopen`. `copy` is the path passed to it.
pub fn rejection(text: &str, copy: &str) -> Rejection {
    let detail = clipped(text.as_bytes(), MAX_DETAIL);
    if let Some(words) = PASSING.iter().find(|words| text.ends_with(*words)) {
        return Rejection::NotLoadableNow { reason: (*words).to_owned(), detail };
    }
    if let Some((library, _)) = text.split_once(": cannot open shared object file") {
        // glibc would say the same of the copy itself, if that were gone.
        if library != copy {
            return Rejection::MissingLibrary { library: name(library), detail };
        }
    }
    if let Some((_, symbol)) = text.split_once(": undefined symbol: ") {
        let symbol = symbol.split([',', ' ']).next().unwrap_or(symbol);
        return Rejection::MissingSymbol { symbol: name(symbol), detail };
    }
    if let Some((library, rest)) = text.split_once(": version `")
        && let Some((version, _)) = rest.split_once("' not found")
    {
        let library = library.rsplit('/').next().unwrap_or(library);
        return Rejection::MissingVersion { library: name(library), version: name(version), detail };
    }
    if text.contains("cannot enable executable stack") {
        return Rejection::ExecutableStack;
    }
    let reason = match text {
        _ if text.contains("cannot allocate memory in static TLS block") => {
            "it has more static thread-local storage than there is room for; build it with -ftls-model=global-dynamic"
                .into()
        }
        _ if text.contains("CPU ISA level is lower") => {
            "it is built for a newer processor than this machine has; build it without -march and target-cpu".into()
        }
        _ if text.contains("failed to map segment") => {
            "its code may not be mapped here (no memory left, or a security policy forbids it)".into()
        }
        _ => clipped(text.replace(copy, "the library").as_bytes(), 400),
    };
    Rejection::NotLoadable { reason, detail }
}

fn name(text: &str) -> String {
    clipped(text.as_bytes(), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_glibc() {
        let cases = [
            (
                "libnot_here.so.7: cannot open shared object file: No such file or directory",
                "needs libnot_here.so.7, which this machine does not have; install it, or link it statically",
            ),
            (
                "/s/store/incoming/1: undefined symbol: not_there",
                "needs the symbol not_there, which no library it links to has; link the one that defines it",
            ),
            (
                "/s/store/incoming/1: undefined symbol: not_there, version LIBX_2.0",
                "needs the symbol not_there, which no library it links to has; link the one that defines it",
            ),
            (
                "/usr/lib/libstdc++.so.6: version `GLIBCXX_3.4.99' not found (required by /s/store/incoming/1)",
                "needs version GLIBCXX_3.4.99 of libstdc++.so.6, which is older here; install a newer one, or build on \
                 this system",
            ),
            (
                "/s/store/incoming/1: cannot allocate memory in static TLS block",
                "cannot be loaded: it has more static thread-local storage than there is room for; build it with \
                 -ftls-model=global-dynamic",
            ),
            (
                "/s/store/incoming/1: failed to map segment from shared object",
                "cannot be loaded: its code may not be mapped here (no memory left, or a security policy forbids it)",
            ),
            (
                "libm.so.6: cannot open shared object file: Too many open files",
                "cannot be loaded right now: Too many open files",
            ),
            (
                "/s/store/incoming/1: failed to map segment from shared object: Cannot allocate memory",
                "cannot be loaded right now: Cannot allocate memory",
            ),
            (
                "/s/store/incoming/1: CPU ISA level is lower than required",
                "cannot be loaded: it is built for a newer processor than this machine has; build it without -march \
                 and target-cpu",
            ),
            ("/s/store/incoming/1: something new\u{1b}[2J", "cannot be loaded: the library: something new\\u{1b}[2J"),
            (
                "/s/store/incoming/1: cannot open shared object file: Permission denied",
                "cannot be loaded: the library: cannot open shared object file: Permission denied",
            ),
        ];
        for (text, sentence) in cases {
            let rejection = rejection(text, "/s/store/incoming/1");
            assert_eq!(rejection.to_string(), sentence);
            assert!(rejection.detail().is_some(), "{sentence}");
        }
    }
}
