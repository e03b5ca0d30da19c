//! The selected row of a list whose rows come, go and change places. Pure.

/// The selected row, by what it shows: a command is for what the user has seen, wherever that is by now.
#[derive(Debug, Clone)]
pub(super) struct Cursor<K> {
    key: Option<K>,
    /// Where it was when the list was last seen.
    index: usize,
}

/// How the selection moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Self { key: None, index: 0 }
    }
}

impl<K: Clone + PartialEq> Cursor<K> {
    /// What is selected.
    pub(super) fn key(&self) -> Option<&K> {
        self.key.as_ref()
    }

    /// Where that is.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The list is now this one: the selection stays on its row, or on its place if the row is gone.
    pub(super) fn follow(&mut self, rows: &[K]) {
        let found = self.key.as_ref().and_then(|key| rows.iter().position(|row| row == key));
        self.index = found.unwrap_or(self.index).min(rows.len().saturating_sub(1));
        self.key = rows.get(self.index).cloned();
    }

    /// Moves it; `page` rows are shown at a time.
    pub(super) fn step(&mut self, rows: &[K], step: Step, page: usize) {
        let last = rows.len().saturating_sub(1);
        self.index = match step {
            Step::Up => self.index.saturating_sub(1),
            Step::Down => self.index.saturating_add(1),
            Step::PageUp => self.index.saturating_sub(page),
            Step::PageDown => self.index.saturating_add(page),
            Step::First => 0,
            Step::Last => last,
        }
        .min(last);
        self.key = rows.get(self.index).cloned();
    }
}

/// The first row of the page with this row. Pages do not overlap, so that a step within one changes two lines.
pub(super) fn page_start(index: usize, page: usize) -> usize {
    index.checked_div(page).unwrap_or(0).saturating_mul(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_stays_on_its_row() {
        let mut cursor = Cursor::default();
        cursor.follow(&["a", "b", "c"]);
        assert_eq!((cursor.key(), cursor.index()), (Some(&"a"), 0));
        cursor.step(&["a", "b", "c"], Step::Down, 10);
        for (rows, expected, what) in [
            (&["b", "c"][..], (Some(&"b"), 0), "another place"),
            (&["a", "c", "b"], (Some(&"b"), 2), "the last one"),
            (&["a", "c"], (Some(&"c"), 1), "it is gone: the row in its place"),
            (&[], (None, 0), "no row at all"),
            (&["d"], (Some(&"d"), 0), "rows again"),
        ] {
            cursor.follow(rows);
            assert_eq!((cursor.key(), cursor.index()), expected, "{what}");
        }
    }

    #[test]
    fn steps_end_at_the_ends() {
        let rows: Vec<u32> = (0..25).collect();
        let mut cursor = Cursor::default();
        cursor.follow(&rows);
        for (step, expected) in [
            (Step::Up, 0),
            (Step::Down, 1),
            (Step::PageDown, 11),
            (Step::PageDown, 21),
            (Step::PageDown, 24),
            (Step::Down, 24),
            (Step::PageUp, 14),
            (Step::First, 0),
            (Step::Last, 24),
        ] {
            cursor.step(&rows, step, 10);
            assert_eq!((cursor.index(), cursor.key()), (expected, Some(&(expected as u32))), "{step:?}");
        }
        cursor.step(&[], Step::Down, 10);
        assert_eq!((cursor.index(), cursor.key()), (0, None));
    }

    #[test]
    fn pages_do_not_overlap() {
        for (index, page, expected) in [(0, 10, 0), (9, 10, 0), (10, 10, 10), (25, 10, 20), (5, 0, 0)] {
            assert_eq!(page_start(index, page), expected);
        }
    }
}
