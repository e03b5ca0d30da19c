//! Reading and watching the worker directories.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{BackgroundResult, Effects};
use crate::plugins::scan::{self, ScanResult};
use crate::plugins::watcher::{LibraryWatcher, WatchEvents};
use crate::supervisor::core::Input;
use crate::system::clock;
use crate::system::errors::reason;

/// The pause before a failed or incomplete scan is repeated: the first one, doubled each time, and the longest.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];

/// The watcher, and the scan that is under way.
pub(super) struct DirectoryScans {
    /// `None` if the system cannot provide a watcher: then only the periodic re-scan is left.
    watcher: Option<(Arc<Mutex<LibraryWatcher>>, WatchEvents)>,
    is_running: bool,
    /// Whether another scan must follow the running one.
    runs_again: bool,
    /// When a failed or incomplete scan is repeated.
    pub(super) retry_at: Option<Duration>,
    /// The length of the next pause.
    pause: Duration,
    /// Watch failures that were logged.
    unwatched: Vec<String>,
}

impl Default for DirectoryScans {
    fn default() -> Self {
        Self {
            watcher: None,
            is_running: false,
            runs_again: false,
            retry_at: None,
            pause: PAUSE[0],
            unwatched: Vec::new(),
        }
    }
}

/// A finished scan.
pub(crate) struct FinishedScan {
    scan: ScanResult,
    unwatched: Vec<String>,
}

impl Effects {
    /// Starts to watch the worker directories, if configured and possible.
    pub(crate) fn watch(&mut self) {
        if !self.config.auto_update {
            return;
        }
        match LibraryWatcher::new() {
            Ok((watch, notices)) => self.scans.watcher = Some((Arc::new(Mutex::new(watch)), notices)),
            Err(error) => self.report_error(format!(
                "worker_dir cannot be watched: {}; changes are seen at the re-scan every {} s only (raise \
                 fs.inotify.max_user_instances if that is the limit)",
                reason(&error),
                self.config.rescan_interval.as_secs_f32()
            )),
        }
    }

    /// Starts or stops watching the worker directories, as configured.
    pub(super) fn watch_again(&mut self) {
        self.scans.watcher = None;
        self.watch();
    }

    /// The receiver for the watcher's notifications.
    pub(crate) fn notices(&self) -> Option<WatchEvents> {
        self.scans.watcher.as_ref().map(|(_, notices)| notices.clone())
    }

    /// Whether the worker directories are being read.
    pub(crate) fn is_scanning(&self) -> bool {
        self.scans.is_running
    }

    /// Reads the worker directories in a separate thread, so that a hung file system blocks only that thread. The
    /// watcher is armed first, so that no change is missed. If no thread can be started, the scan is repeated soon.
    pub(super) fn scan(&mut self) {
        if std::mem::replace(&mut self.scans.is_running, true) {
            self.scans.runs_again = true;
            return;
        }
        let (dirs, results) = (self.config.worker_dirs.clone(), self.results.clone());
        let watch = self.scans.watcher.as_ref().map(|(watch, _)| Arc::clone(watch));
        let beside = self.probes.beside();
        let look = move || {
            let follow = |watch: &Arc<Mutex<LibraryWatcher>>| {
                watch.lock().unwrap_or_else(PoisonError::into_inner).follow(&dirs, &beside)
            };
            let unwatched = watch.as_ref().map(follow).unwrap_or_default();
            // The receiver is gone only when the manager ends.
            let _ = results
                .send(BackgroundResult::Files(FinishedScan { scan: scan::scan_with(&dirs, &beside), unwatched }));
        };
        if let Err(error) = thread::Builder::new().name("scan".into()).spawn(look) {
            self.scans.is_running = false;
            self.scan_later();
            self.report_error(format!(
                "no thread could be started to read worker_dir: {}; it is tried again (raise the limit of tasks)",
                reason(&error)
            ));
        }
    }

    fn scan_later(&mut self) {
        self.scans.retry_at = Some(clock::now().saturating_add(self.scans.pause));
        self.scans.pause = self.scans.pause.saturating_mul(2).min(PAUSE[1]);
    }

    /// Passes a scan to the core; starts the next one if something has changed in the meantime.
    pub(crate) fn finish_scan(&mut self, finished: FinishedScan) -> Input {
        let news: Vec<String> =
            finished.unwatched.iter().filter(|text| !self.scans.unwatched.contains(text)).cloned().collect();
        news.into_iter().for_each(|text| self.report_error(text));
        self.scans.unwatched = finished.unwatched;
        self.scans.is_running = false;
        match finished.scan.look_again {
            true => self.scan_later(),
            false => (self.scans.retry_at, self.scans.pause) = (None, PAUSE[0]),
        }
        if std::mem::take(&mut self.scans.runs_again) {
            self.scan();
        }
        Input::Scanned(finished.scan)
    }
}
