//! The effective configuration: plain data with every default filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::choice::{LogTarget, LostJobPolicy, RolloutSurge};
use super::command::ManagerCommand;
use super::function::FunctionConfig;
use super::host::{DEFAULT_PORT, JobServerAddress};
use super::origins::Origins;
use super::written_paths::WrittenPaths;

/// What the manager runs with. The table says what each key means ([`super::KEYS`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Directories of libraries, as written until [`Config::resolve_paths`]. A later one overrides an earlier one.
    pub worker_dirs: Vec<PathBuf>,
    /// Job servers, at least one, each once.
    pub hosts: Vec<JobServerAddress>,
    /// Workers that serve all functions.
    pub count: u32,
    /// Workers for each function that serve only that function; `None` is [`Config::default_dedicated_count`].
    pub dedicated_count: Option<u32>,
    /// Functions to register; empty: all.
    pub include: Vec<String>,
    /// Functions to leave out.
    pub exclude: Vec<String>,
    /// The functions' sections, by name.
    pub functions: BTreeMap<String, FunctionConfig>,
    /// `log_file`. The default with `daemon` is syslog.
    pub log: LogTarget,
    /// `pid_file`.
    pub pid_file: Option<PathBuf>,
    /// What precedes the function's name in the entry symbol.
    pub prefix: String,
    /// The user to run as.
    pub user: Option<String>,
    /// Detach from the terminal.
    pub daemon: bool,
    /// 0 (warnings and errors) to 5 (every packet).
    pub verbose: u8,
    /// Watch the worker directories.
    pub auto_update: bool,
    /// A library that cannot be loaded makes the start fail.
    pub strict: bool,
    /// Check owners and modes of libraries even when not root.
    pub strict_permissions: bool,
    /// `max_worker_lifetime`, never 0.
    pub max_worker_lifetime: Duration,
    /// The random part of a lifetime: 0 to this.
    pub worker_restart_splay: Duration,
    /// The pause between two starts of workers.
    pub worker_initial_spawn_splay: Duration,
    /// `max_runs_per_worker`; 0: no limit.
    pub max_runs: u64,
    /// How long a job may run.
    pub timeout: Option<Duration>,
    /// From the stop signal to SIGKILL.
    pub graceful_shutdown_wait_time: Duration,
    /// `None`: by instance, see [`super::default_state_dir`].
    pub state_dir: Option<PathBuf>,
    /// `None`: in the state directory, see [`super::default_control`].
    pub control: Option<PathBuf>,
    /// The group whose members may look at the manager.
    pub control_group: Option<String>,
    /// Bytes of the largest packet, header not counted; fits 32 bits.
    pub max_packet: u64,
    /// Bytes of the largest library.
    pub max_plugin_size: u64,
    /// For connecting to one job server.
    pub connect_timeout: Duration,
    /// Between two ECHOs on an idle connection; 0: none.
    pub echo_interval: Duration,
    /// Silence after which a connection counts as dead.
    pub echo_timeout: Duration,
    /// For a worker without a job to respond to the manager; 0: workers are not judged.
    pub response_timeout: Duration,
    /// For each function of a worker to start.
    pub start_timeout: Duration,
    /// For the check of one library.
    pub probe_timeout: Duration,
    /// For destructors and the last ECHO of a worker that exits.
    pub stop_timeout: Duration,
    /// Between two scans of the worker directories; 0: none.
    pub rescan_interval: Duration,
    /// How long a file must be unchanged before it is probed.
    pub settle_time: Duration,
    /// The longest pause before a function's workers are started again.
    pub backoff_max: Duration,
    /// A worker that lived this long resets the back-off.
    pub healthy_after: Duration,
    /// How many workers a rollout adds.
    pub rollout_surge: RolloutSurge,
    /// How long a canary of a new version is watched.
    pub canary_seconds: Duration,
    /// A canary passes earlier after this many jobs.
    pub canary_jobs: u64,
    /// Versions kept in the store, the running one included.
    pub keep_versions: u32,
    /// What happens to a job whose worker died.
    pub on_crash: LostJobPolicy,
    /// What happens to a job that timed out.
    pub on_timeout: LostJobPolicy,
    /// A job that has killed this many workers fails.
    pub max_attempts: u32,
    /// From SIGTERM to SIGKILL of a worker whose job has timed out.
    pub timeout_grace: Duration,
    /// Bytes of memory above which a worker is replaced between jobs.
    pub max_memory: Option<u64>,
    /// Bytes of memory a worker can never exceed.
    pub max_memory_hard: Option<u64>,
    /// Bytes of the largest workload that is kept when its worker dies.
    pub crash_workload_max: u64,
    /// Crash reports kept.
    pub crash_keep: u32,
    /// Workloads kept in quarantine.
    pub quarantine_keep: u32,
    /// Jobs a worker may hold at a time.
    pub prefetch: u32,
    /// How long a held job may wait.
    pub prefetch_hold: Duration,
    /// Short jobs in a row before a worker holds more than one.
    pub prefetch_probation: u32,
    /// Address of the metrics page.
    pub metrics_listen: Option<String>,
    /// Between two queries of the servers' queues; 0: none.
    pub queue_check: Duration,
    /// Where each value came from.
    pub origins: Origins,
    /// Relative paths as they were written, after [`Config::resolve_paths`].
    pub written_paths: WrittenPaths,
    /// The command line that addresses this manager.
    pub command: ManagerCommand,
}

impl Default for Config {
    /// The defaults of the table; a test checks that they agree.
    fn default() -> Config {
        let seconds = Duration::from_secs;
        Config {
            worker_dirs: vec![PathBuf::from("./workers")],
            hosts: vec![JobServerAddress { host: "127.0.0.1".into(), port: DEFAULT_PORT }],
            count: 0,
            dedicated_count: None,
            include: Vec::new(),
            exclude: Vec::new(),
            functions: BTreeMap::new(),
            log: LogTarget::Stdout,
            pid_file: None,
            prefix: String::new(),
            user: None,
            daemon: false,
            verbose: 0,
            auto_update: true,
            strict: false,
            strict_permissions: false,
            max_worker_lifetime: DEFAULT_LIFETIME,
            worker_restart_splay: seconds(600),
            worker_initial_spawn_splay: Duration::ZERO,
            max_runs: 0,
            timeout: None,
            graceful_shutdown_wait_time: seconds(60),
            state_dir: None,
            control: None,
            control_group: None,
            max_packet: 256 << 20,
            max_plugin_size: 1 << 30,
            connect_timeout: seconds(5),
            echo_interval: seconds(30),
            echo_timeout: seconds(10),
            response_timeout: seconds(10),
            start_timeout: seconds(30),
            probe_timeout: seconds(10),
            stop_timeout: seconds(5),
            rescan_interval: seconds(30),
            settle_time: Duration::from_millis(50),
            backoff_max: seconds(30),
            healthy_after: seconds(60),
            rollout_surge: RolloutSurge::Percent(25),
            canary_seconds: seconds(5),
            canary_jobs: 20,
            keep_versions: 3,
            on_crash: LostJobPolicy::Retry,
            on_timeout: LostJobPolicy::Fail,
            max_attempts: 3,
            timeout_grace: seconds(5),
            max_memory: None,
            max_memory_hard: None,
            crash_workload_max: 64 << 10,
            crash_keep: 100,
            quarantine_keep: 1000,
            prefetch: 1,
            prefetch_hold: Duration::from_millis(1),
            prefetch_probation: 1000,
            metrics_listen: None,
            queue_check: seconds(30),
            origins: Origins::default(),
            written_paths: WrittenPaths::default(),
            command: ManagerCommand::default(),
        }
    }
}

/// What 0 means for `max_worker_lifetime`, as in GearmanManager.
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

impl Config {
    /// The dedicated workers of a function without a number of its own: 1 if `count` is 0, else 0.
    pub fn default_dedicated_count(&self) -> u32 {
        self.dedicated_count.unwrap_or(u32::from(self.count == 0))
    }

    /// Makes every path absolute; needed before the working directory, `here`, becomes `/`.
    pub fn resolve_paths(&mut self, here: &Path, absolute: impl Fn(&Path) -> PathBuf) {
        let mut written_paths = WrittenPaths::new(here);
        let mut paths: Vec<&mut PathBuf> = self.worker_dirs.iter_mut().collect();
        paths.extend(self.pid_file.as_mut());
        paths.extend(self.state_dir.as_mut());
        paths.extend(self.control.as_mut());
        if let LogTarget::File(path) = &mut self.log {
            paths.push(path);
        }
        for path in paths {
            let resolved = absolute(path);
            written_paths.add(path, &resolved);
            *path = resolved;
        }
        self.written_paths = written_paths;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute() {
        let mut config = Config {
            worker_dirs: vec!["./workers".into(), "/opt/./w".into(), "../other/".into()],
            pid_file: Some("gm.pid".into()),
            log: LogTarget::File("log/gm.log".into()),
            state_dir: Some("state".into()),
            control: Some("/run/gm.sock".into()),
            ..Config::default()
        };
        config.resolve_paths(Path::new("/srv/app"), |path| Path::new("/srv/app").join(path).components().collect());
        let texts: Vec<_> = config.worker_dirs.iter().map(|dir| dir.display().to_string()).collect();
        assert_eq!(texts, ["/srv/app/workers", "/opt/w", "/srv/app/../other"]);
        assert_eq!(config.pid_file.as_deref(), Some(Path::new("/srv/app/gm.pid")));
        assert_eq!(config.log, LogTarget::File("/srv/app/log/gm.log".into()));
        assert_eq!(config.state_dir.as_deref(), Some(Path::new("/srv/app/state")));
        assert_eq!(config.control.as_deref(), Some(Path::new("/run/gm.sock")));

        let dirs = config.worker_dirs.clone();
        config.resolve_paths(Path::new("/elsewhere"), |path| Path::new("/elsewhere").join(path));
        assert_eq!(config.worker_dirs, dirs);
    }

    #[test]
    fn the_default_of_dedicated_count_depends_on_count() {
        for (count, dedicated_count, expected) in [(0, None, 1), (5, None, 0), (5, Some(2), 2), (0, Some(2), 2)] {
            let config = Config { count, dedicated_count, ..Config::default() };
            assert_eq!(config.default_dedicated_count(), expected);
        }
    }
}
