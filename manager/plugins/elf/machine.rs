//! Machines as text.

/// A machine that libraries run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Rust's name for it; an ELF header of that machine gives the same.
    pub name: &'static str,
    /// The target to build for.
    pub target: &'static str,
}

impl Machine {
    /// The machine this program was built for.
    pub const HOST: Machine = Machine { name: HOST_NAME, target: env!("GM_TARGET") };
}

const HOST_NAME: &str = if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "powerpc64le"
} else if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
    "x32"
} else {
    std::env::consts::ARCH
};

/// The names of combinations of e_machine, 64-bit or not, and little-endian or not.
const NAMES: &[(u16, bool, bool, &str)] = &[
    (62, true, true, "x86_64"),
    (62, false, true, "x32"),
    (3, false, true, "32-bit x86"),
    (183, true, true, "aarch64"),
    (183, true, false, "big-endian aarch64"),
    (40, false, true, "32-bit ARM"),
    (243, true, true, "riscv64"),
    (243, false, true, "riscv32"),
    (21, true, true, "powerpc64le"),
    (21, true, false, "powerpc64"),
    (20, false, false, "32-bit PowerPC"),
    (22, true, false, "s390x"),
    (258, true, true, "loongarch64"),
    (8, true, true, "64-bit MIPS"),
    (8, true, false, "64-bit MIPS"),
    (8, false, true, "32-bit MIPS"),
    (8, false, false, "32-bit MIPS"),
    (43, true, false, "sparc64"),
];

/// The machine in an ELF header. `None` if the header is too short, or neither 32 nor 64 bit.
pub(super) fn of(head: &[u8]) -> Option<String> {
    let wide = match head.get(4)? {
        1 => false,
        2 => true,
        _ => return Some("an unknown word size".into()),
    };
    let little = match head.get(5)? {
        1 => true,
        2 => false,
        _ => return Some("an unknown byte order".into()),
    };
    let field = [*head.get(18)?, *head.get(19)?];
    let number = if little { u16::from_le_bytes(field) } else { u16::from_be_bytes(field) };
    let known = NAMES.iter().find(|&&(n, w, l, _)| (n, w, l) == (number, wide, little));
    Some(match known {
        Some(&(.., name)) => name.into(),
        None => {
            let bits = if wide { 64 } else { 32 };
            let order = if little { "little" } else { "big" };
            format!("a machine without a name here (ELF machine {number}, {bits} bit, {order}-endian)")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_knows_its_own_machine() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(of(&own).as_deref(), Some(Machine::HOST.name));
    }

    #[test]
    fn machines_by_name() {
        let head = |class: u8, order: u8, machine: [u8; 2]| {
            let mut head = vec![0x7f, b'E', b'L', b'F', class, order];
            head.resize(18, 0);
            head.extend(machine);
            of(&head).unwrap()
        };
        assert_eq!(head(2, 1, [183, 0]), "aarch64");
        assert_eq!(head(1, 1, [3, 0]), "32-bit x86");
        assert_eq!(head(2, 2, [0, 22]), "s390x");
        assert_eq!(head(2, 1, [0, 1]), "a machine without a name here (ELF machine 256, 64 bit, little-endian)");
        assert_eq!(of(b"\x7fELF\x02\x01"), None);
        assert_eq!(head(7, 1, [62, 0]), "an unknown word size");
    }
}
