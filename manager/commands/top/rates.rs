//! How many jobs end per second, from the counters of each status. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// A bar of a graph covers this time.
pub(super) const BAR: Duration = Duration::from_secs(5);
/// How many bars are kept: the last five minutes.
const BARS: usize = 60;
/// The rate is that of this time until now.
const WINDOW: Duration = Duration::from_secs(10);

/// The jobs of one function over the last minutes.
#[derive(Debug, Clone, Default)]
pub(super) struct RateHistory {
    /// When the counter had which value, within [`WINDOW`].
    samples: VecDeque<(Duration, u64)>,
    /// Jobs that ended in the time of each bar, the latest last; `None` where nobody looked.
    bars: VecDeque<Option<u64>>,
    /// The number of the last bar, counted from time zero.
    last_bar: u64,
}

impl RateHistory {
    /// The counter has this value now.
    pub(super) fn add(&mut self, now: Duration, ended: u64) {
        // Another manager counts from zero; and after a long silence nobody knows when the jobs ended.
        let is_continued = |(at, before): &(Duration, u64)| *before <= ended && now.saturating_sub(*at) <= BAR;
        let before = self.samples.back().filter(|sample| is_continued(sample)).map(|(_, before)| *before);
        self.advance_to(bar_at(now));
        match (before, self.bars.back_mut()) {
            (Some(before), Some(bar)) => *bar = Some(bar.unwrap_or(0).saturating_add(ended.saturating_sub(before))),
            (None, _) => self.samples.clear(),
            (Some(_), None) => {}
        }
        self.samples.push_back((now, ended));
        while self.samples.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Appends bars until the last one is that of this number.
    fn advance_to(&mut self, number: u64) {
        let missing = if self.bars.is_empty() { 1 } else { number.saturating_sub(self.last_bar) };
        for _ in 0..missing.min(BARS as u64) {
            self.bars.push_back(None);
        }
        while self.bars.len() > BARS {
            self.bars.pop_front();
        }
        self.last_bar = number;
    }

    /// Jobs per second lately; `None` until two samples are there.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ((first, least), (last, most)) = (self.samples.front()?, self.samples.back()?);
        let seconds = last.saturating_sub(*first).as_secs_f64();
        (seconds > 0.0).then(|| most.saturating_sub(*least) as f64 / seconds)
    }

    /// The last `count` bars, or as many as there are; the latest is last.
    pub(super) fn bars(&self, count: usize) -> Vec<Option<u64>> {
        self.bars.iter().skip(self.bars.len().saturating_sub(count)).copied().collect()
    }
}

fn bar_at(now: Duration) -> u64 {
    now.as_secs() / BAR.as_secs()
}

/// The heights of bars, from none to full.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// Bars as text, as high as the highest of them is; a space where nobody looked.
pub(super) fn graph(bars: &[Option<u64>], unicode: bool) -> String {
    let heights = if unicode { BLOCKS } else { ASCII };
    let most = bars.iter().flatten().max().copied().unwrap_or(0);
    let height = |value: u64| {
        // Only a bar without jobs is empty.
        let step = u128::from(value).saturating_mul(7).div_ceil(u128::from(most.max(1)));
        heights.get(usize::try_from(step).unwrap_or(0)).copied().unwrap_or(' ')
    };
    bars.iter().map(|bar| bar.map_or(' ', height)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut history = RateHistory::default();
        assert_eq!(history.per_second(), None);
        history.add(s(0), 100);
        assert_eq!(history.per_second(), None, "one look is no rate");
        for second in 1..=20 {
            history.add(s(second), 100 + second * 3);
        }
        assert_eq!(history.per_second(), Some(3.0));
        for second in 21..=31 {
            history.add(s(second), 160);
        }
        assert_eq!(history.per_second(), Some(0.0));
    }

    #[test]
    fn bars_hold_what_ended_in_their_time() {
        type Case<'a> = (&'a [(u64, u64)], &'a [Option<u64>], &'a str);
        let cases: [Case<'_>; 6] = [
            (&[], &[], "nothing"),
            (&[(0, 7)], &[None], "a first look says nothing"),
            (&[(0, 7), (1, 9), (4, 10), (5, 14), (6, 15)], &[Some(3), Some(5)], "two bars"),
            (&[(0, 7), (1, 9), (2, 3), (3, 4)], &[Some(3)], "a new manager counts from zero"),
            (&[(0, 7), (1, 9), (22, 90), (23, 91)], &[Some(2), None, None, None, Some(1)], "a silence"),
            (&[(9, 7), (10, 9)], &[None, Some(2)], "the bar of the second look"),
        ];
        for (samples, expected, what) in cases {
            let mut history = RateHistory::default();
            samples.iter().for_each(|(at, ended)| history.add(s(*at), *ended));
            assert_eq!(history.bars(60), expected, "{what}");
        }
    }

    #[test]
    fn only_the_last_bars_are_kept() {
        let mut history = RateHistory::default();
        for second in 0..1000 {
            history.add(s(second), second);
        }
        assert_eq!(history.bars(usize::MAX).len(), BARS);
        assert_eq!(history.bars(3), [Some(5), Some(5), Some(5)]);
        history.add(Duration::MAX, 2000);
        assert_eq!(history.bars(usize::MAX), [None; BARS]);
    }

    #[test]
    fn graphs_are_as_high_as_their_highest_bar() {
        for (bars, blocks, ascii) in [
            (&[][..], "", ""),
            (&[Some(0), Some(0)], "▁▁", "__"),
            (&[None, Some(0), Some(1), Some(50), Some(100)], " ▁▂▅█", " _.=#"),
            (&[Some(1)], "█", "#"),
            (&[Some(u64::MAX), Some(1)], "█▂", "#."),
        ] {
            assert_eq!(graph(bars, true), blocks);
            assert_eq!(graph(bars, false), ascii);
        }
    }
}
