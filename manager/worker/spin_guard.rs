//! Wake-ups without work: gearmand 1.1 answers PRE_SLEEP with NOOP, and the GRAB after it with NO_JOB, for as long as
//! it has both an epoch job and one of low priority. Without pauses that is ten thousand rounds a second. Pure.
//!
//! If many idle workers are all woken for each job, those that come too late see the same pattern, but must not pause.
//! So after a few immediate wake-ups, a worker asks in a way that distinguishes the two cases: PRE_SLEEP and GRAB in
//! one write. A server with work answers NOOP and a job; a server that only thinks it has work answers NOOP and NO_JOB.

use std::time::Duration;

/// A wake-up this soon after PRE_SLEEP counts as immediate.
const IMMEDIATELY: Duration = Duration::from_millis(2);
/// This many of them in a row are normal.
const ROUNDS: u32 = 3;
/// This many false wake-ups in a row are no coincidence.
const PROOFS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// A job that comes during a pause may wait for its end.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What to do after NO_JOB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterNoJob {
    /// Send PRE_SLEEP.
    Sleep,
    /// Ask again, with PRE_SLEEP in front.
    Check,
    /// Ask again after this pause.
    Pause(Duration),
}

/// The guard of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct SpinGuard {
    fell_asleep: Duration,
    /// Immediate wake-ups in a row.
    rounds: u32,
    /// The check that is under way.
    check: Option<SpinCheck>,
    /// False wake-ups in a row.
    proofs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpinCheck {
    /// To be asked next.
    Due,
    /// Asked; nothing came yet.
    Asked,
    /// NOOP came.
    Woken,
}

impl SpinGuard {
    /// Whether the next GRAB goes out with a PRE_SLEEP in front.
    pub(super) fn is_check_due(&self) -> bool {
        self.check == Some(SpinCheck::Due)
    }

    /// A GRAB was sent.
    pub(super) fn grab_sent(&mut self) {
        self.check = self.check.map(|_| SpinCheck::Asked);
    }

    /// NOOP came while asleep.
    pub(super) fn woken(&mut self, now: Duration) {
        let at_once = now.saturating_sub(self.fell_asleep) < IMMEDIATELY;
        self.rounds = if at_once { self.rounds.saturating_add(1) } else { 0 };
    }

    /// NOOP came while awake.
    pub(super) fn noop(&mut self) {
        self.check = self.check.map(|check| if check == SpinCheck::Asked { SpinCheck::Woken } else { check });
    }

    /// A job came.
    pub(super) fn job(&mut self) {
        *self = Self::default();
    }

    /// NO_JOB came.
    pub(super) fn no_job(&mut self, now: Duration) -> AfterNoJob {
        match self.check.take() {
            None if self.rounds >= ROUNDS => self.schedule_check(),
            Some(SpinCheck::Woken) if self.proofs + 1 < PROOFS => {
                self.proofs += 1;
                self.schedule_check()
            }
            Some(SpinCheck::Woken) => {
                let doublings = (self.proofs + 1 - PROOFS).min(10);
                self.proofs = self.proofs.saturating_add(1);
                self.check = Some(SpinCheck::Due);
                AfterNoJob::Pause(FIRST_PAUSE.saturating_mul(2_u32.pow(doublings)).min(LONGEST_PAUSE))
            }
            None => {
                self.fell_asleep = now;
                AfterNoJob::Sleep
            }
            Some(SpinCheck::Due | SpinCheck::Asked) => {
                *self = Self { fell_asleep: now, ..Self::default() };
                AfterNoJob::Sleep
            }
        }
    }

    fn schedule_check(&mut self) -> AfterNoJob {
        self.check = Some(SpinCheck::Due);
        AfterNoJob::Check
    }
}
