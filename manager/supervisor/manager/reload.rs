//! SIGHUP: reopens the log, reads the configuration again, replaces every worker.

use std::time::Duration;

use super::Manager;
use crate::config::{Config, ConfigChange};
use crate::control::FailedReloadStatus;
use crate::supervisor::core::Input;
use crate::supervisor::event::Event;
use crate::system::clock;

/// Between two reloads: a storm of signals makes one at once and one after it.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads the configuration again: what it says now and its reader's warnings, or one sentence for each mistake.
pub(crate) type ConfigReader = Box<dyn Fn() -> Result<(Config, Vec<String>), String>>;

/// When the configuration is read.
pub(super) struct ReloadSchedule {
    reread: ConfigReader,
    last: Option<Duration>,
    due: Option<Duration>,
    failed: Option<FailedReload>,
}

/// The last reload, which failed.
struct FailedReload {
    at: Duration,
    reason: String,
}

impl ReloadSchedule {
    pub(super) fn new(reread: ConfigReader) -> Self {
        Self { reread, last: None, due: None, failed: None }
    }

    /// When one that was put off is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether one may be made now; else it is put off.
    fn may_be_now(&mut self, now: Duration) -> bool {
        let next = self.last.map(|last| last.saturating_add(PAUSE)).filter(|next| *next > now);
        self.due = next;
        next.is_none()
    }

    fn read(&mut self, now: Duration) -> Result<(Config, Vec<String>), String> {
        (self.last, self.due) = (Some(now), None);
        let read = (self.reread)();
        self.failed = read.as_ref().err().map(|reason| FailedReload { at: now, reason: reason.clone() });
        read
    }

    /// The last reload for status, if it failed.
    pub(super) fn failed(&self, now: Duration) -> Option<FailedReloadStatus> {
        self.failed.as_ref().map(|failed| FailedReloadStatus {
            seconds_ago: now.saturating_sub(failed.at).as_secs_f64(),
            reason: failed.reason.clone(),
        })
    }
}

impl Manager {
    /// The log is reopened at each signal, since logrotate may have moved it; the rest is coalesced.
    pub(super) fn hangs_up(&mut self) {
        // SIGHUP is for the configuration first: that the log is a stream is not reported.
        let _ = self.reopen_log("SIGHUP");
        if self.core.is_draining() {
            return self.effects.report(&Event::ReloadIgnored);
        }
        if self.reloads.may_be_now(clock::now()) {
            self.reload();
        }
    }

    pub(super) fn reload(&mut self) {
        self.service.reloading();
        self.keep_places();
        let old = self.effects.config.clone();
        match self.reloads.read(clock::now()) {
            Err(reason) => self.effects.report(&Event::ReloadFailed { reason }),
            Ok((config, warnings)) => {
                let mut changes = old.changes(&config);
                let config = self.effects.reconfigure(old.with_changes_of(config));
                // One that could not be opened has been reported, and is not used.
                changes.retain(|change| change.function.is_some() || change.key != "log_file" || config.log != old.log);
                warnings.into_iter().for_each(|text| self.effects.report(&Event::ConfigWarning { text }));
                self.report_changes(&changes);
                self.notices = self.effects.notices();
                self.rescan_later();
                self.input(Input::Reload(Box::new(config)));
            }
        }
        self.notify_service();
        self.service.reloaded();
    }

    fn report_changes(&mut self, changes: &[ConfigChange]) {
        let (later, now): (Vec<&ConfigChange>, Vec<&ConfigChange>) =
            changes.iter().partition(|change| change.needs_restart);
        let changes = now.iter().map(ToString::to_string).collect();
        self.effects.report(&Event::Reloaded { changes });
        for change in later {
            let text = format!("{change}: the old value holds until the manager is stopped and started");
            self.effects.report(&Event::ConfigWarning { text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_signals_in_a_second_make_two_reloads() {
        let mut reloads = ReloadSchedule::new(Box::new(|| Err("not now".into())));
        let mut made = 0;
        let mut now = Duration::from_secs(1000);
        for _ in 0..50 {
            if reloads.due().is_some_and(|due| now >= due) || reloads.may_be_now(now) {
                let _ = reloads.read(now);
                made += 1;
            }
            now += Duration::from_millis(19);
        }
        assert_eq!(made, 1);
        let due = reloads.due().expect("the last signals are not forgotten");
        assert!(due <= now + PAUSE);
        assert!(reloads.may_be_now(due), "and then it is made");
    }
}
