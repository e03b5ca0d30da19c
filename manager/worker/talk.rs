//! One connection to a job server, as a conversation: what was asked, what is awaited, what is due. Pure: no socket, no
//! clock. [`super::session`] carries out what is decided here.
//!
//! Why each rule is as it is stands in docs/gearmand.md; the short form: GRAB after every NOOP, PRE_SLEEP after every
//! NO_JOB, an ECHO proves the line, and nothing that is not needed goes on the wire.

use std::time::Duration;

/// An unanswered GRAB holds up the other job servers no longer than this.
pub const GRAB_PATIENCE: Duration = Duration::from_secs(1);

/// A wake-up this soon after falling asleep says that the server had sent it already, or believes in work it will not
/// give (an epoch job beside a low-priority one, on gearmand 1.1).
const AT_ONCE: Duration = Duration::from_millis(2);
const IDLE_ROUNDS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The code of the ERROR packet that says a result came too late.
const TOO_LATE: &[u8] = b"JOB_NOT_FOUND";

/// What a job server said, as far as the conversation is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
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
pub enum Next {
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
pub enum Due {
    /// Nothing.
    Nothing,
    /// Send an ECHO.
    Echo,
    /// The server is mute: give the connection up.
    Lost,
}

/// How far the leave-taking is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Send one GRAB: a server that wakes one sleeper at a time may have woken this one just now.
    Ask,
    /// Send the last ECHO.
    Echo,
    /// An answer is awaited.
    Wait,
    /// The server has everything.
    Done,
}

/// The state of the conversation.
#[derive(Debug, Clone)]
pub struct Talk {
    greeted: bool,
    registered: bool,
    old_grab: bool,
    answers_echo: bool,
    grab: Option<Duration>,
    behind: bool,
    asleep: bool,
    /// A NOOP came and no GRAB was sent since.
    woken: bool,
    fell_asleep: Duration,
    rounds: u32,
    pause_until: Duration,
    /// When the oldest ECHO without an answer was sent, and how many there are.
    echo: Option<Duration>,
    echoes: u32,
    heard: Duration,
    proved: Duration,
    leaving: bool,
    /// No job may come any more: not even the last GRAB goes out.
    spent: bool,
    last_echo: bool,
}

impl Talk {
    /// A connection on which ECHO and GRAB have just been sent, before any CAN_DO.
    pub fn greeting(now: Duration) -> Self {
        Self {
            greeted: false,
            registered: false,
            old_grab: false,
            answers_echo: false,
            grab: Some(now),
            behind: false,
            asleep: false,
            woken: false,
            fell_asleep: Duration::ZERO,
            rounds: 0,
            pause_until: Duration::ZERO,
            echo: Some(now),
            echoes: 1,
            heard: now,
            proved: now,
            leaving: false,
            spent: false,
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
        self.grab.is_some() && self.greeted && !self.behind
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
        self.registered && !self.leaving && self.grab.is_none() && !self.asleep && now >= self.pause_until
    }

    /// A GRAB was sent.
    pub fn asked(&mut self, now: Duration) {
        self.grab = Some(now);
        self.behind = false;
        self.asleep = false;
        self.woken = false;
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

    /// The worker was busy elsewhere and read nothing: silence meanwhile proves nothing.
    pub fn was_busy(&mut self, now: Duration) {
        for since in [&mut self.grab, &mut self.echo].into_iter().flatten() {
            *since = now;
        }
    }

    /// Takes in a packet.
    pub fn hear(&mut self, heard: Heard<'_>, now: Duration) -> Next {
        match heard {
            Heard::Noop => self.woken(now),
            Heard::NoJob if self.grab.is_none() => Next::Nothing,
            Heard::NoJob => {
                self.answered();
                if self.greeted {
                    self.falls_asleep(now)
                } else {
                    self.greeted = true;
                    Next::Greeted
                }
            }
            Heard::Assigned => {
                self.answered();
                self.asleep = false;
                self.rounds = 0;
                self.greeted = true;
                Next::Run
            }
            Heard::Echo => {
                self.echoes = self.echoes.saturating_sub(1);
                self.echo = self.echo.filter(|_| self.echoes > 0);
                self.answers_echo = true;
                Next::Nothing
            }
            // Before any job was taken an error can only be about the GRAB that went with the greeting.
            Heard::Error(_) if !self.greeted => {
                self.answered();
                self.old_grab = true;
                self.greeted = true;
                Next::Greeted
            }
            Heard::Error(TOO_LATE) => Next::Superseded,
            Heard::Error(_) => Next::Complain,
            Heard::Other => Next::Nothing,
        }
    }

    fn answered(&mut self) {
        self.grab = None;
        self.behind = false;
    }

    fn falls_asleep(&mut self, now: Duration) -> Next {
        if self.leaving {
            return Next::Nothing;
        }
        self.asleep = true;
        self.fell_asleep = now;
        Next::Sleep
    }

    fn woken(&mut self, now: Duration) -> Next {
        self.woken = true;
        // One more while awake says nothing new: it must not end a pause, or two NOOPs at a time would spin.
        if !self.asleep {
            return Next::Nothing;
        }
        let at_once = now.saturating_sub(self.fell_asleep) < AT_ONCE;
        self.rounds = if at_once { self.rounds.saturating_add(1) } else { 0 };
        if self.rounds > IDLE_ROUNDS {
            let doublings = (self.rounds - IDLE_ROUNDS - 1).min(10);
            self.pause_until = now.saturating_add(FIRST_PAUSE.saturating_mul(2_u32.pow(doublings)).min(LONGEST_PAUSE));
        }
        self.asleep = false;
        Next::Nothing
    }

    /// What time asks for. `quiet` says that the worker has nothing else to do, so that a sleeper may ask again, which
    /// heals a lost wake-up.
    pub fn due(&mut self, now: Duration, interval: Duration, timeout: Duration, quiet: bool) -> Due {
        if let Some(deadline) = self.mute_at(timeout)
            && now >= deadline
        {
            return Due::Lost;
        }
        if !self.greeted {
            return Due::Nothing;
        }
        if self.grab.is_some_and(|since| now >= since.saturating_add(GRAB_PATIENCE)) && !self.behind {
            self.behind = true;
            return if self.echo.is_none() { Due::Echo } else { Due::Nothing };
        }
        if interval.is_zero() || now < self.proved.saturating_add(interval) || self.echo.is_some() {
            return Due::Nothing;
        }
        if quiet {
            self.asleep = false;
        }
        self.proved = now;
        Due::Echo
    }

    /// When the server counts as mute: it owes an answer, and for so long nothing came, not even a part of a packet.
    fn mute_at(&self, timeout: Duration) -> Option<Duration> {
        let silent_since = match (self.echo, self.grab) {
            (Some(echo), _) if self.answers_echo || !self.greeted => echo.max(self.heard),
            (_, Some(grab)) if self.heard <= grab || !self.answers_echo => grab.max(self.heard),
            _ => return None,
        };
        Some(silent_since.saturating_add(timeout))
    }

    /// When [`Talk::due`] should be called next; `None` for not before something is heard or sent.
    pub fn next_due(&self, interval: Duration, timeout: Duration) -> Option<Duration> {
        let proof =
            (self.greeted && !interval.is_zero() && self.echo.is_none()).then(|| self.proved.saturating_add(interval));
        let patience =
            self.grab.filter(|_| self.greeted && !self.behind).map(|since| since.saturating_add(GRAB_PATIENCE));
        let pause =
            (self.registered && !self.leaving && self.grab.is_none() && !self.asleep).then_some(self.pause_until);
        [self.mute_at(timeout), proof, patience, pause].into_iter().flatten().min()
    }

    /// The worker is to leave: no PRE_SLEEP from now on, and no GRAB but where [`Talk::farewell`] says so.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// The worker may take no more jobs, and waits to be told to leave: no GRAB at all from now on.
    pub fn spent(&mut self) {
        self.leaving = true;
        self.spent = true;
    }

    /// The next step of taking leave. `Done` where there is nothing to prove.
    pub fn farewell(&self) -> Farewell {
        if self.grab.is_some() && self.greeted {
            Farewell::Wait
        } else if self.registered && !self.spent && (self.asleep || self.woken) {
            Farewell::Ask
        } else if !self.registered || !self.answers_echo || (self.last_echo && self.echoes == 0) {
            Farewell::Done
        } else if self.last_echo {
            Farewell::Wait
        } else {
            Farewell::Echo
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
