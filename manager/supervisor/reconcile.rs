//! How many workers of one group to start, which to let go to work, and which to dismiss: a comparison of what is with
//! what should be. Pure.
//!
//! It knows nothing of why: a crash, a changed plan, a new version, an old age and a reload all look alike here, as a
//! worker that is missing or one that is not fresh.

use super::life::{Life, Why};

/// Names a worker for as long as the manager runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// How many of the jobs that `max_runs_per_worker` allows a worker has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runs {
    /// Enough, or no limit.
    #[default]
    Many,
    /// So few that its successor should be ready.
    Few,
    /// None: it takes no more jobs, and waits to be told to leave.
    None,
}

/// One worker of the group.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Which.
    pub id: WorkerId,
    /// Where it is in its life.
    pub life: Life,
    /// Whether it is what would be started now: same functions, same versions, not too old.
    pub fresh: bool,
    /// How many jobs it has left.
    pub runs: Runs,
    /// Whether it stays beside those that the plan wants, since it serves what none of its group could now, and nothing
    /// else does.
    pub kept: bool,
    /// Whether it tries a new version, beside those that the plan wants. Whoever watches it starts and dismisses it.
    pub canary: bool,
}

impl Member {
    /// Whether it fills a place of the plan.
    pub fn is_of_plan(&self) -> bool {
        self.life.is_live() && !self.canary && self.runs != Runs::None
    }

    /// Whether it serves and is to be replaced.
    pub fn may_go(&self) -> bool {
        self.life.is_serving() && !self.fresh && !self.kept && !self.canary
    }
}

/// What the group should be.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Workers.
    pub count: u32,
    /// Workers that take jobs above that, while old ones are replaced. 0: one is missing meanwhile instead, since two
    /// must never take jobs at once where one is planned.
    pub surge: u32,
    /// Starts that are possible now.
    pub room: u32,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Workers to start.
    pub start: u32,
    /// Ready workers that may go to work.
    pub admit: Vec<WorkerId>,
    /// Workers to dismiss.
    pub dismiss: Vec<(WorkerId, Why)>,
}

/// The members by what they are good for.
struct Sorted<'a> {
    /// Fresh, on their way, not at work yet.
    heirs: Vec<&'a Member>,
    /// Fresh and at work.
    good: Vec<&'a Member>,
    /// The same, with few runs left: an heir is to be ready when the last one is over.
    tiring: Vec<&'a Member>,
    /// At work, and to be replaced.
    stale: Vec<&'a Member>,
    /// Without a run left.
    spent: Vec<&'a Member>,
    /// Of no use to anybody: old, and not even at work.
    useless: Vec<&'a Member>,
    /// Trying a new version, with runs left.
    canaries: Vec<&'a Member>,
    /// At work beside the others.
    kept: u32,
    /// Told to leave, and perhaps still in a job.
    leaving: u32,
}

fn sorted(members: &[Member]) -> Sorted<'_> {
    let (mut heirs, mut good, mut tiring, mut stale) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut spent, mut useless, mut canaries) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kept, mut leaving) = (0, 0);
    for member in members {
        let serving = member.life.is_serving();
        match (member.fresh, member.runs) {
            _ if !member.life.is_live() => leaving += 1,
            // It waits for its verdict only.
            (_, Runs::None) if member.canary => {}
            _ if member.canary => canaries.push(member),
            (_, Runs::None) => spent.push(member),
            _ if member.kept => kept += 1,
            (false, _) if !serving => useless.push(member),
            (false, _) => stale.push(member),
            (true, _) if !member.life.is_admitted() => heirs.push(member),
            (true, Runs::Few) => tiring.push(member),
            (true, Runs::Many) => good.push(member),
        }
    }
    Sorted { heirs, good, tiring, stale, spent, useless, canaries, kept, leaving }
}

/// Compares.
pub fn decide(members: &[Member], want: Want) -> Decision {
    let sorted = sorted(members);
    let seats = seats(&sorted, want);
    let others = Want { count: want.count.saturating_sub(seats), ..want };
    Decision {
        start: starts(&sorted, others),
        admit: admits(&sorted, want),
        dismiss: dismissals(&sorted, others, seats),
    }
}

/// Places of the plan that canaries take from the others: none where the group may have one worker too many.
fn seats(sorted: &Sorted<'_>, want: Want) -> u32 {
    let seated = |m: &&&Member| matches!(m.life, Life::Ready) || m.life.is_admitted();
    if want.surge > 0 { 0 } else { sorted.canaries.iter().filter(seated).count() as u32 }
}

fn starts(sorted: &Sorted<'_>, want: Want) -> u32 {
    let (heirs, good) = (sorted.heirs.len() as u32, sorted.good.len() as u32);
    let old = (sorted.stale.len() + sorted.tiring.len()) as u32;
    let total = heirs + good + old;
    let there = if want.surge == 0 { total + sorted.leaving } else { total };
    // With no surge a successor is there all the same: ready, but not at work.
    let above = want.surge.max(1).saturating_sub(there.saturating_sub(want.count));
    let successors = above.min(want.count.saturating_sub(heirs + good)).min(old);
    let missing = want.count.saturating_sub(total);
    let wished = if missing > 0 { missing } else { successors };
    wished.min(want.room)
}

/// Whoever is ready goes to work where there is a place: one that the plan has free, or one that an old worker is about
/// to leave. Not those that wait for the last run of another. A canary first; it needs no place where there may be one
/// worker too many.
fn admits(sorted: &Sorted<'_>, want: Want) -> Vec<WorkerId> {
    let admitted = |members: &[&Member]| members.iter().filter(|m| m.life.is_admitted()).count() as u32;
    let stale = sorted.stale.len() as u32;
    let at_work = (sorted.good.len() + sorted.tiring.len()) as u32 + stale;
    let beside = admitted(&sorted.useless) + admitted(&sorted.canaries) + sorted.kept + sorted.leaving;
    let canaries = ready(&sorted.canaries).count();
    let free = match want.surge {
        0 => want.count.saturating_sub(at_work + beside) as usize,
        surge => canaries + (want.count + surge.min(stale)).saturating_sub(at_work) as usize,
    };
    ready(&sorted.canaries).chain(ready(&sorted.heirs)).take(free).collect()
}

fn ready<'a>(members: &'a [&Member]) -> impl Iterator<Item = WorkerId> + 'a {
    members.iter().filter(|m| matches!(m.life, Life::Ready)).map(|m| m.id)
}

fn dismissals(sorted: &Sorted<'_>, want: Want, seats: u32) -> Vec<(WorkerId, Why)> {
    let Sorted { heirs, good, tiring, stale, spent, useless, canaries, leaving, kept: _ } = sorted;
    let serving = |members: &[&Member]| members.iter().filter(|m| m.life.is_serving()).count() as u32;
    let still = serving(good) + serving(tiring) + stale.len() as u32;
    let mut dismiss: Vec<(WorkerId, Why)> = useless.iter().map(|m| (m.id, Why::Surplus)).collect();
    let why = if want.count == 0 { Why::Surplus } else { Why::Replaced };

    // Old ones go as new ones serve; with no surge one goes first, once its successor is ready and all others serve.
    let ahead = still.saturating_sub(want.count);
    let all_serve = *leaving == 0 && still + serving(canaries) >= want.count + seats;
    let first = u32::from(want.surge == 0 && ready(heirs).next().is_some() && all_serve);
    let go = ahead.max(first).min(stale.len() as u32) as usize;
    dismiss.extend(stale.iter().take(go).map(|m| (m.id, why)));

    // Whoever has no runs left takes nothing: it stays only so that its function is not without a worker meanwhile.
    let short = want.count.saturating_sub(still) as usize;
    dismiss.extend(spent.iter().take(spent.len().saturating_sub(short)).map(|m| (m.id, why)));

    // Fewer are wanted: those that are not at work go first, then the youngest.
    let waiting = heirs.len().min(tiring.len());
    let mut rest: Vec<&Member> = heirs.iter().chain(good).chain(tiring).copied().collect();
    rest.sort_by_key(|m| (m.life.is_serving(), std::cmp::Reverse(m.id)));
    let surplus = rest.len().saturating_sub(want.count as usize + waiting);
    let why = if seats > 0 { Why::Replaced } else { Why::Surplus };
    dismiss.extend(rest.iter().take(surplus).map(|m| (m.id, why)));
    dismiss
}

/// A life without its times, for tables.
#[cfg(test)]
pub(super) fn at(word: &str) -> Life {
    let when = std::time::Duration::from_secs(1);
    match word {
        "starting" => Life::Starting { deadline: when },
        "connecting" => Life::Loaded { since: when },
        "ready" => Life::Ready,
        "going" => Life::Going,
        "leaving" => Life::Leaving { why: Why::Replaced, deadline: None },
        _ => Life::Serving { since: when },
    }
}

#[cfg(test)]
mod tests;
