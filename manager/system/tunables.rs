//! Makes room for static TLS in the processes that load libraries. glibc reserves 512 bytes for libraries loaded at run
//! time. One allocator uses that up, and the next library "cannot allocate memory in static TLS block". The size is
//! fixed when a program starts, so children are started with more (glibc's GLIBC_TUNABLES). They restore the variable
//! before they load anything: what a plugin starts never sees ours.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// glibc's variable.
const VARIABLE: &str = "GLIBC_TUNABLES";
/// The variable's previous value, for the child to restore; empty if there was none.
const BEFORE: &str = "GM_NATIVE_GLIBC_TUNABLES_BEFORE";
/// The tunable, and the bytes a child gets.
const NAME: &str = "glibc.rtld.optional_static_tls";
const BYTES: u32 = 16384;

/// The environment of a child, one `NAME=value` each: ours, with the tunable.
pub(crate) fn environment_of_children() -> Vec<OsString> {
    let before = std::env::var_os(VARIABLE);
    let changed = match with_room(before.as_deref()) {
        Some(with) => vec![(VARIABLE.into(), with), (BEFORE.into(), before.unwrap_or_default())],
        None => Vec::new(),
    };
    let inherited = std::env::vars_os().filter(|(name, _)| !changed.iter().any(|(changed, _)| changed == name));
    inherited.chain(changed.iter().cloned()).map(|(name, value)| [name, value].join(OsStr::new("="))).collect()
}

/// The variable's value with our tunable appended; `None` if the tunable is set already, which then holds.
fn with_room(before: Option<&OsStr>) -> Option<OsString> {
    let mut bytes = before.map_or(&[][..], OsStr::as_bytes).to_vec();
    let is_ours = |setting: &[u8]| setting.split(|byte| *byte == b'=').next() == Some(NAME.as_bytes());
    if bytes.split(|byte| *byte == b':').any(is_ours) {
        return None;
    }
    if !bytes.is_empty() {
        bytes.push(b':');
    }
    bytes.extend_from_slice(format!("{NAME}={BYTES}").as_bytes());
    Some(OsString::from_vec(bytes))
}

/// Restores what the manager changed for this process. Call it first of all, while there is one thread.
pub(crate) fn restore() {
    let Some(before) = std::env::var_os(BEFORE) else { return };
    // SAFETY: there is one thread (the caller's duty), so nobody reads the environment meanwhile.
    unsafe {
        std::env::remove_var(BEFORE);
        match before.is_empty() {
            true => std::env::remove_var(VARIABLE),
            false => std::env::set_var(VARIABLE, before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunable_is_appended_unless_somebody_has_set_it() {
        for (before, with) in [
            (None, Some("glibc.rtld.optional_static_tls=16384")),
            (Some(""), Some("glibc.rtld.optional_static_tls=16384")),
            (Some("glibc.malloc.check=3"), Some("glibc.malloc.check=3:glibc.rtld.optional_static_tls=16384")),
            (
                Some("glibc.rtld.optional_static_tls_of_another=1"),
                Some("glibc.rtld.optional_static_tls_of_another=1:glibc.rtld.optional_static_tls=16384"),
            ),
            (Some("glibc.rtld.optional_static_tls=600"), None),
            (Some("glibc.malloc.check=3:glibc.rtld.optional_static_tls=0x1000:x=1"), None),
        ] {
            assert_eq!(with_room(before.map(OsStr::new)).as_deref(), with.map(OsStr::new), "{before:?}");
        }
    }
}
