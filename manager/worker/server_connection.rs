//! The protocol state of one connection to a job server: what was sent, which answers are outstanding, and when the
//! server counts as unresponsive. Pure: no socket, no clock. [`super::session`] does the IO.
//!
//! docs/gearmand.md gives the reason for each rule. In short: send GRAB after every NOOP and PRE_SLEEP after every
//! NO_JOB, prove the connection with ECHO, and send nothing that is not needed.

mod states;

use std::time::Duration;

use super::prefetch::GrabRamp;
use super::spin_guard::{AfterNoJob, SpinGuard};
pub(crate) use states::{DrainStep, Reaction, ServerMessage, Timeout};
use states::{GrabForm, Intake, JobRequest, OutstandingEchoes, OutstandingGrabs, Phase};

/// The other job servers wait no longer than this for one server's answer to a GRAB.
pub(super) const GRAB_TIMEOUT: Duration = Duration::from_secs(1);

/// A rejected GRAB is sent again after this pause, which doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The code of the ERROR packet for a result that came too late.
const TOO_LATE: &[u8] = b"JOB_NOT_FOUND";

#[derive(Debug, Clone)]
pub(crate) struct ServerConnection {
    phase: Phase,
    intake: Intake,
    /// NOOP came, and no GRAB was sent since.
    is_woken: bool,
    /// A sleeping worker asks by itself, and no NOOP came since.
    asks_unwoken: bool,
    /// Failures that were sent behind an exception, and which the server has not answered: see [`Self::exception_sent`].
    exceptions: u32,
    grab_form: GrabForm,
    /// The server has answered a GRAB of this form.
    grab_form_works: bool,
    /// GRABs in a row that were answered with ERROR.
    rejections: u32,
    /// The server has answered an ECHO.
    answers_echo: bool,
    echoes: Option<OutstandingEchoes>,
    echo_sent_at: Duration,
    received_at: Duration,
    /// How many jobs ran since anything was received.
    unconfirmed_jobs: u32,
    spin: SpinGuard,
    slow_start: GrabRamp,
    pause_until: Duration,
    /// How long the server took to accept what was sent last: its answer may take as long again.
    slack: Duration,
}

impl ServerConnection {
    /// A connection on which ECHO and GRAB have just been sent, before any CAN_DO.
    pub(crate) fn greeting(now: Duration) -> Self {
        Self {
            phase: Phase::Greeting { grab_sent: now },
            intake: Intake::Open,
            is_woken: false,
            asks_unwoken: false,
            exceptions: 0,
            grab_form: GrabForm::Unique,
            grab_form_works: false,
            rejections: 0,
            answers_echo: false,
            echoes: Some(OutstandingEchoes { oldest: now, later: 0 }),
            echo_sent_at: now,
            received_at: now,
            unconfirmed_jobs: 0,
            spin: SpinGuard::default(),
            slow_start: GrabRamp::default(),
            pause_until: Duration::ZERO,
            slack: Duration::ZERO,
        }
    }

    pub(crate) fn is_greeted(&self) -> bool {
        !matches!(self.phase, Phase::Greeting { .. })
    }

    /// Whether the other servers wait for the answer to this connection's GRAB, which may bring a job. The greeting's
    /// GRAB brings none, and a server that is mute to it must not delay the others.
    pub(crate) fn awaits_job(&self) -> bool {
        match self.phase.request() {
            Some(JobRequest::Sent(_)) => true,
            // The first time only: a server that rejects GRAB after GRAB delays no one.
            Some(JobRequest::Doubted { .. }) => self.rejections <= 1,
            Some(JobRequest::Awake | JobRequest::Asleep | JobRequest::Overdue(_)) | None => false,
        }
    }

    pub(crate) fn needs_registration(&self) -> bool {
        matches!(self.phase, Phase::Greeted(_))
    }

    /// Whether the server has been told which functions the worker has.
    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Registered(_))
    }

    /// CAN_DO was sent for every function, and an ECHO after them.
    pub(crate) fn functions_registered(&mut self, now: Duration) {
        if let Phase::Greeted(request) = self.phase {
            self.phase = Phase::Registered(request);
        }
        self.echo_sent(now);
    }

    /// Whether the server certainly knows the functions: it has answered the ECHO that followed them. A server that
    /// answers no ECHO is assumed to know them.
    pub(crate) fn knows_functions(&self) -> bool {
        matches!(self.phase, Phase::Registered(_)) && (self.echoes.is_none() || !self.answers_echo)
    }

    pub(crate) fn may_grab(&self, now: Duration) -> bool {
        self.is_free() && now >= self.pause_until
    }

    /// When a GRAB may be sent, if only a pause prevents it.
    pub(crate) fn grab_due(&self) -> Option<Duration> {
        self.is_free().then_some(self.pause_until)
    }

    fn is_free(&self) -> bool {
        self.phase == Phase::Registered(JobRequest::Awake) && self.intake == Intake::Open
    }

    /// Whether the next GRAB goes out with a PRE_SLEEP in front (see [`SpinGuard`]).
    pub(crate) fn grabs_with_pre_sleep(&self) -> bool {
        self.spin.is_check_due()
    }

    /// Whether GRAB_JOB is to be sent instead of GRAB_JOB_UNIQ.
    pub(crate) fn uses_old_grab(&self) -> bool {
        self.grab_form == GrabForm::Old
    }

    /// How many jobs of this server the worker may have in hand, the running one included, as far as the server is
    /// concerned. Only gearmand requeues the jobs of a worker that died, and only gearmand knows both GRAB_JOB_UNIQ and
    /// ECHO: another server gets one GRAB at a time.
    pub(crate) fn window(&self) -> u32 {
        let requeues = self.answers_echo && !self.uses_old_grab();
        if requeues && !self.grabs_with_pre_sleep() { self.slow_start.window() } else { 1 }
    }

    /// GRABs whose answers the other servers wait for, or that have already been received.
    pub(crate) fn grabs_out(&self) -> u32 {
        if self.awaits_job() {
            self.phase.request().and_then(JobRequest::grabs).map_or(0, |grabs| grabs.count)
        } else {
            0
        }
    }

    /// Whether the server may have rejected a GRAB.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self.phase.request(), Some(JobRequest::Doubted { .. }))
    }

    /// Whether the server may give jobs: it has been asked, or may be.
    pub(crate) fn may_have_work(&self) -> bool {
        self.is_free() || self.awaits_job()
    }

    /// More GRABs were sent.
    pub(crate) fn grabs_sent(&mut self, count: u32, now: Duration) {
        self.spin.grab_sent();
        self.phase = match self.phase {
            Phase::Greeting { .. } => Phase::Greeting { grab_sent: now },
            phase => {
                let out = phase.request().and_then(JobRequest::grabs).map_or(0, |grabs| grabs.count);
                let grabs = OutstandingGrabs { count: out.saturating_add(count), since: now };
                phase.with_request(JobRequest::Sent(grabs))
            }
        };
        self.is_woken = false;
    }

    pub(crate) fn echo_sent(&mut self, now: Duration) {
        self.echoes = Some(match self.echoes {
            None => OutstandingEchoes { oldest: now, later: 0 },
            Some(echoes) => OutstandingEchoes { later: echoes.later.saturating_add(1), ..echoes },
        });
        self.echo_sent_at = now;
    }

    /// The server took this long to accept an answer.
    pub(crate) fn answer_took(&mut self, took: Duration) {
        self.slack = took;
    }

    /// Bytes came. Whatever they mean, the server is alive.
    pub(crate) fn bytes_received(&mut self, now: Duration) {
        self.received_at = now;
        self.unconfirmed_jobs = 0;
    }

    /// A job of this server ran.
    pub(crate) fn job_ran(&mut self) {
        self.unconfirmed_jobs = self.unconfirmed_jobs.saturating_add(1);
    }

    /// A job is answered with an exception and a failure behind it. gearmand has ended the job at the exception, so it
    /// answers the failure as it answers a result that comes too late.
    pub(crate) fn exception_sent(&mut self) {
        self.exceptions = self.exceptions.saturating_add(1);
    }

    /// Jobs that ran since anything was received: the server may lack the answers to all of them.
    pub(crate) fn unconfirmed_jobs(&self) -> u32 {
        self.unconfirmed_jobs
    }

    /// When something was last received.
    pub(crate) fn received_at(&self) -> Duration {
        self.received_at
    }

    pub(crate) fn has_received_since(&self, then: Duration) -> bool {
        self.received_at > then
    }

    /// The worker was busy elsewhere and read nothing, so the silence so far proves nothing.
    pub(crate) fn forgive_silence(&mut self, now: Duration) {
        self.phase = match self.phase {
            Phase::Greeting { .. } => Phase::Greeting { grab_sent: now },
            phase => match phase.request() {
                Some(JobRequest::Sent(grabs)) => {
                    phase.with_request(JobRequest::Sent(OutstandingGrabs { since: now, ..grabs }))
                }
                Some(JobRequest::Overdue(grabs)) => {
                    phase.with_request(JobRequest::Overdue(OutstandingGrabs { since: now, ..grabs }))
                }
                _ => phase,
            },
        };
        if let Some(echoes) = &mut self.echoes {
            echoes.oldest = now;
        }
    }

    pub(crate) fn receive(&mut self, message: ServerMessage<'_>, now: Duration) -> Reaction {
        use ServerMessage as M;
        match (message, self.phase.request()) {
            (M::Noop, request) => self.noop(request, now),

            (M::NoJob, None) => {
                self.grab_answered(JobRequest::Awake);
                Reaction::Greeted
            }
            (M::NoJob, Some(JobRequest::Awake | JobRequest::Asleep)) => self.no_job_without_grab(),
            (M::NoJob, Some(request)) => self.no_job(request, now),

            (M::Assigned, request) => self.assigned(request, now),

            (M::Echo, request) => self.echo_answered(request),

            // No job has come yet, so it can only be about a packet of the greeting.
            (M::Error(_), None) => {
                self.phase = Phase::Greeted(JobRequest::Awake);
                self.grab_form = GrabForm::Old;
                Reaction::Greeted
            }
            (M::Error(TOO_LATE), Some(_)) => match self.exceptions.checked_sub(1) {
                Some(left) => {
                    self.exceptions = left;
                    Reaction::Nothing
                }
                None => Reaction::Superseded,
            },
            (M::Error(_), Some(JobRequest::Sent(grabs) | JobRequest::Overdue(grabs))) => {
                self.doubt_grabs(grabs, now);
                Reaction::LogError
            }
            (M::Error(_), Some(JobRequest::Awake | JobRequest::Asleep | JobRequest::Doubted { .. })) => {
                Reaction::LogError
            }

            (M::Other, _) => Reaction::Unexpected,
        }
    }

    fn noop(&mut self, request: Option<JobRequest>, now: Duration) -> Reaction {
        self.is_woken = true;
        self.asks_unwoken = false;
        if request == Some(JobRequest::Asleep) {
            self.set_request(JobRequest::Awake);
            self.spin.woken(now);
        } else {
            // It adds nothing new and must not end a pause, or pairs of NOOPs would cause a busy loop.
            self.spin.noop();
        }
        // No PRE_SLEEP was sent before the greeting's answer.
        if request.is_none() { Reaction::Unexpected } else { Reaction::Nothing }
    }

    /// `left`: the answers that are still outstanding.
    fn grab_answered(&mut self, left: JobRequest) {
        self.set_request(left);
        self.grab_form_works = true;
        self.rejections = 0;
        self.slack = Duration::ZERO;
    }

    /// Also a job that was not asked for: the server counts it as this worker's.
    fn assigned(&mut self, request: Option<JobRequest>, now: Duration) -> Reaction {
        self.grab_answered(request.map_or(JobRequest::Awake, |request| request.answered(now)));
        self.spin.job();
        self.slow_start.job();
        if std::mem::take(&mut self.asks_unwoken) { Reaction::RunUnwoken } else { Reaction::Run }
    }

    fn no_job(&mut self, request: JobRequest, now: Duration) -> Reaction {
        let left = request.answered(now);
        self.grab_answered(left);
        self.slow_start.no_job();
        self.asks_unwoken = false;
        if left.grabs().is_some() {
            return Reaction::Nothing;
        }
        // Whatever was sent before the GRAB is answered.
        self.exceptions = 0;
        if self.intake != Intake::Open {
            return Reaction::Nothing;
        }
        match self.spin.no_job(now) {
            AfterNoJob::Sleep => {
                self.set_request(JobRequest::Asleep);
                return Reaction::Sleep;
            }
            AfterNoJob::Check => {}
            AfterNoJob::Pause(pause) => self.pause_until = now.saturating_add(pause),
        }
        Reaction::Nothing
    }

    fn no_job_without_grab(&mut self) -> Reaction {
        if self.uses_old_grab() && !self.grab_form_works {
            // The server understood the greeting's GRAB: the ERROR was about another packet.
            self.grab_form = GrabForm::Unique;
            return Reaction::Nothing;
        }
        Reaction::Unexpected
    }

    fn echo_answered(&mut self, request: Option<JobRequest>) -> Reaction {
        self.slack = Duration::ZERO;
        self.answers_echo = true;
        let Some(echoes) = self.echoes else { return Reaction::Unexpected };
        self.echoes = echoes.later.checked_sub(1).map(|later| OutstandingEchoes { later, ..echoes });
        // Answers arrive in order, so an answer to an ECHO that was sent after the GRAB means that the GRAB gets none.
        if let Some(JobRequest::Overdue(grabs)) = request
            && self.echoes.is_none()
            && echoes.oldest > grabs.since
        {
            self.grab_rejected();
        }
        Reaction::Nothing
    }

    /// The server may have rejected a GRAB.
    fn doubt_grabs(&mut self, grabs: OutstandingGrabs, now: Duration) {
        self.rejections = self.rejections.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(2_u32.pow((self.rejections - 1).min(10))).min(LONGEST_PAUSE);
        self.set_request(JobRequest::Doubted { grabs, until: now.saturating_add(pause) });
    }

    /// The server has rejected the GRAB. The next one has the other form, unless this form has worked before.
    fn grab_rejected(&mut self) {
        self.set_request(JobRequest::Awake);
        if !self.grab_form_works {
            self.grab_form = match self.grab_form {
                GrabForm::Unique => GrabForm::Old,
                GrabForm::Old => GrabForm::Unique,
            };
        }
    }

    fn set_request(&mut self, request: JobRequest) {
        self.phase = self.phase.with_request(request);
    }

    /// `quiet`: the worker has nothing else to do, so a sleeping connection may send GRAB again, which makes up for a
    /// lost wake-up.
    pub(crate) fn check_timeouts(
        &mut self,
        now: Duration,
        interval: Duration,
        timeout: Duration,
        quiet: bool,
    ) -> Timeout {
        if self.answer_deadline(timeout).is_some_and(|deadline| now >= deadline) {
            return Timeout::Unresponsive;
        }
        match self.phase.request() {
            None => return Timeout::Nothing,
            Some(JobRequest::Sent(grabs)) if now >= grabs.since.saturating_add(GRAB_TIMEOUT) => {
                self.set_request(JobRequest::Overdue(grabs));
                return if self.echoes.is_none() { Timeout::Echo } else { Timeout::Nothing };
            }
            Some(JobRequest::Doubted { until, .. }) if now >= until => self.grab_rejected(),
            Some(_) => {}
        }
        if interval.is_zero() || now < self.echo_sent_at.saturating_add(interval) || self.echoes.is_some() {
            return Timeout::Nothing;
        }
        if quiet && self.phase.request() == Some(JobRequest::Asleep) {
            self.set_request(JobRequest::Awake);
            self.asks_unwoken = true;
        }
        self.echo_sent_at = now;
        Timeout::Echo
    }

    /// When the server counts as unresponsive: it owes an answer and has sent nothing for this long, not even part of a
    /// packet.
    fn answer_deadline(&self, timeout: Duration) -> Option<Duration> {
        let received = self.received_at;
        let silent_since = match (self.echoes, self.phase.grab_sent()) {
            (Some(echoes), _) if self.answers_echo || !self.is_greeted() => echoes.oldest.max(received),
            (_, Some(grab)) if received <= grab || !self.answers_echo => grab.max(received),
            _ => return None,
        };
        Some(silent_since.saturating_add(self.slack).saturating_add(timeout))
    }

    /// When [`ServerConnection::check_timeouts`] should be called next; `None` if not before something is received or
    /// sent.
    pub(crate) fn next_timeout(&self, interval: Duration, timeout: Duration) -> Option<Duration> {
        let echo = (self.is_greeted() && !interval.is_zero() && self.echoes.is_none())
            .then(|| self.echo_sent_at.saturating_add(interval));
        let grab = match self.phase.request() {
            Some(JobRequest::Sent(grabs)) => Some(grabs.since.saturating_add(GRAB_TIMEOUT)),
            Some(JobRequest::Doubted { until, .. }) => Some(until),
            Some(JobRequest::Awake | JobRequest::Asleep | JobRequest::Overdue(_)) | None => None,
        };
        [self.answer_deadline(timeout), echo, grab].into_iter().flatten().min()
    }

    /// From now on [`ServerConnection::drain_step`] returns what to send.
    pub(crate) fn drain(&mut self) {
        if self.intake == Intake::Open {
            self.intake = Intake::Draining { may_grab: true, last_echo: false };
        }
    }

    /// The worker may take no more jobs: no GRAB may be sent, not even [`DrainStep::Grab`].
    pub(crate) fn forbid_grabs(&mut self) {
        self.intake = Intake::Draining { may_grab: false, last_echo: self.last_echo_is_sent() };
    }

    pub(crate) fn drain_step(&self) -> DrainStep {
        let request = match self.phase {
            Phase::Greeting { .. } => return DrainStep::Done,
            Phase::Greeted(request) | Phase::Registered(request) => request,
        };
        match request {
            JobRequest::Sent(_) | JobRequest::Overdue(_) => return DrainStep::Wait,
            // Otherwise the answer to the last ECHO decides: any job still on its way arrives before it.
            JobRequest::Doubted { .. } if !self.answers_echo => return DrainStep::Wait,
            JobRequest::Awake | JobRequest::Asleep | JobRequest::Doubted { .. } => {}
        }
        if self.needs_registration() {
            return DrainStep::Done;
        }
        let may_grab = !matches!(self.intake, Intake::Draining { may_grab: false, .. });
        if may_grab && (request == JobRequest::Asleep || self.is_woken) {
            return DrainStep::Grab;
        }
        match (self.answers_echo, self.last_echo_is_sent()) {
            (false, _) => DrainStep::Done,
            (true, false) => DrainStep::Echo,
            (true, true) if self.echoes.is_some() => DrainStep::Wait,
            (true, true) => DrainStep::Done,
        }
    }

    fn last_echo_is_sent(&self) -> bool {
        matches!(self.intake, Intake::Draining { last_echo: true, .. })
    }

    /// After the last ECHO, nothing is sent except the answer to a job that still arrives.
    pub(crate) fn last_echo_sent(&mut self, now: Duration) {
        self.echo_sent(now);
        if let Intake::Draining { last_echo, .. } = &mut self.intake {
            *last_echo = true;
        }
    }

    /// An answer was sent: if it followed the last ECHO, another ECHO must follow it.
    pub(crate) fn answer_sent(&mut self) {
        if let Intake::Draining { last_echo, .. } = &mut self.intake {
            *last_echo = false;
        }
    }
}

#[cfg(test)]
mod tests;
