//! A worker's functions: loads their libraries, makes their objects, and calls them.

use std::collections::BTreeMap;

use gm_plugin_api::abi::{Host, RSlice, RStr, RawContext, RawFail, RawJob, RawSetting};

use crate::gearman::packet::AssignedJob;
use crate::plugins::loader::{Instance, Loaded, ResultBytes};
use crate::plugins::name::FunctionName;
use crate::worker::manager_link::highest_wanted;

/// What a plugin returned.
pub(crate) type PluginOutcome = Result<ResultBytes, RawFail>;

/// One function, ready to run jobs.
pub(crate) struct LoadedFunction {
    /// Its name with the job servers.
    pub name: FunctionName,
    loaded: Loaded,
    instance: Instance,
    host: &'static Host,
}

impl LoadedFunction {
    /// Makes the object of the function `name` by calling its `new`. `host` is the table of functions that it can call.
    ///
    /// # Errors
    /// One sentence, if `new` fails.
    pub(crate) fn make(
        loaded: Loaded,
        name: &FunctionName,
        settings: &BTreeMap<String, String>,
        verbosity: u8,
        host: &'static Host,
    ) -> Result<Self, String> {
        loaded.set_level(highest_wanted(verbosity));
        let settings: Vec<RawSetting<'_>> = settings
            .iter()
            .map(|(name, value)| RawSetting { name: RStr::from_str(name), value: RStr::from_str(value) })
            .collect();
        let context = RawContext {
            size: size_of::<RawContext<'_>>(),
            function: RStr::from_str(name),
            settings: RSlice::from_slice(&settings),
            host,
        };
        let constructor = loaded.constructor();
        let instance = loaded.make(&context).map_err(|fail| format!("its {constructor} failed: {}", explain(&fail)))?;
        Ok(Self { name: name.clone(), loaded, instance, host })
    }

    /// Runs a job to its end.
    pub(crate) fn run(&mut self, job: &AssignedJob<'_>, number: u64) -> PluginOutcome {
        let raw = RawJob {
            size: size_of::<RawJob<'_>>(),
            number,
            handle: RSlice::from_slice(job.handle),
            unique: RSlice::from_slice(job.unique),
            function: RStr::from_str(&self.name),
            workload: RSlice::from_slice(job.workload),
            host: self.host,
        };
        self.instance.run(&raw)
    }

    /// Changes which log records are wanted.
    pub(crate) fn set_verbosity(&self, verbosity: u8) {
        self.loaded.set_level(highest_wanted(verbosity));
    }
}

/// A failure in one line, with the location of a panic.
pub(crate) fn explain(fail: &RawFail) -> String {
    match (fail.kind, fail.file.is_empty()) {
        (RawFail::PANIC, false) => format!("panicked at {}:{}: {}", fail.file, fail.line, fail.message),
        (RawFail::PANIC, true) => format!("panicked: {}", fail.message),
        _ => fail.message.to_string(),
    }
}
