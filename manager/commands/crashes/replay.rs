//! `gm-native crashes replay`: runs the job of a report again, in a child, as `gm-native call` does.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::unistd::geteuid;

use crate::commands::call::{self, CallRequest};
use crate::commands::output::fail;
use crate::commands::records::Records;
use crate::config::{self, Config, MASK};
use crate::crash::files::CRASHES;
use crate::crash::record_id::RecordId;
use crate::crash::report::CrashReport;
use crate::logging::escape;
use crate::plugins::display_path::DisplayPath;
use crate::plugins::name::FunctionName;
use crate::plugins::store::STORE;
use crate::system::errors::reason;
use crate::system::owner::{named, owner, user_name};
use crate::system::privileges::RunUser;

pub(super) fn replay(records: &Records<CrashReport>, id: &str, gdb: bool, verbose: u8) -> Result<ExitCode, ExitCode> {
    let (id, report) = records.read(id)?;
    let refused = |text: String| fail(&format!("crash report {id} cannot be replayed: {text}"), 1);
    let (function, library) = stored(records, &report).map_err(refused)?;
    let workload = workload(records, id, &report).map_err(refused)?;
    let config = &records.configuration.config;
    let (settings, missing) = settings(&report.settings, config, &function);
    if !missing.is_empty() {
        let names = missing.join(", ");
        eprintln!(
            "gm-native: warning: secrets are not in crash reports, and the configuration has none of these settings: \
             {names}; name it with -c FILE"
        );
    }
    let request = CallRequest {
        function,
        prefix: report.prefix.clone(),
        library: library.into(),
        settings,
        repeat: 1,
        verbosity: 3 + verbose.min(2),
        max_packet: config.max_packet,
        stop_timeout: config.stop_timeout,
    };
    become_owner(&records.configuration.state_dir).map_err(refused)?;
    match gdb {
        true => Err(in_gdb(records, id, &request)),
        false => Ok(call::run(&request, &workload)),
    }
}

/// The function, and its library in the store. The report's own path is not believed: whoever may write reports could
/// have us load anything.
fn stored(records: &Records<CrashReport>, report: &CrashReport) -> Result<(FunctionName, PathBuf), String> {
    let function = report.function.clone().ok_or("it is not known which function its worker was in")?;
    let version = report.version.ok_or("it is not known which version its worker had")?;
    let store = records.configuration.state_dir.join(STORE);
    let library = store.join(version.to_string()).join(format!("{function}.so"));
    match library.symlink_metadata() {
        Ok(found) if found.is_file() => Ok((function, library)),
        _ => Err(format!(
            "version {version} of {function} is no longer in the store ({}); keep_versions says how many earlier versions \
             stay there",
            DisplayPath(&library)
        )),
    }
}

fn workload(records: &Records<CrashReport>, id: RecordId, report: &CrashReport) -> Result<Vec<u8>, String> {
    let job = report.job.as_ref().ok_or("its worker had no job in hand")?;
    if !job.workload_kept {
        let note = job.workload_note.as_deref().unwrap_or("nobody knows why");
        return Err(format!("its workload was not kept: {}", escape(note)));
    }
    records.workload(id, job.workload_size).map_err(|reason| format!("its workload was kept, but {reason}"))
}

/// The settings of the report, secrets from the configuration; and the names of the secrets that are not there.
fn settings(
    reported: &BTreeMap<String, String>,
    config: &Config,
    function: &FunctionName,
) -> (BTreeMap<String, String>, Vec<String>) {
    let configured = config.functions.get(function.as_str()).map(|function| &function.settings.0);
    let mut missing = Vec::new();
    let mut settings = BTreeMap::new();
    for (name, value) in reported {
        let is_masked = value.contains(MASK);
        match configured.and_then(|configured| configured.get(name)).filter(|_| is_masked) {
            Some(secret) => drop(settings.insert(name.clone(), secret.clone())),
            None if is_masked => missing.push(escape(name).into_owned()),
            None => drop(settings.insert(name.clone(), value.clone())),
        }
    }
    (settings, missing)
}

/// Root runs the job as the user to whom the state directory belongs: that user may have put any code and any report
/// there.
fn become_owner(state_dir: &Path) -> Result<(), String> {
    let owner = owner(state_dir).filter(|owner| geteuid().is_root() && !owner.is_root());
    let Some(owner) = owner else { return Ok(()) };
    let no_user = || format!("{} belongs to {}, which has no name", DisplayPath(state_dir), named(owner));
    let name = user_name(owner).ok_or_else(no_user)?;
    eprintln!("gm-native: runs as {}, to whom {} belongs", named(owner), DisplayPath(state_dir));
    let user = RunUser::lookup(&name).map_err(|error| reason(&error))?;
    user.drop_privileges().map_err(|error| reason(&error))
}

/// Replaces this process by gdb, which runs `gm-native call`. Secrets are not on its command line: they come from the
/// configuration.
fn in_gdb(records: &Records<CrashReport>, id: RecordId, request: &CallRequest) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return fail(&format!("the path of this program is not known: {}", reason(&error)), 1),
    };
    let mut gdb = Command::new("gdb");
    gdb.args(["-q", "-iex", "set follow-fork-mode child", "-ex", "run", "--args"]).arg(program);
    if let Some(file) = records.configuration.origin.file() {
        gdb.arg("-c").arg(file);
    }
    gdb.args(["call", "--function", &request.function, "--prefix", &request.prefix]);
    for (name, value) in request.settings.iter().filter(|(name, value)| config::shown(name, value) == **value) {
        gdb.arg("--setting").arg(format!("{name}={value}"));
    }
    let mut workload = std::ffi::OsString::from("@");
    workload.push(records.configuration.state_dir.join(CRASHES).join(format!("{id}.workload")));
    gdb.arg(Path::new(&request.library)).arg(workload);
    let error = gdb.exec();
    fail(&format!("gdb could not be started: {}; install it, or leave --gdb out", reason(&error)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FunctionConfig;

    #[test]
    fn secrets_come_from_the_configuration() {
        let mut config = Config::default();
        let mut function = FunctionConfig::default();
        let text = |text: &str| text.to_owned();
        function.settings.0.extend([(text("token"), text("hunter2")), (text("size"), text("9"))]);
        config.functions.insert("f".into(), function);
        let reported = [("token", "****"), ("size", "7"), ("password", "****"), ("url", "http://u:****@b/")];
        let reported = reported.map(|(name, value)| (text(name), text(value))).into_iter().collect();
        let (settings, missing) = super::settings(&reported, &config, &"f".into());
        let expected = [("size", "7"), ("token", "hunter2")].map(|(name, value)| (text(name), text(value)));
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), expected);
        assert_eq!(missing, ["password", "url"]);
    }
}
