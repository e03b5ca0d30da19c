//! Turns an ini and options into a checked [`Config`]: reports every error at once, each with its place and what to
//! write instead.
//!
//! ```text
//! bytes -> text -> ini (strict pass, positions) -> literal (rust-ini, quotes, ${NAME}) -> read (table) -> check
//!                                                                          options ------^
//! ```
//!
//! Nothing here does IO or reads a clock: the file arrives as bytes, the environment as a function.

mod changes;
mod check;
mod choice;
mod command;
mod dump;
mod effective;
mod error;
mod function;
mod host;
mod ini;
mod instance;
mod keys;
mod list;
mod literal;
mod model;
mod origins;
mod overrides;
mod read;
mod secret;
mod text;
mod value;
mod written_paths;

#[cfg(test)]
mod documentation;
#[cfg(test)]
mod ini_man;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use changes::ConfigChange;
pub use check::NO_STREAM;
pub use choice::{LogTarget, LostJobPolicy, RolloutSurge, stream};
pub use command::{ManagerCommand, joined};
pub use error::{Diagnostic, Diagnostics, ValueOrigin, Warning, on_one_line};
pub use function::{FunctionConfig, PluginSettings};
pub use host::{DEFAULT_PORT, JobServerAddress};
pub use instance::{InstanceIdentity, default_control, default_state_dir, logical_directory};
pub use keys::{ConfigKey, KEYS, KeyScope};
pub use literal::Environment;
pub use model::Config;
pub use origins::Origins;
pub use overrides::Overrides;
pub use read::nearest;
pub use secret::{MASK, SECRET_WORDS, is_secret, shown};
pub use text::{decode, encode};
pub use written_paths::WrittenPaths;

/// A configuration file that was read.
#[derive(Clone, Copy, Debug)]
pub struct ConfigFile<'a> {
    /// Its path as the operator wrote it, for messages.
    pub path: &'a Path,
    /// Its content.
    pub bytes: &'a [u8],
}

/// Reads a configuration: the defaults, then the file, then the options of the command line.
///
/// Warnings and errors come in the order of the file, then of the options. `env` supplies `${NAME}`.
///
/// # Errors
///
/// Everything that is wrong, in the file and in the options; no value is used then.
pub fn load(
    source: Option<ConfigFile<'_>>,
    options: &Overrides,
    env: Environment,
) -> Result<(Config, Vec<Warning>), Diagnostics> {
    let (config, diagnostics) = load_valid_values(source, options, env);
    match diagnostics.errors.is_empty() {
        true => Ok((config, diagnostics.warnings)),
        false => Err(diagnostics),
    }
}

/// As [`load`], but keeps the valid values if there are errors, and returns the errors too: for a command that has to
/// find a manager that was started before the file was broken.
pub fn load_valid_values(
    source: Option<ConfigFile<'_>>,
    options: &Overrides,
    env: Environment,
) -> (Config, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let mut config = Config::default();
    if let Some(ConfigFile { path, bytes }) = source {
        let file: Arc<Path> = Arc::from(path);
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("php")) {
            diagnostics.error(ValueOrigin::File(file), PHP.into());
        } else {
            let document = ini::parse(&file, bytes, env, &mut diagnostics);
            read::apply(&mut config, &file, &document, &mut diagnostics);
        }
    }
    options.apply(&mut config, &mut diagnostics);
    check::check(&mut config, &mut diagnostics);
    diagnostics.sort();
    (config, diagnostics)
}

/// The error for a configuration written in PHP.
const PHP: &str = "a configuration in PHP is not run; write it as an ini: a line [GearmanManager], under it \
                   key = value for each 'key' => 'value', and for each function a line [name of the function] with its keys";
