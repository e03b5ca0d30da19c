//! What the core does with scans, probes and retries: which versions there are, and what is planned for them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Action, Core, ManagerPhase};
use crate::plan::plan;
use crate::plugins::identity::FileIdentity;
use crate::plugins::name::FunctionName;
use crate::plugins::scan::ScanResult;
use crate::supervisor::catalog::{CheckedVersion, PinChange, ProbeFailure};
use crate::supervisor::event::Event;

impl Core {
    pub(super) fn scanned(&mut self, scan: ScanResult, now: Duration) {
        self.scans.running = false;
        if !self.catalog.was_scanned() {
            self.startup.probed_at = now;
        }
        let before = self.catalog.functions();
        let changes = self.catalog.apply_scan(&scan, self.config.settle_time, now);
        self.scans.next = changes.rescan_at;
        changes.events.into_iter().for_each(|event| self.report(event));
        changes.gone.into_iter().for_each(|function| self.push_action(Action::Forget { function }));
        changes.probe.into_iter().for_each(|candidate| self.push_action(Action::Probe(candidate)));
        if self.catalog.functions() != before {
            // A library that was removed and restored is tried again.
            self.failures.not_restarted.retain(|function, _| self.catalog.version(function).is_some());
            self.replan(now);
        }
        self.warn_of_missing();
    }

    pub(super) fn probed(
        &mut self,
        function: &FunctionName,
        identity: &FileIdentity,
        result: Result<CheckedVersion, ProbeFailure>,
        now: Duration,
    ) {
        self.startup.probed_at = now;
        if result.is_ok() && !self.catalog.holds(function) {
            // Removed while it was probed: drop the stored copy.
            return self.push_action(Action::Forget { function: function.clone() });
        }
        let changes = self.catalog.apply_probe(function, identity, result, now);
        changes.events.into_iter().for_each(|event| self.report(event));
        match changes.pin {
            PinChange::Stays => {}
            PinChange::KnownAgainst(pin) => {
                self.push_action(Action::Pin { function: function.clone(), pin: Some(pin) })
            }
            PinChange::Ends => self.push_action(Action::Pin { function: function.clone(), pin: None }),
        }
        if let Some(version) = changes.good {
            self.set_last_good(function, version);
        }
        if changes.needs_plan {
            // Earlier failures do not count against new code.
            self.failures.forget_version(function);
            self.replan(now);
        }
    }

    /// Another version is served from now on, and what jobs did to the last one does not count against them.
    pub(super) fn set_last_good(&mut self, function: &FunctionName, version: CheckedVersion) {
        self.jobs.deaths.forget_function(function);
        self.push_action(Action::SetLastGood { function: function.clone(), version });
    }

    /// Makes a new plan once everything is known. Each of its warnings is logged once while it holds.
    pub(super) fn replan(&mut self, now: Duration) {
        if self.phase == ManagerPhase::Starting {
            // `complete_start` makes the first plan.
            return;
        }
        self.groups.look_at_all();
        self.reconsider_isolation();
        self.plan = plan(&self.config, &self.unpaused_functions(), &self.placements());
        self.scaled.iter().for_each(|(function, workers)| self.plan.scale(function, *workers));
        self.report_isolated_by_go();
        self.plan_start();
        self.warn_of_missing();
        self.report_excluded();
        self.ask_versions();
        self.spawns.after = self.spawns.after.min(now);
    }

    /// Warns once of each section without a library. A file that exists but is not served has log lines of its own.
    fn warn_of_missing(&mut self) {
        if self.scans.running || self.phase == ManagerPhase::Starting {
            return;
        }
        let missing: Vec<_> = self.plan.missing.iter().filter(|one| !self.catalog.holds(&one.function)).collect();
        let news: Vec<String> = missing
            .iter()
            .filter(|one| !self.warned.missing.contains(&one.function))
            .map(ToString::to_string)
            .collect();
        self.warned.missing = missing.into_iter().map(|one| one.function.clone()).collect();
        news.into_iter().for_each(|text| self.report(Event::ConfigWarning { text }));
    }

    /// Reports once each function that the configuration leaves out, while it does.
    pub(super) fn report_excluded(&mut self) {
        let excluded: BTreeSet<_> = self.plan.excluded.iter().cloned().collect();
        let news: Vec<_> = excluded.difference(&self.warned.excluded).cloned().collect();
        self.warned.excluded = excluded;
        news.into_iter().for_each(|(function, reason)| self.report(Event::FunctionExcluded { function, reason }));
    }

    pub(super) fn rescan(&mut self) {
        self.changed();
        self.look_up_again();
    }

    pub(super) fn changed(&mut self) {
        if matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running) && self.config.auto_update {
            self.scan();
        }
    }
}
