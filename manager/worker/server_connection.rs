//! One connection to a job server, as a conversation: what was asked, what is awaited, what is due. Pure: no socket, no
//! clock. [`super::session`] carries out what is decided here.
//!
//! Why each rule is as it is stands in docs/gearmand.md; the short form: GRAB after every NOOP, PRE_SLEEP after every
//! NO_JOB, an ECHO proves the line, and nothing that is not needed goes on the wire.

use std::time::Duration;

use super::spin_guard::{AfterNoJob, SpinGuard};

/// An unanswered GRAB holds up the other job servers no longer than this.
pub const GRAB_PATIENCE: Duration = Duration::from_secs(1);

/// A GRAB that was refused is sent again after this time, then twice that, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The code of the ERROR packet that says a result came too late.
const TOO_LATE: &[u8] = b"JOB_NOT_FOUND";

/// What a job server said, as far as the conversation is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// There may be work.
    Noop,
    /// There is none.
    NoJob,
    /// A job.
    Assigned,
    /// The answer to an ECHO.
    Echo,
    /// Something was refused, with this code.
    Error(&'a [u8]),
    /// Anything else a server may send.
    Other,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    Nothing,
    /// The server answers: functions may be registered.
    Greeted,
    /// Send PRE_SLEEP.
    Sleep,
    /// Run the job.
    Run,
    /// A result came too late: the server has given the job to somebody else.
    Superseded,
    /// Log the error.
    Complain,
}

/// What is due because time went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// Nothing.
    Nothing,
    /// Send an ECHO.
    Echo,
    /// The server is mute: give the connection up.
    Lost,
}

/// How far the leave-taking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainStep {
    /// Send one GRAB: a server that wakes one sleeper at a time may have woken this one just now.
    Ask,
    /// Send the last ECHO.
    Echo,
    /// An answer is awaited.
    Wait,
    /// The server has everything.
    Done,
}

/// The GRAB of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GrabState {
    /// None is out.
    None,
    /// Sent then. `behind`: so long ago that the other servers do not wait for its answer.
    Out { since: Duration, behind: bool },
    /// An ERROR came. What else was sent may have caused it, so the answer is waited for until then.
    Doubted { until: Duration },
}

impl GrabState {
    fn sent(since: Duration) -> Self {
        Self::Out { since, behind: false }
    }

    /// Since when an answer is owed.
    fn since(self) -> Option<Duration> {
        if let Self::Out { since, .. } = self { Some(since) } else { None }
    }
}

/// The state of the conversation.
#[derive(Debug, Clone)]
pub struct ServerConnection {
    greeted: bool,
    registered: bool,
    old_grab: bool,
    /// A GRAB of this form has been answered.
    grab_works: bool,
    /// GRABs in a row to which the answer was ERROR.
    refusals: u32,
    answers_echo: bool,
    grab: GrabState,
    asleep: bool,
    /// A NOOP came and no GRAB was sent since.
    woken: bool,
    spin: SpinGuard,
    pause_until: Duration,
    /// How long the server took to take what was sent last: what it owes may take as long again.
    slack: Duration,
    /// When the oldest ECHO without an answer was sent, and how many there are.
    echo: Option<Duration>,
    echoes: u32,
    heard: Duration,
    proved: Duration,
    draining: bool,
    /// No job may come any more: not even the last GRAB goes out.
    exhausted: bool,
    last_echo: bool,
}

impl ServerConnection {
    /// A connection on which ECHO and GRAB have just been sent, before any CAN_DO.
    pub fn greeting(now: Duration) -> Self {
        Self {
            greeted: false,
            registered: false,
            old_grab: false,
            grab_works: false,
            refusals: 0,
            answers_echo: false,
            grab: GrabState::sent(now),
            asleep: false,
            woken: false,
            spin: SpinGuard::default(),
            pause_until: Duration::ZERO,
            slack: Duration::ZERO,
            echo: Some(now),
            echoes: 1,
            heard: now,
            proved: now,
            draining: false,
            exhausted: false,
            last_echo: false,
        }
    }

    /// The server has answered the greeting.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// A GRAB is out that may bring a job, and not so long that the other servers should not wait for it. The greeting's
    /// brings none, and a server that is mute to it must not hold up the others.
    pub fn is_awaited(&self) -> bool {
        let may_bring_one = match self.grab {
            GrabState::None => false,
            GrabState::Out { behind, .. } => !behind,
            // For a moment. A server that refuses again and again holds up nobody.
            GrabState::Doubted { .. } => self.refusals <= 1,
        };
        may_bring_one && self.greeted
    }

    /// Whether functions are still to be registered.
    pub fn wants_registering(&self) -> bool {
        self.greeted && !self.registered
    }

    /// CAN_DO was sent for every function, and an ECHO behind it.
    pub fn registered(&mut self, now: Duration) {
        self.registered = true;
        self.echo_sent(now);
    }

    /// Whether the server has the functions for certain: it has answered what was sent after them. One that answers no
    /// ECHO is believed.
    pub fn is_known(&self) -> bool {
        self.registered && (self.echoes == 0 || !self.answers_echo)
    }

    /// Whether a GRAB may be sent now.
    pub fn may_ask(&self, now: Duration) -> bool {
        self.is_free() && now >= self.pause_until
    }

    fn is_free(&self) -> bool {
        self.registered && !self.draining && self.grab == GrabState::None && !self.asleep
    }

    /// Whether the next GRAB goes out with a PRE_SLEEP in front (`SpinGuard`).
    pub fn asks_twice(&self) -> bool {
        self.spin.asks_twice()
    }

    /// A GRAB was sent.
    pub fn asked(&mut self, now: Duration) {
        self.spin.asked();
        self.grab = GrabState::sent(now);
        self.asleep = false;
        self.woken = false;
    }

    /// What was sent last took so long to be sent.
    pub fn was_slow(&mut self, took: Duration) {
        self.slack = took;
    }

    /// Whether the server knows only the old form of GRAB (the Perl server).
    pub fn uses_old_grab(&self) -> bool {
        self.old_grab
    }

    /// An ECHO was sent.
    pub fn echo_sent(&mut self, now: Duration) {
        self.echo.get_or_insert(now);
        self.echoes += 1;
        self.proved = now;
    }

    /// Bytes came: the server lives, whatever they mean.
    pub fn heard_something(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Whether bytes have come since then.
    pub fn has_heard_since(&self, then: Duration) -> bool {
        self.heard > then
    }

    /// The worker was busy elsewhere and read nothing: silence meanwhile proves nothing.
    pub fn was_busy(&mut self, now: Duration) {
        if let GrabState::Out { since, .. } = &mut self.grab {
            *since = now;
        }
        self.echo = self.echo.map(|_| now);
    }

    /// Takes in a packet.
    pub fn hear(&mut self, heard: ServerMessage<'_>, now: Duration) -> Reaction {
        match heard {
            ServerMessage::Noop => self.woken(now),
            ServerMessage::NoJob if self.grab == GrabState::None => {
                // The greeting's GRAB was understood, and the ERROR was about something else.
                self.old_grab &= self.grab_works;
                Reaction::Nothing
            }
            ServerMessage::NoJob => {
                self.answered();
                if self.greeted {
                    self.no_job(now)
                } else {
                    self.greeted = true;
                    Reaction::Greeted
                }
            }
            ServerMessage::Assigned => {
                self.answered();
                self.asleep = false;
                self.spin.job();
                self.greeted = true;
                Reaction::Run
            }
            ServerMessage::Echo => {
                self.slack = Duration::ZERO;
                self.echoes = self.echoes.saturating_sub(1);
                if self.grab_is_lost() {
                    self.refused();
                }
                self.echo = self.echo.filter(|_| self.echoes > 0);
                self.answers_echo = true;
                Reaction::Nothing
            }
            // Before any job was taken an error can only be about the GRAB that went with the greeting.
            ServerMessage::Error(_) if !self.greeted => {
                self.grab = GrabState::None;
                self.old_grab = true;
                self.greeted = true;
                Reaction::Greeted
            }
            ServerMessage::Error(TOO_LATE) => Reaction::Superseded,
            ServerMessage::Error(_) => {
                self.doubt(now);
                Reaction::Complain
            }
            ServerMessage::Other => Reaction::Nothing,
        }
    }

    fn answered(&mut self) {
        self.grab = GrabState::None;
        self.grab_works = true;
        self.refusals = 0;
        self.slack = Duration::ZERO;
    }

    /// An ECHO that was sent behind the GRAB is answered, and the GRAB is not: it never will be.
    fn grab_is_lost(&self) -> bool {
        let GrabState::Out { since, behind: true } = self.grab else { return false };
        self.greeted && self.echoes == 0 && self.echo.is_some_and(|sent| sent > since)
    }

    /// The GRAB that is out may have been refused.
    fn doubt(&mut self, now: Duration) {
        if let GrabState::Out { .. } = self.grab {
            self.refusals = self.refusals.saturating_add(1);
            let pause = FIRST_PAUSE.saturating_mul(2_u32.pow((self.refusals - 1).min(10))).min(LONGEST_PAUSE);
            self.grab = GrabState::Doubted { until: now.saturating_add(pause) };
        }
    }

    /// It was: another one may go out, in the other form where this one has never been understood.
    fn refused(&mut self) {
        self.grab = GrabState::None;
        self.old_grab ^= !self.grab_works;
    }

    fn no_job(&mut self, now: Duration) -> Reaction {
        if self.draining {
            return Reaction::Nothing;
        }
        match self.spin.no_job(now) {
            AfterNoJob::Sleep => {
                self.asleep = true;
                return Reaction::Sleep;
            }
            AfterNoJob::AskTwice => {}
            AfterNoJob::Pause(pause) => self.pause_until = now.saturating_add(pause),
        }
        Reaction::Nothing
    }

    fn woken(&mut self, now: Duration) -> Reaction {
        self.woken = true;
        if std::mem::take(&mut self.asleep) {
            self.spin.woken(now);
        } else {
            // It says nothing new, and must not end a pause: or two NOOPs at a time would spin.
            self.spin.noop();
        }
        Reaction::Nothing
    }

    /// What time asks for. `quiet` says that the worker has nothing else to do, so that a sleeper may ask again, which
    /// heals a lost wake-up.
    pub fn due(&mut self, now: Duration, interval: Duration, timeout: Duration, quiet: bool) -> Timeout {
        if let Some(deadline) = self.mute_at(timeout)
            && now >= deadline
        {
            return Timeout::Lost;
        }
        if !self.greeted {
            return Timeout::Nothing;
        }
        match self.grab {
            GrabState::Out { since, behind: false } if now >= since.saturating_add(GRAB_PATIENCE) => {
                self.grab = GrabState::Out { since, behind: true };
                return if self.echo.is_none() { Timeout::Echo } else { Timeout::Nothing };
            }
            GrabState::Doubted { until } if now >= until => self.refused(),
            _ => {}
        }
        if interval.is_zero() || now < self.proved.saturating_add(interval) || self.echo.is_some() {
            return Timeout::Nothing;
        }
        if quiet {
            self.asleep = false;
        }
        self.proved = now;
        Timeout::Echo
    }

    /// When the server counts as mute: it owes an answer, and for so long nothing came, not even a part of a packet.
    fn mute_at(&self, timeout: Duration) -> Option<Duration> {
        let silent_since = match (self.echo, self.grab.since()) {
            (Some(echo), _) if self.answers_echo || !self.greeted => echo.max(self.heard),
            (_, Some(grab)) if self.heard <= grab || !self.answers_echo => grab.max(self.heard),
            _ => return None,
        };
        Some(silent_since.saturating_add(self.slack).saturating_add(timeout))
    }

    /// When a GRAB may be sent, where nothing but a pause forbids it.
    pub fn ask_due(&self) -> Option<Duration> {
        self.is_free().then_some(self.pause_until)
    }

    /// When [`ServerConnection::due`] should be called next; `None` for not before something is heard or sent.
    pub fn next_due(&self, interval: Duration, timeout: Duration) -> Option<Duration> {
        let proof =
            (self.greeted && !interval.is_zero() && self.echo.is_none()).then(|| self.proved.saturating_add(interval));
        let grab = match self.grab {
            GrabState::Out { since, behind: false } if self.greeted => Some(since.saturating_add(GRAB_PATIENCE)),
            GrabState::Doubted { until } => Some(until),
            _ => None,
        };
        [self.mute_at(timeout), proof, grab].into_iter().flatten().min()
    }

    /// The worker is to leave: no PRE_SLEEP from now on, and no GRAB but where [`ServerConnection::drain_step`] says so.
    pub fn leave(&mut self) {
        self.draining = true;
    }

    /// The worker may take no more jobs, and waits to be told to leave: no GRAB at all from now on.
    pub fn exhausted(&mut self) {
        self.draining = true;
        self.exhausted = true;
    }

    /// The next step of taking leave. `Done` where there is nothing to prove.
    pub fn drain_step(&self) -> DrainStep {
        let awaited = match self.grab {
            GrabState::None => false,
            GrabState::Out { .. } => self.greeted,
            // A job that comes all the same comes before the answer to the last ECHO.
            GrabState::Doubted { .. } => !self.answers_echo,
        };
        if awaited {
            DrainStep::Wait
        } else if self.registered && !self.exhausted && (self.asleep || self.woken) {
            DrainStep::Ask
        } else if !self.registered || !self.answers_echo || (self.last_echo && self.echoes == 0) {
            DrainStep::Done
        } else if self.last_echo {
            DrainStep::Wait
        } else {
            DrainStep::Echo
        }
    }

    /// The last ECHO was sent: nothing goes out after it but the answer to a job that comes all the same.
    pub fn said_farewell(&mut self, now: Duration) {
        self.echo_sent(now);
        self.last_echo = true;
    }

    /// A result went out after the last ECHO: another one has to follow.
    pub fn farewell_again(&mut self) {
        self.last_echo = false;
    }
}

#[cfg(test)]
mod tests;
