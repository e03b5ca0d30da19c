//! `gm-native dev`: a manager, a job server and builds of the projects you edit, in one command.
//!
//! ```text
//! gm-native dev            job server, watcher of sources: this process
//!  |- gm-native            an ordinary manager, with the keys of `options` set
//!  `- cargo build, make    at most one at a time
//! ```
//!
//! The manager is a separate process, so that it works exactly as in production: it alone starts and reaps workers, on
//! its one thread, and new code reaches it by a rename into worker_dir.

mod build;
mod changes;
mod depinfo;
mod manager;
mod options;
mod project;
mod session;
mod signals;
mod sources;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use super::configuration::{self, Configuration};
use super::output::fail;
use crate::cli::{Cli, DevArgs};
use crate::config::{Config, DEFAULT_PORT, ValueOrigin};
use crate::jobserver::{Server, ServerOptions};
use crate::logging::{LogDestination, Logger};
use build::InstallDirectory;
use options::Setting;
use project::Project;
use session::{ConfigChanges, DevSession, ManagerState, ServedProject};
use sources::SourceWatcher;

use crate::system::errors::{dangling, reason};
use crate::system::runtime;
pub use manager::{ROLE, main};

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Why it does not start.
enum DevError {
    /// The exit code and the message.
    Ends(u8, String),
    /// The configuration cannot be used; the message.
    Configuration(String),
}

/// Serves until you stop it. Exit code: the manager's; 1 if it could not start, 2 for a wrong command line. While the
/// configuration file is wrong, it waits for the next save.
pub fn run(cli: &Cli, args: &DevArgs) -> ExitCode {
    loop {
        // Read before it is checked, so that no save is missed.
        let read = cli.place.config.as_deref().and_then(|file| Some((file, std::fs::read(file).ok()?)));
        let (code, text) = match (prepare(cli, args).and_then(serve), read) {
            (Ok(code), _) => return ExitCode::from(code),
            (Err(DevError::Ends(code, text)), _) => (code, text),
            (Err(DevError::Configuration(text)), None) => (USAGE, text),
            (Err(DevError::Configuration(text)), Some((file, content))) => {
                fail(&text.replace('\n', "\ngm-native: "), USAGE);
                fail(&format!("dev tries again as soon as you save {}", file.display()), USAGE);
                match wait_for_save(file, &content) {
                    Ok(()) => continue,
                    Err(error) => (FAILED, format!("{} cannot be watched: {}", file.display(), reason(&error))),
                }
            }
        };
        return fail(&text.replace('\n', "\ngm-native: "), code);
    }
}

/// Blocks until the file's content changes. A signal ends the process as usual.
fn wait_for_save(file: &Path, content: &[u8]) -> std::io::Result<()> {
    runtime::build(&mut Builder::new_current_thread())?.block_on(async {
        let mut watcher = SourceWatcher::new(Vec::new(), Some(file)).map_err(std::io::Error::other)?;
        // While an editor replaces the file, it is missing for a moment.
        while std::fs::read(file).map_or(true, |now| now == content) {
            watcher.next().await;
        }
        Ok(())
    })
}

/// Everything that is opened before the loop begins.
struct DevSetup {
    session: DevSession,
    server: Option<Server>,
    notices: mpsc::UnboundedReceiver<String>,
    /// Removed at the end, with its content.
    _home: TempDir,
}

fn prepare(cli: &Cli, args: &DevArgs) -> Result<DevSetup, DevError> {
    let find = |dir: &PathBuf| Project::find(dir, args.build.as_deref());
    let projects = args.projects.iter().map(find).collect::<Result<Vec<Project>, String>>();
    let projects = projects.map_err(|text| DevError::Ends(USAGE, text))?;
    let failed = |text| DevError::Ends(FAILED, text);
    let home = home()
        .map_err(|error| failed(format!("no temporary directory can be made: {}; set TMPDIR", reason(&error))))?;
    let file = cli.place.config.clone();
    let wrong = DevError::Configuration;
    // Before the job server exists, with a port that is not used.
    let settings = settings(cli, home.path(), None, !projects.is_empty()).map_err(wrong)?;
    let found = read(cli, &settings).map_err(wrong)?;
    // The later directory wins.
    let worker_dir = found.config.worker_dirs.last().cloned().unwrap_or_default();
    if !projects.is_empty() {
        std::fs::create_dir_all(&worker_dir).map_err(|error| failed(unmade(&found.config, &worker_dir, &error)))?;
    }
    super::preconditions::check(&found).map_err(|text| wrong(text + project_here(&found.config, &projects)))?;
    let own = args.host.is_empty() && cli.manager.host.is_empty();
    let server = own.then(|| bind(args.port)).transpose().map_err(failed)?;
    let reread: session::SettingsReader = {
        let (cli, home) = (cli.clone(), home.path().to_owned());
        let (address, has_projects) = (server.as_ref().map(Server::local_addr), !projects.is_empty());
        Box::new(move || self::settings(&cli, &home, address, has_projects))
    };
    let settings = reread().map_err(wrong)?;
    let Configuration { config, state_dir, control, .. } = read(cli, &settings).map_err(wrong)?;
    let mut logger = Logger::early();
    logger.open(&LogDestination::Stdout, config.verbose).map_err(|error| failed(error.to_string()))?;
    let (notify, notices) = mpsc::unbounded_channel();
    let server = server.map(|server| server.with_notices(move |text| drop(notify.send(text.to_owned()))));
    let servers: Vec<String> = config.hosts.iter().map(ToString::to_string).collect();
    let greeting = greeting(server.as_ref(), &servers.join(","), &state_dir, &control);
    let manager = manager::ManagerOptions { file, settings };
    let place = InstallDirectory { worker_dir, own: home.path().to_owned() };
    let session = DevSession {
        logger,
        start: manager,
        projects: projects.into_iter().map(ServedProject::from).collect(),
        place,
        release: args.release,
        settings: reread,
        config: ConfigChanges::default(),
        build: None,
        manager: ManagerState::Wanted,
        stopping: false,
    };
    let mut prepared = DevSetup { session, server, notices, _home: home };
    prepared.session.log(&greeting);
    Ok(prepared)
}

/// The error if the directory for builds cannot be created.
fn unmade(config: &Config, dir: &Path, error: &std::io::Error) -> String {
    let why = dangling(dir).map_or_else(|| reason(error), |link| link.sentence(dir));
    config.written_paths.explain(&format!("worker_dir {} cannot be made: {why}", dir.display()))
}

/// A hint for the directory of a project, if the command line names neither it nor another directory.
fn project_here(config: &Config, projects: &[Project]) -> &'static str {
    let names_nothing = projects.is_empty() && config.origins.of(None, "worker_dir") == ValueOrigin::Default;
    match names_nothing && project::is_project(Path::new(".")) {
        true => "\nthis directory can be built: gm-native dev . builds and serves it",
        false => "",
    }
}

/// The keys to set over those of the configuration file, which is read for its worker directories.
fn settings(cli: &Cli, home: &Path, server: Option<SocketAddr>, has_projects: bool) -> Result<Vec<Setting>, String> {
    let mut settings = options::options(cli, home, server);
    if has_projects {
        let mut config = read(cli, &settings)?.config;
        settings.extend(options::with_projects(&mut config, home, Path::is_dir));
    }
    Ok(settings)
}

fn read(cli: &Cli, settings: &[Setting]) -> Result<Configuration, String> {
    configuration::read_with(cli.place.config.as_deref(), &settings.iter().cloned().collect())
}

/// A directory for this run, readable only by its owner.
fn home() -> std::io::Result<TempDir> {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().prefix("gm-native-dev-").permissions(private).tempdir()
}

/// The embedded job server, on the default port if it is free, so that clients need no address.
fn bind(port: Option<u16>) -> Result<Server, String> {
    let at = |port| Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ServerOptions::default());
    let bound = match port {
        Some(port) => at(port),
        None => at(DEFAULT_PORT).or_else(|error| match error.kind() {
            ErrorKind::AddrInUse => at(0),
            _ => Err(error),
        }),
    };
    bound.map_err(|error| error.to_string())
}

/// What a first-time user needs to know.
fn greeting(server: Option<&Server>, servers: &str, state_dir: &Path, control: &Path) -> String {
    let server = server.map_or_else(|| format!("job servers: {servers}"), Server::announcement);
    let place: PathBuf = match control == state_dir.join("control.sock") {
        true => state_dir.into(),
        false => control.into(),
    };
    let option = if place == state_dir { "--state-dir" } else { "--control" };
    format!(
        "{server}\na job: gm-native submit -h {servers} FUNCTION DATA\n\
         what runs: gm-native {option} {} status",
        place.display()
    )
}

/// The loop, on the main thread: a manager's parent-death signal follows the thread that started it.
fn serve(prepared: DevSetup) -> Result<u8, DevError> {
    let DevSetup { mut session, server, notices, _home } = prepared;
    let failed = |error: std::io::Error| DevError::Ends(FAILED, format!("cannot start its loop: {}", reason(&error)));
    let runtime = runtime::build(&mut Builder::new_current_thread()).map_err(failed)?;
    runtime.block_on(async {
        let served = async {
            match server {
                Some(server) => server.run(std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            code = session.run(notices) => code.map_err(|text| DevError::Ends(FAILED, text)),
            Err(error) = served => Err(failed(error)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_can_be_copied() {
        let text = |control: &str| greeting(None, "a:1,b:2", Path::new("/s"), Path::new(control));
        assert_eq!(
            text("/s/control.sock"),
            "job servers: a:1,b:2\na job: gm-native submit -h a:1,b:2 FUNCTION DATA\n\
             what runs: gm-native --state-dir /s status"
        );
        assert!(text("/c").ends_with("gm-native --control /c status"));
    }

    #[test]
    fn a_port_that_was_asked_for_is_that_port_or_an_error() {
        let taken = bind(Some(0)).unwrap();
        let Err(error) = bind(Some(taken.local_addr().port())) else { panic!("bound twice") };
        assert!(error.contains(&taken.local_addr().to_string()), "{error}");
    }
}
