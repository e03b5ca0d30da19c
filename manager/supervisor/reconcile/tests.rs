//! The decision as a table, and as random walks that keep what must never break.

use super::*;

/// `S` serving and fresh, `s` starting and fresh, `c` connecting, `r` ready, `g` going; `F` serving with few runs left,
/// `N` with none; `O`, `o`, `G` serving, starting and going, but old; `L` leaving; `K`, `k`, `q` a canary that serves,
/// is ready, starts; `B` serves beside all others what nobody else does.
fn workers(text: &str) -> Vec<GroupWorker> {
    let state = |c| match c {
        's' | 'o' | 'q' => at("starting"),
        'c' => at("connecting"),
        'r' | 'k' => at("ready"),
        'g' | 'G' => at("going"),
        'L' => at("leaving"),
        _ => at("serving"),
    };
    let runs = |c| match c {
        'F' => JobAllowance::Few,
        'N' => JobAllowance::None,
        _ => JobAllowance::Many,
    };
    let worker = |(n, c): (usize, char)| GroupWorker {
        id: WorkerId(n as u64),
        state: state(c),
        fresh: !matches!(c, 'O' | 'o' | 'G' | 'B'),
        runs: runs(c),
        canary: matches!(c, 'K' | 'k' | 'q'),
        kept: c == 'B',
    };
    text.chars().enumerate().map(worker).collect()
}

/// Decides, and checks that nothing else comes out if the settled workers are only counted.
fn decide(workers: &[GroupWorker], want: GroupTarget) -> GroupDecision {
    let decision = super::decide(workers, &SettledWorkers { count: 0, ids: &Vec::new }, want);
    let is_settled =
        |w: &&GroupWorker| w.state.is_serving() && w.fresh && w.runs == JobAllowance::Many && !w.canary && !w.kept;
    let (settled, others): (Vec<&GroupWorker>, Vec<&GroupWorker>) = workers.iter().partition(is_settled);
    let ids = || settled.iter().map(|worker| worker.id).collect();
    let settled = SettledWorkers { count: settled.len() as u32, ids: &ids };
    let others: Vec<GroupWorker> = others.into_iter().copied().collect();
    assert_eq!(super::decide(&others, &settled, want), decision, "{workers:?}");
    decision
}

#[test]
fn what_is_compared_with_what_should_be() {
    use ExitReason::{Replaced, Surplus};
    let room = 16;
    for (name, group, count, surge, start, activate, drain) in [
        ("nothing there", "", 3, 1, 3, vec![], vec![]),
        ("all there", "SSS", 3, 1, 0, vec![], vec![]),
        ("one died", "SS", 3, 1, 1, vec![], vec![]),
        ("one is on its way", "SSs", 3, 1, 0, vec![], vec![]),
        ("it is ready", "SSr", 3, 1, 0, vec![2], vec![]),
        ("leaving ones do not count", "SSL", 3, 1, 1, vec![], vec![]),
        ("a successor for the first old one", "OOO", 3, 1, 1, vec![], vec![]),
        ("it is on its way", "OOOs", 3, 1, 0, vec![], vec![]),
        ("it finds no job server: the old ones stay", "OOOc", 3, 1, 0, vec![], vec![]),
        ("it is ready: it goes to work beside them", "OOOr", 3, 1, 0, vec![3], vec![]),
        ("not at work yet", "OOOg", 3, 1, 0, vec![], vec![]),
        ("it serves: an old one goes", "OOOS", 3, 1, 0, vec![], vec![(0, Replaced)]),
        ("and the next successor starts", "OOSL", 3, 1, 1, vec![], vec![]),
        ("the last one", "OSS", 3, 1, 1, vec![], vec![]),
        ("done", "OSSS", 3, 1, 0, vec![], vec![(0, Replaced)]),
        ("a surge of two", "OOOO", 4, 2, 2, vec![], vec![]),
        ("no surge: a successor starts", "OO", 2, 0, 1, vec![], vec![]),
        ("no surge: nothing until it is ready", "OOs", 2, 0, 0, vec![], vec![]),
        ("no surge: it is, so an old one goes", "OOr", 2, 0, 0, vec![], vec![(0, Replaced)]),
        ("no surge: it waits until that one has left", "LOr", 2, 0, 0, vec![], vec![]),
        ("no surge: then it goes to work", "Or", 2, 0, 1, vec![1], vec![]),
        ("no surge: the next successor", "OS", 2, 0, 1, vec![], vec![]),
        ("no surge: a dead one's place is free at once", "Sr", 2, 0, 0, vec![1], vec![]),
        ("a crash during a rollout is made good with a new one", "OOS", 4, 1, 1, vec![], vec![]),
        ("old and not serving: no use", "oOO", 3, 1, 1, vec![], vec![(0, Surplus)]),
        ("few runs left: a successor starts", "F", 1, 1, 1, vec![], vec![]),
        ("it is ready, and waits for the last run", "Fr", 1, 1, 0, vec![], vec![]),
        ("the last run is over: it goes to work", "Nr", 1, 1, 0, vec![1], vec![]),
        ("the spent one stays until it serves", "Ng", 1, 1, 0, vec![], vec![]),
        ("then it leaves", "NS", 1, 1, 0, vec![], vec![(0, Replaced)]),
        ("all spent at once: all are replaced at once", "NNN", 3, 1, 3, vec![], vec![]),
        ("few runs left, no surge", "Fr", 1, 0, 0, vec![], vec![]),
        ("no run left, no surge", "Nr", 1, 0, 0, vec![1], vec![]),
        ("few runs left, and none wanted", "Fr", 0, 1, 0, vec![], vec![(1, Surplus)]),
        ("fewer wanted: the youngest goes", "SSS", 2, 1, 0, vec![], vec![(2, Surplus)]),
        ("fewer wanted: one not yet serving goes first", "sSS", 2, 1, 0, vec![], vec![(0, Surplus)]),
        ("a canary that starts is nobody's successor", "SSSq", 3, 1, 0, vec![], vec![]),
        ("it is ready: it goes to work beside all others", "SSSk", 3, 1, 0, vec![3], vec![]),
        ("nobody leaves for it", "SSSK", 3, 1, 0, vec![], vec![]),
        ("it makes good for nobody", "SSK", 3, 1, 1, vec![], vec![]),
        ("a successor goes to work beside it", "OOKr", 2, 1, 0, vec![3], vec![]),
        ("a canary, no surge: one leaves once it is ready", "SSk", 2, 0, 0, vec![], vec![(1, Replaced)]),
        ("no surge: it waits until that one has left", "SLk", 2, 0, 0, vec![], vec![]),
        ("no surge: then it goes to work", "Sk", 2, 0, 0, vec![1], vec![]),
        ("no surge: and stays in its place", "SK", 2, 0, 0, vec![], vec![]),
        ("no surge: a mutex", "Sk", 1, 0, 0, vec![], vec![(0, Replaced)]),
        ("no surge: and waits while more than it is missing", "OSgrk", 3, 0, 0, vec![], vec![(3, Replaced)]),
        ("no surge: its place is free again", "SL", 2, 0, 1, vec![], vec![]),
        ("no surge: an old one that is just going has a place", "Gr", 1, 0, 0, vec![], vec![(0, Surplus)]),
        ("what only an old one serves goes on beside the others", "BS", 1, 1, 0, vec![], vec![]),
        ("who does is nobody's predecessor", "BB", 2, 1, 2, vec![], vec![]),
        ("and takes nobody's place", "Br", 1, 1, 0, vec![1], vec![]),
        ("also if none is wanted", "B", 0, 1, 0, vec![], vec![]),
        ("no surge: it is at work", "Br", 1, 0, 0, vec![], vec![]),
        ("none wanted", "SsO", 0, 1, 0, vec![], vec![(2, Surplus), (1, Surplus), (0, Surplus)]),
    ] {
        let drain = drain.into_iter().map(|(id, reason)| (WorkerId(id), reason)).collect();
        let activate = activate.into_iter().map(WorkerId).collect();
        let expected = GroupDecision { start, activate, drain };
        assert_eq!(decide(&workers(group), GroupTarget { count, surge, room }), expected, "{name}");
    }
}

#[test]
fn no_more_start_than_there_is_room_for() {
    assert_eq!(decide(&[], GroupTarget { count: 100, surge: 1, room: 16 }).start, 16);
    assert_eq!(decide(&workers("OO"), GroupTarget { count: 2, surge: 1, room: 0 }).start, 0);
}

/// A group that things happen to.
struct Walk {
    group: Vec<GroupWorker>,
    next: u64,
    want: GroupTarget,
}

impl Walk {
    fn serving(&self) -> u32 {
        self.group.iter().filter(|m| m.state.is_serving() && m.runs != JobAllowance::None).count() as u32
    }

    fn decide(&mut self, seed: u64) {
        let GroupTarget { count, surge, .. } = self.want;
        let before = self.serving();
        let decision = decide(&self.group, self.want);
        let of_plan = |m: &&GroupWorker| m.state.is_live() && m.runs != JobAllowance::None && !m.canary;
        let live = self.group.iter().filter(of_plan).count() as u32;
        // A canary that has just been found good is one of them, on top.
        assert!(live + decision.start <= count + surge.max(1) + 1, "seed {seed}: too many");
        let is_drained = |m: &GroupWorker| decision.drain.iter().any(|(id, _)| *id == m.id);
        // Who was never at work is of no account.
        self.group.retain(|m| m.state.is_activated() || !is_drained(m));
        for worker in &mut self.group {
            if decision.activate.contains(&worker.id) {
                worker.state = at("going");
            }
            if is_drained(worker) {
                worker.state = at("leaving");
            }
        }
        // With no surge one is missing meanwhile.
        let least = count.saturating_sub(u32::from(surge == 0));
        assert!(self.serving() >= before.min(least), "seed {seed}: dismissed below the plan");
        if surge == 0 {
            let may_run =
                |m: &&GroupWorker| (m.state.is_activated() || !m.state.is_live()) && m.runs != JobAllowance::None;
            let running = self.group.iter().filter(may_run).count() as u32;
            assert!(running <= count, "seed {seed}: more than planned at work");
        }
        (0..decision.start).for_each(|_| self.starts(false));
    }

    fn starts(&mut self, canary: bool) {
        let id = WorkerId(self.next);
        self.group.push(GroupWorker {
            id,
            state: at("starting"),
            fresh: true,
            runs: JobAllowance::Many,
            canary,
            kept: false,
        });
        self.next += 1;
    }

    /// The rollout wants a canary, rejects one, or finds it good.
    fn watch_canaries(&mut self, chance: u8) {
        let canary = self.group.iter_mut().find(|worker| worker.canary && worker.state.is_live());
        match (canary, chance) {
            (None, 0) => self.starts(true),
            (Some(canary), 1) if canary.state.is_activated() => canary.state = at("leaving"),
            (Some(canary), 2) if canary.state.is_serving() => canary.canary = false,
            _ => {}
        }
    }

    /// A worker dies, goes on in its life, or has fewer runs left.
    fn random_event(&mut self, which: usize, chance: u8) {
        let worker = &mut self.group[which];
        match (worker.state, chance) {
            (_, 0) | (WorkerState::Draining { .. }, _) => drop(self.group.remove(which)),
            (WorkerState::Starting { .. }, _) => worker.state = at("ready"),
            (WorkerState::Activating, _) => worker.state = at("serving"),
            (WorkerState::Serving { .. }, 1) if worker.runs == JobAllowance::Many => worker.runs = JobAllowance::Few,
            (WorkerState::Serving { .. }, 2) => worker.runs = JobAllowance::None,
            _ => {}
        }
    }
}

/// Whatever happens to a group, serving workers never fall below the plan by a decision of ours, with no surge never
/// more than planned take jobs, and it ends right.
#[test]
fn a_rollout_with_crashes_ends_fresh_and_is_never_short_by_our_own_doing() {
    for seed in 0..1000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.u32(1..6);
        let want = GroupTarget { count, surge: random.u32(0..3), room: 16 };
        let mut walk = Walk { group: workers(&"O".repeat(count as usize)), next: count.into(), want };
        for _ in 0..400 {
            walk.decide(seed);
            walk.watch_canaries(random.u8(..20));
            if !walk.group.is_empty() {
                let which = random.usize(..walk.group.len());
                walk.random_event(which, random.u8(..10));
            }
        }
        walk.group.retain(|worker| !worker.canary);
        for worker in &mut walk.group {
            worker.runs = if worker.runs == JobAllowance::Few { JobAllowance::None } else { worker.runs };
        }
        for _ in 0..100 {
            walk.decide(seed);
            (0..walk.group.len()).rev().for_each(|which| walk.random_event(which, 9));
        }
        assert_eq!(walk.group.len() as u32, count, "seed {seed}");
        assert!(walk.group.iter().all(|m| m.fresh && m.runs == JobAllowance::Many), "seed {seed}");
    }
}
