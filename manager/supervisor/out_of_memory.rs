//! Whether a worker ended because it got no more memory, and which limit that was: as far as it is known. Pure; the
//! [`watch`] reads what it is decided with.

mod watch;

use serde::Serialize;

pub(crate) use watch::OutOfMemoryWatch;

/// A worker got no more memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OutOfMemory {
    /// What ended it.
    pub by: OutOfMemoryCause,
    /// The limit that was reached, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<MemoryLimitName>,
    /// That limit, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_mib: Option<u64>,
}

/// What ends a worker that gets no more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutOfMemoryCause {
    /// The kernel's out-of-memory killer.
    Kernel,
    /// An allocation failed, and the program's own runtime aborted.
    FailedAllocation,
}

/// A limit of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemoryLimitName {
    /// That of the worker's control group.
    Cgroup,
    /// The machine has no more.
    Machine,
    /// The key of the configuration.
    MaxMemoryHard,
}

impl OutOfMemory {
    /// A limit in bytes, rounded down: it holds what fits into it.
    fn of(by: OutOfMemoryCause, limit: Option<(MemoryLimitName, Option<u64>)>) -> Self {
        Self { by, limit: limit.map(|(name, _)| name), limit_mib: limit.and_then(|(_, bytes)| bytes).map(mebibytes) }
    }

    /// Its runtime aborted since an allocation had failed.
    pub(crate) fn failed_allocation(max_memory_hard: Option<u64>) -> Self {
        let limit = max_memory_hard.map(|bytes| (MemoryLimitName::MaxMemoryHard, Some(bytes)));
        Self::of(OutOfMemoryCause::FailedAllocation, limit)
    }

    /// Follows how the process ended: `killed by SIGKILL`.
    pub(crate) fn clause(&self) -> &'static str {
        match self.by {
            OutOfMemoryCause::Kernel => " from the kernel's out-of-memory killer",
            OutOfMemoryCause::FailedAllocation => " after a failed allocation",
        }
    }

    /// Follows how much memory it had: `peak 61 MiB`.
    pub(crate) fn limit_clause(&self) -> String {
        let mib = self.limit_mib.map_or(String::new(), |mib| format!(": {mib} MiB"));
        match self.limit {
            Some(MemoryLimitName::Cgroup) => format!(" (limit of its control group{mib})"),
            Some(MemoryLimitName::Machine) => " (the machine was out of memory)".into(),
            Some(MemoryLimitName::MaxMemoryHard) => format!(" (max_memory_hard{mib})"),
            None => String::new(),
        }
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

/// What the out-of-memory killer looked at when it chose a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KillScope {
    /// The processes of a control group.
    Cgroup,
    /// All processes.
    Machine,
}

/// What is known when a worker was killed by SIGKILL that the manager did not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KillEvidence {
    /// The kernel's log names the process as one that the out-of-memory killer has killed.
    named: Option<KillScope>,
    /// The log has everything that the kernel has written since the last death.
    log_is_complete: bool,
    /// Processes of the worker's group that the killer has killed since the last look.
    new_kills: u64,
    /// Whether the limit of the group was reached meanwhile, if the kernel counts that.
    limit_reached: bool,
    /// The group's limit, in bytes.
    cgroup_limit: Option<u64>,
}

/// Whether it was the kernel's out-of-memory killer. The log decides if it is complete, since the group's count may
/// stand for another process, such as one that a job started.
fn judge(evidence: KillEvidence) -> Option<OutOfMemory> {
    let cgroup = evidence.cgroup_limit.map(|bytes| (MemoryLimitName::Cgroup, Some(bytes)));
    let limit = match evidence.named {
        Some(KillScope::Machine) => Some((MemoryLimitName::Machine, None)),
        Some(KillScope::Cgroup) => Some(cgroup.unwrap_or((MemoryLimitName::Cgroup, None))),
        None if evidence.log_is_complete || evidence.new_kills == 0 => return None,
        None => cgroup.filter(|_| evidence.limit_reached),
    };
    Some(OutOfMemory::of(OutOfMemoryCause::Kernel, limit))
}

/// The process that the out-of-memory killer has killed, if this record of the kernel's log says so.
fn killed_process(record: &str) -> Option<(i32, KillScope)> {
    let (prefix, message) = record.split_once(';')?;
    // Programs may write to the log, too, but not in the kernel's name.
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    let (scope, rest) = if let Some(rest) = message.strip_prefix("Memory cgroup out of memory") {
        (KillScope::Cgroup, rest)
    } else {
        (KillScope::Machine, message.strip_prefix("Out of memory")?)
    };
    let (between, rest) = rest.split_once(": Kill")?;
    // `Killed process`; before Linux 5.1 `Kill process`, followed by another line.
    let rest = rest.strip_prefix("ed process ").or_else(|| rest.strip_prefix(" process "))?;
    let is_plain = between.is_empty() || between == " (oom_kill_allocating_task)";
    let pid = rest.split(' ').next()?.parse().ok()?;
    (priority >> 3 == 0 && is_plain).then_some((pid, scope))
}

/// The last words of a process on its standard error, as far as they are about an allocation that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LastWords {
    is_failed_allocation: bool,
}

impl LastWords {
    /// It printed one more line.
    pub(crate) fn hear(&mut self, line: &[u8]) {
        let bytes = line.strip_prefix(b"memory allocation of ").and_then(|rest| rest.strip_suffix(b" bytes failed"));
        let is_rusts = bytes.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit));
        let is_cpps = line == b"terminate called after throwing an instance of 'std::bad_alloc'";
        // C++ says more, and Rust prints a backtrace if it is asked to.
        let is_detail = [&b" "[..], b"stack backtrace:", b"note: "].iter().any(|start| line.starts_with(start));
        self.is_failed_allocation = is_rusts || is_cpps || (self.is_failed_allocation && is_detail);
    }

    /// Whether they are what the runtime of Rust or C++ prints before it aborts because an allocation failed.
    pub(crate) fn is_failed_allocation(self) -> bool {
        self.is_failed_allocation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_decides_where_it_is_complete_and_else_the_count() {
        let limit = Some(64 << 20);
        let nothing = KillEvidence {
            named: None,
            log_is_complete: false,
            new_kills: 0,
            limit_reached: false,
            cgroup_limit: limit,
        };
        let kernel = |limit, limit_mib| Some(OutOfMemory { by: OutOfMemoryCause::Kernel, limit, limit_mib });
        let cgroup = kernel(Some(MemoryLimitName::Cgroup), Some(64));
        for (name, evidence, expected) in [
            ("nothing is known", nothing, None),
            ("named, in a group", KillEvidence { named: Some(KillScope::Cgroup), ..nothing }, cgroup.clone()),
            (
                "named, in a group whose limit is not known",
                KillEvidence { named: Some(KillScope::Cgroup), cgroup_limit: None, ..nothing },
                kernel(Some(MemoryLimitName::Cgroup), None),
            ),
            (
                "named, of the whole machine",
                KillEvidence { named: Some(KillScope::Machine), ..nothing },
                kernel(Some(MemoryLimitName::Machine), None),
            ),
            (
                "another process was killed: one that a job had started",
                KillEvidence { log_is_complete: true, new_kills: 1, ..nothing },
                None,
            ),
            ("only the count rose", KillEvidence { new_kills: 1, ..nothing }, kernel(None, None)),
            (
                "the count rose, and the limit was reached",
                KillEvidence { new_kills: 2, limit_reached: true, ..nothing },
                cgroup,
            ),
            ("the limit was reached, and nobody killed", KillEvidence { limit_reached: true, ..nothing }, None),
        ] {
            assert_eq!(judge(evidence), expected, "{name}");
        }
    }

    #[test]
    fn the_killed_process_is_read_from_the_kernels_log() {
        const CGROUP: &str =
            "3,13103,66324519009,-;Memory cgroup out of memory: Killed process 14678 (perl) total-vm:1kB";
        for (record, expected) in [
            (CGROUP, Some((14678, KillScope::Cgroup))),
            ("3,1,2,-;Out of memory: Killed process 7 (gm:act) total-vm:1kB", Some((7, KillScope::Machine))),
            ("3,1,2,-;Out of memory (oom_kill_allocating_task): Killed process 7 (x)", Some((7, KillScope::Machine))),
            ("3,1,2,-;Out of memory: Kill process 7 (x) score 9 or sacrifice child", Some((7, KillScope::Machine))),
            // Written by a program: its facility is not the kernel's.
            ("11,1,2,-;Out of memory: Killed process 7 (x)", None),
            ("3,1,2,-;traps: Out of memory: Killed process 7 (x)", None),
            ("3,1,2,-;Out of memory and more: Killed process 7 (x)", None),
            ("3,1,2,-;Out of memory: Killed process x", None),
            ("x;Out of memory: Killed process 7 (x)", None),
            (" SUBSYSTEM=memory", None),
            ("", None),
        ] {
            assert_eq!(killed_process(record), expected, "{record}");
        }
    }

    #[test]
    fn last_words_count_only_if_they_are_the_last() {
        const CPP: &str = "terminate called after throwing an instance of 'std::bad_alloc'";
        for (lines, expected) in [
            (&["memory allocation of 1073741824 bytes failed"][..], true),
            (&[CPP], true),
            (&[CPP, "  what():  std::bad_alloc"], true),
            (&["memory allocation of 8 bytes failed", "and it went on"], false),
            (&["  what():  std::bad_alloc"], false),
            (
                &[
                    "memory allocation of 8 bytes failed",
                    "stack backtrace:",
                    "   0: f",
                    "      at a.rs:1:2",
                    "note: Some",
                ],
                true,
            ),
            (&["memory allocation of  bytes failed"], false),
            (&["a memory allocation of 8 bytes failed"], false),
            (&["terminate called after throwing an instance of 'std::runtime_error'"], false),
            (&[], false),
        ] {
            let mut words = LastWords::default();
            lines.iter().for_each(|line| words.hear(line.as_bytes()));
            assert_eq!(words.is_failed_allocation(), expected, "{lines:?}");
        }
    }

    #[test]
    fn it_is_described_with_its_limit() {
        let describe = |reason: OutOfMemory| reason.clause().to_owned() + &reason.limit_clause();
        let kernel = |limit| OutOfMemory::of(OutOfMemoryCause::Kernel, limit);
        let killer = " from the kernel's out-of-memory killer";
        for (reason, expected) in [
            (
                kernel(Some((MemoryLimitName::Cgroup, Some(64 << 20)))),
                format!("{killer} (limit of its control group: 64 MiB)"),
            ),
            (kernel(Some((MemoryLimitName::Cgroup, None))), format!("{killer} (limit of its control group)")),
            (kernel(Some((MemoryLimitName::Machine, None))), format!("{killer} (the machine was out of memory)")),
            (kernel(None), killer.into()),
            (
                OutOfMemory::failed_allocation(Some(256 << 20)),
                " after a failed allocation (max_memory_hard: 256 MiB)".into(),
            ),
            (OutOfMemory::failed_allocation(None), " after a failed allocation".into()),
        ] {
            assert_eq!(describe(reason), expected);
        }
    }
}
