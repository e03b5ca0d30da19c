//! How many workers of one group to start, and which to dismiss: a comparison of what is with what should be. Pure.
//!
//! It knows nothing of why: a crash, a changed plan, a new version and an old age all look alike here, as a worker that
//! is missing or one that is not fresh.

use super::life::{Life, Why};

/// Names a worker for as long as the manager runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// One worker of the group.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Which.
    pub id: WorkerId,
    /// Where it is in its life.
    pub life: Life,
    /// Whether it is what would be started now: same functions, same versions, not too old.
    pub fresh: bool,
}

/// What the group should be.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Workers.
    pub count: u32,
    /// Workers above that, while old ones are replaced. 0: one is missing meanwhile instead.
    pub surge: u32,
    /// Starts that are possible now.
    pub room: u32,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Workers to start.
    pub start: u32,
    /// Workers to dismiss.
    pub dismiss: Vec<(WorkerId, Why)>,
}

/// Compares.
pub fn decide(members: &[Member], want: Want) -> Decision {
    let live = || members.iter().filter(|member| member.life.is_live());
    let mut decision = Decision::default();
    // Old and not even serving: of no use to anybody.
    decision.dismiss.extend(live().filter(|m| !m.fresh && !m.life.is_serving()).map(|m| (m.id, Why::Surplus)));
    let stale: Vec<WorkerId> = live().filter(|m| !m.fresh && m.life.is_serving()).map(|m| m.id).collect();
    let serving = live().filter(|m| m.fresh && m.life.is_serving()).count() as u32;
    let fresh = live().filter(|m| m.fresh).count() as u32;
    let total = fresh + stale.len() as u32;

    let missing = want.count.saturating_sub(total);
    let successors = want.surge.saturating_sub(total.saturating_sub(want.count)).min(want.count.saturating_sub(fresh));
    let wished = if missing > 0 { missing } else { successors.min(stale.len() as u32) };
    decision.start = wished.min(want.room);

    // Old ones go as new ones serve; with no surge one goes first, once the last successor serves.
    let ahead = (serving + stale.len() as u32).saturating_sub(want.count);
    let first = u32::from(want.surge == 0 && total == want.count && serving == fresh && fresh < want.count);
    let go = ahead.max(first).min(stale.len() as u32) as usize;
    let why = if want.count == 0 { Why::Surplus } else { Why::Replaced };
    decision.dismiss.extend(stale.iter().take(go).map(|id| (*id, why)));

    // Fewer are wanted: those that do not serve yet go first, then the youngest.
    let mut rest: Vec<&Member> = live().filter(|m| m.fresh).collect();
    rest.sort_by_key(|m| (m.life.is_serving(), std::cmp::Reverse(m.id)));
    let surplus = fresh.saturating_sub(want.count) as usize;
    decision.dismiss.extend(rest.iter().take(surplus).map(|m| (m.id, Why::Surplus)));
    decision
}

/// A life without its times, for tables.
#[cfg(test)]
pub(super) fn at(word: &str) -> Life {
    let when = std::time::Duration::from_secs(1);
    match word {
        "starting" => Life::Starting { deadline: when },
        "connecting" => Life::Loaded { since: when },
        "leaving" => Life::Leaving { why: Why::Replaced, deadline: when },
        _ => Life::Serving { since: when },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `S` serving and fresh, `s` starting and fresh, `c` connecting and fresh; `O`, `o` the same but old; `L` leaving.
    fn members(text: &str) -> Vec<Member> {
        let life = |c| match c {
            's' | 'o' => at("starting"),
            'c' => at("connecting"),
            'L' => at("leaving"),
            _ => at("serving"),
        };
        let member =
            |(n, c): (usize, char)| Member { id: WorkerId(n as u64), life: life(c), fresh: !matches!(c, 'O' | 'o') };
        text.chars().enumerate().map(member).collect()
    }

    #[test]
    fn what_is_compared_with_what_should_be() {
        use Why::{Replaced, Surplus};
        let room = 16;
        for (name, group, count, surge, start, dismiss) in [
            ("nothing there", "", 3, 1, 3, vec![]),
            ("all there", "SSS", 3, 1, 0, vec![]),
            ("one died", "SS", 3, 1, 1, vec![]),
            ("one is on its way", "SSs", 3, 1, 0, vec![]),
            ("leaving ones do not count", "SSL", 3, 1, 1, vec![]),
            ("a successor for the first old one", "OOO", 3, 1, 1, vec![]),
            ("it is on its way", "OOOs", 3, 1, 0, vec![]),
            ("it finds no job server: the old ones stay", "OOOc", 3, 1, 0, vec![]),
            ("it serves: an old one goes", "OOOS", 3, 1, 0, vec![(0, Replaced)]),
            ("and the next successor starts", "OOSL", 3, 1, 1, vec![]),
            ("the last one", "OSS", 3, 1, 1, vec![]),
            ("done", "OSSS", 3, 1, 0, vec![(0, Replaced)]),
            ("a surge of two", "OOOO", 4, 2, 2, vec![]),
            ("no surge: one old goes first", "OO", 2, 0, 0, vec![(0, Replaced)]),
            ("no surge: then its successor starts", "OL", 2, 0, 1, vec![]),
            ("no surge: nothing until it serves", "Os", 2, 0, 0, vec![]),
            ("no surge: the next", "OS", 2, 0, 0, vec![(0, Replaced)]),
            ("a crash during a rollout is made good with a new one", "OOS", 4, 1, 1, vec![]),
            ("old and not serving: no use", "oOO", 3, 1, 1, vec![(0, Surplus)]),
            ("fewer wanted: the youngest goes", "SSS", 2, 1, 0, vec![(2, Surplus)]),
            ("fewer wanted: one not yet serving goes first", "sSS", 2, 1, 0, vec![(0, Surplus)]),
            ("none wanted", "SsO", 0, 1, 0, vec![(2, Surplus), (1, Surplus), (0, Surplus)]),
        ] {
            let dismiss = dismiss.into_iter().map(|(id, why)| (WorkerId(id), why)).collect();
            assert_eq!(decide(&members(group), Want { count, surge, room }), Decision { start, dismiss }, "{name}");
        }
    }

    #[test]
    fn no_more_start_than_there_is_room_for() {
        assert_eq!(decide(&[], Want { count: 100, surge: 1, room: 16 }).start, 16);
        assert_eq!(decide(&members("OO"), Want { count: 2, surge: 1, room: 0 }).start, 0);
    }

    /// Whatever happens to a group, serving workers never fall below the plan by a decision of ours, and it ends right.
    #[test]
    fn a_rollout_with_crashes_ends_fresh_and_is_never_short_by_our_own_doing() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let count = random.u32(1..6);
            let surge = random.u32(1..3);
            let mut group = members(&"O".repeat(count as usize));
            let mut next = count as u64;
            for _ in 0..400 {
                let before = group.iter().filter(|m| m.life.is_serving()).count() as u32;
                let decision = decide(&group, Want { count, surge, room: 16 });
                let live = group.iter().filter(|m| m.life.is_live()).count() as u32;
                assert!(live + decision.start <= count + surge, "seed {seed}");
                for (id, _) in &decision.dismiss {
                    group.iter_mut().filter(|m| m.id == *id).for_each(|m| m.life = at("leaving"));
                }
                let after = group.iter().filter(|m| m.life.is_serving()).count() as u32;
                assert!(after >= before.min(count), "seed {seed}: dismissed below the plan");
                for _ in 0..decision.start {
                    group.push(Member { id: WorkerId(next), life: at("starting"), fresh: true });
                    next += 1;
                }
                if group.is_empty() {
                    continue;
                }
                let which = random.usize(..group.len());
                match (group[which].life, random.u8(..10)) {
                    (_, 0) | (Life::Leaving { .. }, _) => drop(group.remove(which)),
                    (Life::Starting { .. }, _) => group[which].life = at("serving"),
                    _ => {}
                }
            }
            for _ in 0..100 {
                let decision = decide(&group, Want { count, surge, room: 16 });
                group.retain(|m| m.life.is_live() && !decision.dismiss.iter().any(|(id, _)| *id == m.id));
                group.iter_mut().for_each(|m| m.life = at("serving"));
                for _ in 0..decision.start {
                    group.push(Member { id: WorkerId(next), life: at("starting"), fresh: true });
                    next += 1;
                }
            }
            assert_eq!(group.len() as u32, count, "seed {seed}");
            assert!(group.iter().all(|m| m.fresh), "seed {seed}");
        }
    }
}
