//! The name `ps` shows for a process. The kernel reads it from the memory that held the arguments at exec, so that is
//! overwritten.

use std::sync::OnceLock;

use nix::libc;

/// Where the arguments are: start and length. Found once; `None` if /proc does not say.
static ROOM: OnceLock<Option<(usize, usize)>> = OnceLock::new();

/// Sets what `ps -f` shows. Titles longer than the arguments were are cut. Costs a copy and, after the first time, no
/// system call. Only for the main thread of a child that does not read its arguments any more.
pub(crate) fn set(title: &str) {
    let Some((start, length)) = *ROOM.get_or_init(find_room) else { return };
    let used = title.len().min(length.saturating_sub(1));
    // SAFETY: the range is this process's own argument area, which is writable and lives as long as the process; std
    // copies arguments out of it on request, which a child does only before this.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) };
    area[..used].copy_from_slice(&title.as_bytes()[..used]);
    area[used..].fill(0);
}

/// Sets the short name (15 bytes) that `top` and `ps -e` show.
pub(crate) fn set_short(name: &str) {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: a NUL-terminated buffer of the sixteen bytes that PR_SET_NAME reads.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

fn find_room() -> Option<(usize, usize)> {
    argument_area(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Start and length of the arguments, from the line of /proc/self/stat (fields 48 and 49, see proc(5)).
fn argument_area(stat: &str) -> Option<(usize, usize)> {
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(48 - 3);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    (start != 0 && end > start).then(|| (start, end - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_found_behind_a_name_with_brackets() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        assert_eq!(argument_area(&format!("12 (a) b) {}", fields.join(" "))), Some((48, 1)));
        assert_eq!(argument_area("12 (a) S 1 2"), None);
        assert_eq!(argument_area(""), None);
    }
}
