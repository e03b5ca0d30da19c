//! The pending output of one connection: the bytes, and how long an answer among them holds up the other job servers.
//! Pure.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use crate::plugins::loader::ResultBytes;

/// As long as a pending answer makes progress, no other server is asked for a job for up to this time, because a job
/// would hold up the answer.
const MAX_GRAB_BLOCK: Duration = Duration::from_secs(1);
/// A server that reads nothing for this long is not waited for.
const STALL: Duration = Duration::from_millis(100);

/// A piece of the output.
pub(crate) enum Part {
    /// Packets, or the beginning of one.
    Bytes(Vec<u8>),
    /// A result, as the plugin returned it.
    Data(ResultBytes),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Data(bytes) => bytes,
        }
    }
}

/// Parts in order, the first of which may have been partly sent.
#[derive(Default)]
pub(crate) struct Queue {
    parts: VecDeque<Part>,
    /// Bytes of the first part that were sent.
    sent: usize,
    left: usize,
}

impl Queue {
    /// Bytes that are still to be sent.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Appends a part.
    pub(crate) fn push(&mut self, part: Part) {
        self.left += part.bytes().len();
        self.parts.push_back(part);
    }

    /// Appends a copy of a few bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.left += bytes.len();
        match self.parts.back_mut() {
            Some(Part::Bytes(last)) => last.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.parts.push_back(Part::Bytes(bytes.to_vec())),
        }
    }

    /// The remaining bytes, as slices for one system call.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.sent;
        let rest = |part| IoSlice::new(&Part::bytes(part)[std::mem::take(&mut skip)..]);
        self.parts.iter().map(rest).collect()
    }

    /// `sent` more bytes were sent. Returns the parts that are completely sent.
    pub(crate) fn advance(&mut self, sent: usize) -> Vec<Part> {
        let mut spent = Vec::new();
        self.left = self.left.saturating_sub(sent);
        self.sent += sent;
        while let Some(first) = self.parts.front().map(|part| part.bytes().len()).filter(|length| self.sent >= *length)
        {
            spent.extend(self.parts.pop_front());
            self.sent -= first;
        }
        spent
    }
}

/// An answer that its server has not completely read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingAnswer {
    /// The worker's number for its job; `None` for a job that was never on the scoreboard.
    pub job: Option<u64>,
    /// When sending began.
    pub since: Duration,
    /// When the other servers began to wait for it.
    turn: Duration,
    /// When it last made progress.
    moved: Duration,
}

impl PendingAnswer {
    /// The part of an answer that did not fit into the socket buffer.
    pub(crate) fn new(job: Option<u64>, now: Duration) -> Self {
        Self { job, since: now, turn: now, moved: now }
    }

    /// It made progress.
    pub(crate) fn moved(&mut self, now: Duration) {
        self.moved = now;
    }

    /// It made progress right after a job of another server had held it up: its turn begins again.
    pub(crate) fn has_its_turn(&mut self, now: Duration) {
        (self.turn, self.moved) = (now, now);
    }

    /// Until when the other servers wait if it makes no more progress; `None` if they do not wait.
    pub(crate) fn blocks_grabs_until(&self, now: Duration) -> Option<Duration> {
        let until = self.turn.saturating_add(MAX_GRAB_BLOCK).min(self.moved.saturating_add(STALL));
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(queue: &Queue) -> Vec<u8> {
        queue.slices().iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn what_is_left_of_several_parts_is_exact_to_the_byte() {
        let whole = b"before, head, the data, behind it";
        let queue = || {
            let mut queue = Queue::default();
            queue.extend(b"before, ");
            queue.extend(b"");
            queue.push(Part::Bytes(b"head, ".to_vec()));
            queue.push(Part::Data(b"the data".to_vec().into()));
            queue.push(Part::Data(ResultBytes::default()));
            queue.extend(b", behi");
            queue.extend(b"nd it");
            queue
        };
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let mut queue = queue();
                let _ = queue.advance(first);
                assert_eq!((text(&queue).as_slice(), queue.left()), (&whole[first..], whole.len() - first));
                let _ = queue.advance(second - first);
                assert_eq!((text(&queue).as_slice(), queue.left()), (&whole[second..], whole.len() - second));
            }
        }
    }

    #[test]
    fn a_result_is_not_copied_and_returned_once_sent() {
        let data: ResultBytes = vec![7; 100].into();
        let at = data.as_ptr();
        let mut queue = Queue::default();
        queue.extend(b"head");
        queue.push(Part::Data(data));
        queue.extend(b"next");
        assert!(queue.advance(5).iter().all(|part| matches!(part, Part::Bytes(_))));
        assert_eq!(queue.slices()[0].as_ptr(), at.wrapping_add(1));
        let spent = queue.advance(99);
        assert!(matches!(&spent[..], [Part::Data(data)] if data.as_ptr() == at));
        assert_eq!((queue.parts.len(), queue.left()), (1, 4));
        assert_eq!(queue.advance(4).len(), 1);
        assert!(queue.parts.is_empty() && queue.sent == 0);
    }

    #[test]
    fn others_wait_for_an_answer_that_gets_on_but_not_for_long() {
        let ms = Duration::from_millis;
        let mut answer = PendingAnswer::new(Some(1), ms(1_000));
        assert_eq!(answer.blocks_grabs_until(ms(1_000)), Some(ms(1_100)));
        assert_eq!(answer.blocks_grabs_until(ms(1_100)), None, "nothing is taken");
        answer.moved(ms(1_090));
        assert_eq!(answer.blocks_grabs_until(ms(1_100)), Some(ms(1_190)));
        answer.moved(ms(1_990));
        assert_eq!(answer.blocks_grabs_until(ms(1_995)), Some(ms(2_000)));
        assert_eq!(answer.blocks_grabs_until(ms(2_000)), None, "long enough");
        answer.moved(ms(2_050));
        assert_eq!(answer.blocks_grabs_until(ms(2_060)), None);
        answer.has_its_turn(ms(9_000));
        assert_eq!(answer.blocks_grabs_until(ms(9_000)), Some(ms(9_100)));
    }
}
