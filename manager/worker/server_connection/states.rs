//! The messages, reactions and states of the protocol.

use std::time::Duration;

/// What the job server sent, as far as the protocol state depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerMessage<'a> {
    Noop,
    NoJob,
    Assigned,
    Echo,
    /// With its code.
    Error(&'a [u8]),
    /// Any other packet of a server; all of them are for clients.
    Other,
}

/// What the caller has to do about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    Nothing,
    /// Log it at debug level: it is unexpected in this state.
    Unexpected,
    /// The server has answered the greeting: register the functions.
    Greeted,
    /// Send PRE_SLEEP.
    Sleep,
    /// Run the job.
    Run,
    /// Run the job, which waited until a sleeping worker asked by itself: a wake-up was lost.
    RunUnwoken,
    /// Log that a result came too late: the server has given the job to another worker.
    Superseded,
    /// Log the error.
    LogError,
}

/// What the caller has to do because time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timeout {
    Nothing,
    /// Send an ECHO.
    Echo,
    /// Close the connection: the server is unresponsive.
    Unresponsive,
}

/// What the caller has to do next to drain the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DrainStep {
    /// Send one GRAB: a server that wakes one sleeper at a time may have just woken this one.
    Grab,
    /// Send the last ECHO.
    Echo,
    /// Wait for an answer.
    Wait,
    /// Close the connection: the server has received everything.
    Done,
}

/// How far the connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// ECHO and GRAB went out before any CAN_DO. The GRAB has no answer yet.
    Greeting { grab_sent: Duration },
    /// The server has answered the GRAB of the greeting. CAN_DO has not been sent.
    Greeted(JobRequest),
    /// CAN_DO was sent for every function.
    Registered(JobRequest),
}

impl Phase {
    pub(super) fn request(self) -> Option<JobRequest> {
        match self {
            Self::Greeting { .. } => None,
            Self::Greeted(request) | Self::Registered(request) => Some(request),
        }
    }

    /// A request other than the greeting's ends the greeting.
    pub(super) fn with_request(self, request: JobRequest) -> Self {
        match self {
            Self::Greeting { .. } | Self::Greeted(_) => Self::Greeted(request),
            Self::Registered(_) => Self::Registered(request),
        }
    }

    /// Since when the server owes an answer to a GRAB.
    pub(super) fn grab_sent(self) -> Option<Duration> {
        match self {
            Self::Greeting { grab_sent: sent } => Some(sent),
            Self::Greeted(request) | Self::Registered(request) => match request {
                JobRequest::Sent(grabs) | JobRequest::Overdue(grabs) => Some(grabs.since),
                JobRequest::Awake | JobRequest::Asleep | JobRequest::Doubted { .. } => None,
            },
        }
    }
}

/// Whether the worker has asked the server for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobRequest {
    /// No GRAB is outstanding, and one may be sent.
    Awake,
    /// PRE_SLEEP was sent. The next GRAB follows a NOOP.
    Asleep,
    /// GRABs were sent, and answers are outstanding.
    Sent(OutstandingGrabs),
    /// The same, but the other servers no longer wait for the answers.
    Overdue(OutstandingGrabs),
    /// ERROR came while a GRAB was outstanding. Another packet may have caused it, so the answers may still arrive
    /// until then.
    Doubted { grabs: OutstandingGrabs, until: Duration },
}

impl JobRequest {
    /// The GRABs that have no answer, also those that may get none.
    pub(super) fn grabs(self) -> Option<OutstandingGrabs> {
        match self {
            Self::Awake | Self::Asleep => None,
            Self::Sent(grabs) | Self::Overdue(grabs) | Self::Doubted { grabs, .. } => Some(grabs),
        }
    }

    /// One of them is answered.
    pub(super) fn answered(self, now: Duration) -> Self {
        let left = |grabs: OutstandingGrabs| OutstandingGrabs { count: grabs.count - 1, since: now };
        match self {
            Self::Sent(grabs) | Self::Overdue(grabs) if grabs.count > 1 => Self::Sent(left(grabs)),
            Self::Doubted { grabs, until } if grabs.count > 1 => Self::Doubted { grabs: left(grabs), until },
            _ => Self::Awake,
        }
    }
}

/// The GRABs that have no answer yet. A job that has come and was not taken from the buffer yet counts among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutstandingGrabs {
    /// At least one.
    pub(super) count: u32,
    /// When the last one was sent, or the last answer was taken.
    pub(super) since: Duration,
}

/// Whether the connection takes jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    Open,
    /// No PRE_SLEEP, and no GRAB but the one of [`DrainStep::Grab`], which `may_grab` allows. `last_echo`: the last ECHO
    /// was sent.
    Draining {
        may_grab: bool,
        last_echo: bool,
    },
}

/// Which packet asks for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrabForm {
    /// GRAB_JOB_UNIQ.
    Unique,
    /// GRAB_JOB, which is all that the Perl server knows.
    Old,
}

/// The ECHOs that have no answer yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutstandingEchoes {
    pub(super) oldest: Duration,
    /// How many were sent after the oldest.
    pub(super) later: u32,
}
