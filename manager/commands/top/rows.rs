//! Which rows a list shows, and in which order. Pure.

use std::cmp::{Ordering, Reverse};

use crate::control::{FunctionStatus, WorkerStatus};
use crate::logging::escape;

/// What functions are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FunctionOrder {
    #[default]
    Name,
    Rate,
    Running,
    Failed,
}

impl FunctionOrder {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rate => "jobs/s",
            Self::Running => "running",
            Self::Failed => "failed",
        }
    }

    pub(super) const fn next(self) -> Self {
        match self {
            Self::Name => Self::Rate,
            Self::Rate => Self::Running,
            Self::Running => Self::Failed,
            Self::Failed => Self::Name,
        }
    }
}

/// What workers are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WorkerOrder {
    /// The longest running job first.
    #[default]
    Job,
    Pid,
    /// The most jobs first.
    Jobs,
    /// The oldest first.
    Age,
    State,
}

impl WorkerOrder {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Job => "job's time",
            Self::Pid => "pid",
            Self::Jobs => "jobs",
            Self::Age => "age",
            Self::State => "state",
        }
    }

    pub(super) const fn next(self) -> Self {
        match self {
            Self::Job => Self::Pid,
            Self::Pid => Self::Jobs,
            Self::Jobs => Self::Age,
            Self::Age => Self::State,
            Self::State => Self::Job,
        }
    }
}

/// A function as it is listed: its status, and what is computed from several.
#[derive(Debug, Clone, Copy)]
pub(super) struct FunctionRow<'a> {
    pub(super) status: &'a FunctionStatus,
    /// Jobs per second, if that is known yet.
    pub(super) rate: Option<f64>,
}

impl FunctionRow<'_> {
    /// Jobs without a result since the manager's start.
    pub(super) fn failed(&self) -> u64 {
        let FunctionStatus { jobs_failed, jobs_crashed, jobs_timed_out, .. } = self.status;
        jobs_failed.saturating_add(*jobs_crashed).saturating_add(*jobs_timed_out)
    }
}

/// Sorts functions, those that compare equal by name.
pub(super) fn sort_functions(rows: &mut [FunctionRow<'_>], order: FunctionOrder, reversed: bool) {
    let name =
        |row: &FunctionRow<'_>, other: &FunctionRow<'_>| row.status.name.as_str().cmp(other.status.name.as_str());
    rows.sort_by(|row, other| {
        let ordering = match order {
            FunctionOrder::Name => Ordering::Equal,
            FunctionOrder::Rate => other.rate.unwrap_or(0.0).total_cmp(&row.rate.unwrap_or(0.0)),
            FunctionOrder::Running => other.status.jobs_running.cmp(&row.status.jobs_running),
            FunctionOrder::Failed => other.failed().cmp(&row.failed()),
        };
        turned(ordering.then_with(|| name(row, other)), reversed)
    });
}

/// Sorts workers, those that compare equal by process.
pub(super) fn sort_workers(rows: &mut [&WorkerStatus], order: WorkerOrder, reversed: bool) {
    rows.sort_by(|row, other| {
        let ordering = match order {
            WorkerOrder::Pid => Ordering::Equal,
            WorkerOrder::Job => other.job_seconds.unwrap_or(-1.0).total_cmp(&row.job_seconds.unwrap_or(-1.0)),
            WorkerOrder::Jobs => other.jobs.cmp(&row.jobs),
            WorkerOrder::Age => Reverse(row.started_seconds_ago).cmp(&Reverse(other.started_seconds_ago)),
            WorkerOrder::State => row.state.label().cmp(other.state.label()),
        };
        turned(ordering.then_with(|| row.pid.cmp(&other.pid)), reversed)
    });
}

fn turned(ordering: Ordering, reversed: bool) -> Ordering {
    if reversed { ordering.reverse() } else { ordering }
}

/// Whether a text, as it is shown, holds what is searched for; capitals do not matter.
pub(super) fn matches(text: &str, filter: &str) -> bool {
    filter.is_empty() || escape(text).to_lowercase().contains(&filter.to_lowercase())
}

/// Whether a worker is shown: by its process, its state, its functions or its job's handle.
pub(super) fn worker_matches(worker: &WorkerStatus, filter: &str) -> bool {
    matches(&worker.pid.to_string(), filter)
        || matches(worker.state.label(), filter)
        || worker.functions.iter().any(|function| matches(function.as_str(), filter))
        || worker.handle.as_deref().is_some_and(|handle| matches(handle, filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{WorkerCondition, sample_status};

    #[test]
    fn functions_in_order() {
        let sample = sample_status();
        let named = |name: &str, failed, jobs_running| FunctionStatus {
            name: name.into(),
            jobs_running,
            jobs_failed: failed,
            jobs_crashed: 0,
            jobs_timed_out: 0,
            ..sample.functions[0].clone()
        };
        let (a, b, c) = (named("a", 1, 1), named("b", 9, 0), named("c", 1, 1));
        let row = |status, rate| FunctionRow { status, rate };
        for (order, reversed, expected) in [
            (FunctionOrder::Name, false, "abc"),
            (FunctionOrder::Name, true, "cba"),
            (FunctionOrder::Rate, false, "cba"),
            (FunctionOrder::Running, false, "acb"),
            (FunctionOrder::Failed, false, "bac"),
            (FunctionOrder::Failed, true, "cab"),
        ] {
            let mut rows = [row(&b, Some(1.0)), row(&c, Some(2.0)), row(&a, None)];
            sort_functions(&mut rows, order, reversed);
            let names: String = rows.iter().map(|row| row.status.name.as_str()).collect();
            assert_eq!(names, expected, "{order:?} {reversed}");
        }
    }

    #[test]
    fn workers_in_order() {
        let sample = sample_status();
        let worker = |pid, jobs, started_seconds_ago, job_seconds, state| WorkerStatus {
            pid,
            jobs,
            started_seconds_ago,
            job_seconds,
            state,
            ..sample.workers[0].clone()
        };
        let (one, two, three) = (
            worker(1, 10, 5, None, WorkerCondition::Idle),
            worker(2, 10, 9, Some(0.5), WorkerCondition::Busy),
            worker(3, 30, 7, Some(1.5), WorkerCondition::Draining),
        );
        for (order, reversed, expected) in [
            (WorkerOrder::Job, false, [3, 2, 1]),
            (WorkerOrder::Job, true, [1, 2, 3]),
            (WorkerOrder::Pid, false, [1, 2, 3]),
            (WorkerOrder::Jobs, false, [3, 1, 2]),
            (WorkerOrder::Age, false, [2, 3, 1]),
            (WorkerOrder::State, false, [2, 3, 1]),
        ] {
            let mut rows = [&two, &one, &three];
            sort_workers(&mut rows, order, reversed);
            assert_eq!(rows.map(|row| row.pid), expected, "{order:?} {reversed}");
        }
    }

    #[test]
    fn each_order_comes_round() {
        let mut order = FunctionOrder::default();
        (0..4).for_each(|_| order = order.next());
        assert_eq!(order, FunctionOrder::default());
        let mut order = WorkerOrder::default();
        (0..5).for_each(|_| order = order.next());
        assert_eq!(order, WorkerOrder::default());
    }

    #[test]
    fn filters_find_what_is_shown() {
        for (text, filter, expected) in [
            ("resize", "", true),
            ("resize", "SIZ", true),
            ("Resize", "resize", true),
            ("resize", "sum", false),
            ("a\u{1b}[2Jb", "\\x1b", true),
            ("a\u{1b}[2Jb", "\u{1b}", false),
        ] {
            assert_eq!(matches(text, filter), expected, "{text:?} {filter:?}");
        }
        let worker = &sample_status().workers[0];
        for (filter, expected) in [("4712", true), ("busy", true), ("revers", true), ("host:12", true), ("idle", false)]
        {
            assert_eq!(worker_matches(worker, filter), expected, "{filter}");
        }
    }
}
