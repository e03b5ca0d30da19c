//! The packet types: number, name in the protocol, and direction.

use std::fmt;

/// The first four bytes of a packet: who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    /// Sent to a job server, by a worker or a client.
    Request,
    /// Sent by a job server.
    Response,
}

impl Magic {
    /// The bytes on the wire.
    #[must_use]
    pub const fn bytes(self) -> [u8; 4] {
        match self {
            Self::Request => *b"\0REQ",
            Self::Response => *b"\0RES",
        }
    }
}

impl fmt::Display for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Response => "response",
        })
    }
}

/// Which direction packets of a type travel.
#[derive(Clone, Copy)]
enum Direction {
    Request,
    Response,
    /// A worker's report on a job: a request, and a response when the server forwards it to the client.
    Both,
}

macro_rules! kinds {
    ($($variant:ident = $number:literal, $name:literal, $direction:ident, $doc:literal;)*) => {
        /// A packet's type, by its number in the protocol. 5 is unused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum PacketType {
            $(#[doc = $doc] $variant = $number,)*
        }

        impl PacketType {
            /// All types, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in the PROTOCOL file, such as `WORK_FAIL`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn direction(self) -> Direction {
                match self { $(Self::$variant => Direction::$direction,)* }
            }
        }

        impl TryFrom<u32> for PacketType {
            type Error = u32;

            /// The type with that number; the number itself if the protocol has none.
            fn try_from(number: u32) -> Result<Self, u32> {
                match number { $($number => Ok(Self::$variant),)* other => Err(other) }
            }
        }
    };
}

kinds! {
    CanDo = 1, "CAN_DO", Request, "A worker offers a function.";
    CantDo = 2, "CANT_DO", Request, "A worker takes an offer back.";
    ResetAbilities = 3, "RESET_ABILITIES", Request, "A worker takes all its offers back.";
    PreSleep = 4, "PRE_SLEEP", Request, "A worker is about to sleep and wants a `NOOP` when a job comes.";
    Noop = 6, "NOOP", Response, "Wakes a worker: there may be a job.";
    SubmitJob = 7, "SUBMIT_JOB", Request, "A foreground job of normal priority.";
    JobCreated = 8, "JOB_CREATED", Response, "The handle of the job just submitted.";
    GrabJob = 9, "GRAB_JOB", Request, "A worker asks for a job, without its unique.";
    NoJob = 10, "NO_JOB", Response, "There is none.";
    JobAssign = 11, "JOB_ASSIGN", Response, "The job asked for with `GRAB_JOB`.";
    WorkStatus = 12, "WORK_STATUS", Both, "How far a running job is.";
    WorkComplete = 13, "WORK_COMPLETE", Both, "A job's result.";
    WorkFail = 14, "WORK_FAIL", Both, "A job failed.";
    GetStatus = 15, "GET_STATUS", Request, "How is the job of this handle?";
    EchoReq = 16, "ECHO_REQ", Request, "Send this back.";
    EchoRes = 17, "ECHO_RES", Response, "The answer to `ECHO_REQ`: its data.";
    SubmitJobBg = 18, "SUBMIT_JOB_BG", Request, "A background job of normal priority.";
    Error = 19, "ERROR", Response, "The server could not do what was asked.";
    StatusRes = 20, "STATUS_RES", Response, "The answer to `GET_STATUS`.";
    SubmitJobHigh = 21, "SUBMIT_JOB_HIGH", Request, "A foreground job of high priority.";
    SetClientId = 22, "SET_CLIENT_ID", Request, "The name a worker is listed under.";
    CanDoTimeout = 23, "CAN_DO_TIMEOUT", Request,
        "`CAN_DO` with a time limit in milliseconds. Never sent: it corrupts gearmand 1.1.x.";
    AllYours = 24, "ALL_YOURS", Request, "Not used by any server.";
    WorkException = 25, "WORK_EXCEPTION", Both, "A job failed, with data for the caller.";
    OptionReq = 26, "OPTION_REQ", Request, "Set an option of the connection; `exceptions` is the only one.";
    OptionRes = 27, "OPTION_RES", Response, "The option that was set.";
    WorkData = 28, "WORK_DATA", Both, "Data from a running job.";
    WorkWarning = 29, "WORK_WARNING", Both, "A warning from a running job.";
    GrabJobUniq = 30, "GRAB_JOB_UNIQ", Request, "A worker asks for a job.";
    JobAssignUniq = 31, "JOB_ASSIGN_UNIQ", Response, "The job asked for with `GRAB_JOB_UNIQ`.";
    SubmitJobHighBg = 32, "SUBMIT_JOB_HIGH_BG", Request, "A background job of high priority.";
    SubmitJobLow = 33, "SUBMIT_JOB_LOW", Request, "A foreground job of low priority.";
    SubmitJobLowBg = 34, "SUBMIT_JOB_LOW_BG", Request, "A background job of low priority.";
    SubmitJobSched = 35, "SUBMIT_JOB_SCHED", Request, "A background job for a time of the calendar. No server runs it.";
    SubmitJobEpoch = 36, "SUBMIT_JOB_EPOCH", Request, "A background job for a time in seconds since 1970.";
    SubmitReduceJob = 37, "SUBMIT_REDUCE_JOB", Request, "A foreground job whose results another function joins.";
    SubmitReduceJobBackground = 38, "SUBMIT_REDUCE_JOB_BACKGROUND", Request, "The same in the background.";
    GrabJobAll = 39, "GRAB_JOB_ALL", Request, "A worker asks for a job, with its reducer.";
    JobAssignAll = 40, "JOB_ASSIGN_ALL", Response, "The job asked for with `GRAB_JOB_ALL`.";
    GetStatusUnique = 41, "GET_STATUS_UNIQUE", Request, "How is the job of this unique?";
    StatusResUnique = 42, "STATUS_RES_UNIQUE", Response, "The answer to `GET_STATUS_UNIQUE`.";
}

impl PacketType {
    /// Whether packets of this type may carry that magic.
    #[must_use]
    pub const fn travels_as(self, magic: Magic) -> bool {
        match self.direction() {
            Direction::Both => true,
            Direction::Request => matches!(magic, Magic::Request),
            Direction::Response => matches!(magic, Magic::Response),
        }
    }

    /// Whether it assigns a job to a worker.
    pub(super) const fn is_job(self) -> bool {
        matches!(self, Self::JobAssign | Self::JobAssignUniq | Self::JobAssignAll)
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
