//! The functions of a worker: their libraries loaded, their objects made, called.

use gm_plugin_api::abi::{RSlice, RStr, RVec, RawContext, RawFail, RawJob, RawSetting};

use crate::gearman::packet::Assigned;
use crate::plugins::loader::{self, Instance, Loaded};
use crate::worker::host::HOST;
use crate::worker::line::highest_wanted;
use crate::worker::orders::FunctionOrder;

/// What a plugin returned.
pub type Outcome = Result<RVec<u8>, RawFail>;

/// One function, ready to run jobs.
pub struct Function {
    /// Its name with the job servers.
    pub name: String,
    loaded: Loaded,
    instance: Instance,
}

impl Function {
    /// Loads the library and makes its object, with whatever the plugin does in it.
    ///
    /// # Errors
    /// One sentence, where the library cannot be loaded or its `new` fails.
    pub fn start(order: &FunctionOrder, verbosity: u8) -> Result<Self, String> {
        let loaded = loader::load(&order.library, &order.symbol).map_err(|error| error.to_string())?;
        loaded.set_level(highest_wanted(verbosity));
        let settings: Vec<RawSetting<'_>> = order
            .settings
            .iter()
            .map(|(name, value)| RawSetting { name: RStr::from_str(name), value: RStr::from_str(value) })
            .collect();
        let context = RawContext {
            size: size_of::<RawContext<'_>>(),
            function: RStr::from_str(&order.name),
            settings: RSlice::from_slice(&settings),
            host: &HOST,
        };
        let instance = loaded.make(&context).map_err(|fail| format!("its new() failed: {}", explain(&fail)))?;
        Ok(Self { name: order.name.clone(), loaded, instance })
    }

    /// Runs a job to its end.
    pub fn run(&mut self, job: &Assigned<'_>, number: u64) -> Outcome {
        let raw = RawJob {
            size: size_of::<RawJob<'_>>(),
            number,
            handle: RSlice::from_slice(job.handle),
            unique: RSlice::from_slice(job.unique),
            function: RStr::from_str(&self.name),
            workload: RSlice::from_slice(job.workload),
            host: &HOST,
        };
        self.instance.run(&raw).into_result()
    }

    /// Other log records are wanted.
    pub fn set_verbosity(&self, verbosity: u8) {
        self.loaded.set_level(highest_wanted(verbosity));
    }
}

/// A failure in one line, with the place of a panic.
pub fn explain(fail: &RawFail) -> String {
    match (fail.kind, fail.file.is_empty()) {
        (RawFail::PANIC, false) => format!("panicked at {}:{}: {}", fail.file, fail.line, fail.message),
        (RawFail::PANIC, true) => format!("panicked: {}", fail.message),
        _ => fail.message.to_string(),
    }
}
