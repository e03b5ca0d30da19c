//! SIGHUP and `gm-native reload`: reopens the log, reads the configuration again, replaces every worker.

use std::time::Duration;

use super::Manager;
use crate::config::{Config, ConfigChange, on_one_line};
use crate::control::{AcceptedReply, FailedReloadStatus, Reply, Requester};
use crate::supervisor::core::Input;
use crate::supervisor::event::{EndedRequest, Event, seconds};
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
    /// What asked for the next one first.
    by: Option<&'static str>,
    /// The requests that the next one fulfils.
    requests: Vec<ReloadRequest>,
}

/// A request of `gm-native reload`.
struct ReloadRequest {
    request: u64,
    since: Duration,
}

/// The last reload, which failed.
struct FailedReload {
    at: Duration,
    reason: String,
}

impl ReloadSchedule {
    pub(super) fn new(reread: ConfigReader) -> Self {
        Self { reread, last: None, due: None, failed: None, by: None, requests: Vec::new() }
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
    /// `gm-native reload`.
    pub(super) fn reload_on_request(&mut self, by: &Requester) -> Result<Reply, String> {
        self.core.may_request()?;
        let request = self.received("reload", None, by);
        self.hangs_up("reload", Some(request));
        let begun = "the configuration is read again, and every worker is replaced if it can be used".into();
        Ok(Reply::Accepted(AcceptedReply { request, begun }))
    }

    /// The log is reopened at each signal, since logrotate may have moved it; the rest is coalesced.
    pub(super) fn hangs_up(&mut self, by: &'static str, request: Option<u64>) {
        // This is for the configuration first: that the log is a stream is not reported.
        let _ = self.reopen_log(by);
        if self.core.is_draining() {
            return self.effects.report(&Event::ReloadIgnored);
        }
        self.reloads.by.get_or_insert(by);
        let since = clock::now();
        self.reloads.requests.extend(request.map(|request| ReloadRequest { request, since }));
        if self.reloads.may_be_now(clock::now()) {
            self.reload();
        }
    }

    pub(super) fn reload(&mut self) {
        self.service.reloading();
        self.keep_places();
        let old = self.effects.config.clone();
        let by = self.reloads.by.take().unwrap_or("SIGHUP");
        let requests = std::mem::take(&mut self.reloads.requests);
        match self.reloads.read(clock::now()) {
            Err(reason) => {
                self.effects.report(&Event::ReloadFailed { by, reason: reason.clone() });
                requests.iter().for_each(|request| self.fail_reload(request, &reason));
            }
            Ok((config, warnings)) => {
                let mut changes = old.changes(&config);
                // A level for a while stays for that while.
                if self.log_level_until.is_none() {
                    self.effects.set_log_level(None);
                }
                let config = self.effects.reconfigure(old.with_changes_of(config));
                // One that could not be opened has been reported, and is not used.
                changes.retain(|change| change.function.is_some() || change.key != "log_file" || config.log != old.log);
                warnings.into_iter().for_each(|text| self.effects.report(&Event::ConfigWarning { text }));
                self.report_changes(by, &changes);
                self.notices = self.effects.notices();
                self.rescan_later();
                self.check_queues_later();
                let requests = requests.into_iter().map(|request| request.request).collect();
                self.input(Input::Reload(Box::new(config), requests));
            }
        }
        self.notify_service();
        self.service.reloaded();
    }

    fn fail_reload(&mut self, request: &ReloadRequest, reason: &str) {
        let ReloadRequest { request, since } = *request;
        let result = format!("the configuration cannot be used, so the old one holds: {}", on_one_line(reason));
        let seconds = seconds(clock::now().saturating_sub(since));
        let failed = EndedRequest { request, command: "reload", target: None, result, seconds };
        self.effects.report(&Event::RequestFailed(failed));
    }

    fn report_changes(&mut self, by: &'static str, changes: &[ConfigChange]) {
        let (later, now): (Vec<&ConfigChange>, Vec<&ConfigChange>) =
            changes.iter().partition(|change| change.needs_restart);
        let changes = now.iter().map(ToString::to_string).collect();
        self.effects.report(&Event::Reloaded { by, changes });
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
