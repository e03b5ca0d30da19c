//! Checks that need all keys: keys that depend on each other, values out of range, duplicates.

use std::fmt::Display;

use super::choice::{LOG_TARGET, LogTarget};
use super::error::{Diagnostics, ValueOrigin};
use super::ini::MANAGER;
use super::model::{Config, DEFAULT_LIFETIME};
use super::text::{from_path, quoted};

/// The error for a stream as the log of a manager in the background; it follows the name of the stream.
pub const NO_STREAM: &str = "is a stream of the caller, which a manager in the background (-d, daemon) closes; write a \
                             file or syslog, or do not daemonize";

/// A priority outside this range is changed to its nearest end.
const PRIORITIES: std::ops::RangeInclusive<i8> = -5..=5;

/// Checks and completes the values.
pub(super) fn check(config: &mut Config, diagnostics: &mut Diagnostics) {
    lifetime(config, diagnostics);
    limits(config);
    log(config, diagnostics);
    dedicated(config, diagnostics);
    priorities(config, diagnostics);
    memory(config, diagnostics);
    prefetch(config, diagnostics);
    files(config, diagnostics);

    let origin = config.origins.of(None, "host");
    once(&mut config.hosts, "host", |host| quoted(&host.to_string()), &origin, diagnostics);
    let origin = config.origins.of(None, "worker_dir");
    once(&mut config.worker_dirs, "worker_dir", |dir| quoted(&from_path(dir)), &origin, diagnostics);
}

/// 0 means "unset" in GearmanManager, and a worker without any lifetime would be restarted forever.
fn lifetime(config: &mut Config, diagnostics: &mut Diagnostics) {
    if config.max_worker_lifetime.is_zero() {
        config.max_worker_lifetime = DEFAULT_LIFETIME;
        let text = "max_worker_lifetime = 0 is taken as 3600, as it always was; write 87600h for no end";
        diagnostics.warn(config.origins.of(None, "max_worker_lifetime"), text.into());
    }
}

/// One file for both: the log would be truncated at each start, and the pid could not be read from it.
fn files(config: &Config, diagnostics: &mut Diagnostics) {
    if let (Some(pid), LogTarget::File(log)) = (&config.pid_file, &config.log)
        && pid == log
    {
        let text = format!("pid_file {} is the log_file, too; write another path", quoted(&from_path(pid)));
        diagnostics.error(config.origins.of(None, "pid_file"), text);
    }
}

/// `0s` means no limit, as `0` does.
fn limits(config: &mut Config) {
    config.timeout = config.timeout.filter(|timeout| !timeout.is_zero());
    config.max_memory = config.max_memory.filter(|bytes| *bytes != 0);
    config.max_memory_hard = config.max_memory_hard.filter(|bytes| *bytes != 0);
}

fn log(config: &mut Config, diagnostics: &mut Diagnostics) {
    if config.daemon && !config.origins.is_set(None, "log_file") {
        config.log = LogTarget::Syslog;
    }
    if config.daemon && matches!(config.log, LogTarget::Stream(_)) {
        let text = format!("log_file = {} {NO_STREAM}", (LOG_TARGET.show)(&config.log));
        diagnostics.error(config.origins.of(None, "log_file"), text);
    }
}

fn dedicated(config: &Config, diagnostics: &mut Diagnostics) {
    for (name, own) in config.functions.iter().filter(|(_, own)| own.dedicated_only) {
        if own.dedicated_count.is_none() {
            let text = format!("dedicated_only in [{name}] needs a dedicated_count there; write dedicated_count = 1");
            diagnostics.error(config.origins.of(Some(name), "dedicated_only"), text);
        }
        if own.count.is_some() {
            let text = format!("count in [{name}] has no effect beside dedicated_only; write dedicated_count instead");
            diagnostics.warn(config.origins.of(Some(name), "count"), text);
        }
    }
}

fn priorities(config: &mut Config, diagnostics: &mut Diagnostics) {
    for (name, own) in &mut config.functions {
        let taken = own.priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
        if taken != own.priority {
            let text = format!("priority in [{name}] is not from -5 to 5 and is taken as {taken}; write that");
            diagnostics.warn(config.origins.of(Some(name), "priority"), text);
            own.priority = taken;
        }
    }
}

/// The soft limit can replace a worker in time only if it is below the hard one.
fn memory(config: &Config, diagnostics: &mut Diagnostics) {
    let crossed = |soft: Option<u64>, hard: Option<u64>| soft.zip(hard).is_some_and(|(soft, hard)| soft > hard);
    const ADVICE: &str = "is less than max_memory; write a larger one, or a smaller max_memory";
    if crossed(config.max_memory, config.max_memory_hard) {
        diagnostics.error(config.origins.of(None, "max_memory_hard"), format!("max_memory_hard {ADVICE}"));
        return;
    }
    for name in config.functions.keys() {
        if crossed(config.max_memory(name), config.max_memory_hard(name)) {
            let own =
                |key: &str| Some(config.origins.of(Some(name), key)).filter(|origin| *origin != ValueOrigin::Default);
            let origin = own("max_memory_hard").or_else(|| own("max_memory")).unwrap_or_default();
            diagnostics.error(origin, format!("max_memory_hard of [{name}] {ADVICE}"));
        }
    }
}

/// Warns if a worker cannot prefetch although the configuration asks for it.
fn prefetch(config: &Config, diagnostics: &mut Diagnostics) {
    let sections = || std::iter::once(None).chain(config.functions.keys().map(|name| Some(name.as_str())));
    let wanted = |section: Option<&str>| config.prefetch(section.unwrap_or_default()) > 1;
    for section in sections().filter(|section| wanted(*section)) {
        let origin = config.origins.of(section, "prefetch_hold");
        if config.prefetch_hold(section.unwrap_or_default()).is_zero() && origin != ValueOrigin::Default {
            let place = section.unwrap_or(MANAGER);
            let text = format!("prefetch_hold = 0 in [{place}] lets no job wait, so prefetch has no effect; write 1ms");
            diagnostics.warn(origin, text);
        }
    }
    let probation = sections().filter(|section| wanted(*section));
    let probation = probation.map(|section| config.prefetch_probation(section.unwrap_or_default())).min();
    if let Some(probation) = probation.filter(|jobs| config.max_runs > 0 && config.max_runs <= u64::from(*jobs)) {
        let text = format!(
            "max_runs_per_worker = {} ends a worker before it prefetches, which takes prefetch_probation = {probation} \
             jobs; write a larger one",
            config.max_runs
        );
        diagnostics.warn(config.origins.of(None, "max_runs_per_worker"), text);
    }
    shared_prefetch(config, diagnostics);
}

/// A worker holds as few jobs as the least `prefetch` of its functions.
fn shared_prefetch(config: &Config, diagnostics: &mut Diagnostics) {
    let is_shared = |name: &str| {
        let own = config.functions.get(name);
        let dedicated = own.and_then(|own| own.dedicated_count).unwrap_or_else(|| config.default_dedicated_count());
        config.count > 0 && dedicated == 0
    };
    let is_alone = |name: &str| config.functions.get(name).is_some_and(|own| own.dedicated_only);
    let least = |names: &mut dyn Iterator<Item = &str>| -> u32 {
        names.filter(|name| !is_alone(name)).map(|name| config.prefetch(name)).min().unwrap_or(u32::MAX)
    };
    let named = match config.include.is_empty() {
        false => least(&mut config.include.iter().map(String::as_str)),
        true => least(&mut config.functions.keys().map(String::as_str)),
    };
    // Any library may be in worker_dir: the empty name stands for functions without a section.
    let may_be_others = config.include.is_empty() && config.prefetch("") == 1;
    let effect = match named {
        1 => {
            "has no effect: its workers serve other functions too, and hold as few jobs as the least prefetch of those, 1"
        }
        _ if may_be_others => {
            "has an effect only if every function in worker_dir has a section with prefetch: its workers serve all of \
             them, and hold as few jobs as the least prefetch says"
        }
        _ => return,
    };
    for (name, own) in &config.functions {
        if let Some(prefetch) = own.prefetch.filter(|prefetch| *prefetch > 1)
            && is_shared(name)
        {
            let text = format!("prefetch = {prefetch} in [{name}] {effect}; write dedicated_count = 1 there");
            diagnostics.warn(config.origins.of(Some(name), "prefetch"), text);
        }
    }
}

/// Removes duplicates.
fn once<T: PartialEq + Clone>(
    items: &mut Vec<T>,
    key: &str,
    show: impl Fn(&T) -> String,
    origin: &ValueOrigin,
    diagnostics: &mut Diagnostics,
) {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        match kept.contains(&item) {
            true => diagnostics.warn(origin.clone(), twice(key, show(&item))),
            false => kept.push(item),
        }
    }
    *items = kept;
}

fn twice(key: &str, item: impl Display) -> String {
    format!("{key} names {item} twice, it is taken once; remove the other")
}
