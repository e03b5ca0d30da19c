//! Steps that work against the worker they run in, and leave it alive.

use std::ffi::CString;
use std::fs;
use std::net::TcpStream;
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use gm_plugin_api::{Failure, Job, Reporter};

/// Between two passes over the page.
const PAUSE: Duration = Duration::from_millis(1);
const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;
const SIGUSR2: i32 = 12;
const RLIMIT_NOFILE: i32 = 7;
const SIG_IGN: usize = 1;
const SIG_BLOCK: i32 = 0;
const SIGKILL: i32 = 9;
const SHUT_RDWR: i32 = 2;
const LC_ALL: i32 = 6;
const MSG_PEEK: i32 = 2;
const MSG_DONTWAIT: i32 = 0x40;
const SOL_SOCKET: i32 = 1;
const SO_TYPE: i32 = 3;
const SO_SNDBUF: i32 = 7;
const SOCK_SEQPACKET: i32 = 5;
const TIOCOUTQ: std::ffi::c_ulong = 0x5411;
/// What a worker writes at its page's begin, in bytes: the header's words up to the handle.
const HANDLE: usize = 48;

static ONE: u64 = 1;

/// The reporter of a job that is over.
static KEPT: Mutex<Option<Reporter>> = Mutex::new(None);

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn sigprocmask(how: i32, set: *const u64, old: *mut u64) -> i32;
    fn setrlimit(resource: i32, limit: *const u64) -> i32;
    fn umask(mask: u32) -> u32;
    fn ioctl(fd: RawFd, request: std::ffi::c_ulong, ...) -> i32;
    fn setlocale(category: i32, locale: *const std::ffi::c_char) -> *const std::ffi::c_char;
    fn setsid() -> i32;
    fn setpgid(process: i32, group: i32) -> i32;
    fn getpgid(process: i32) -> i32;
    fn setresuid(real: u32, effective: u32, saved: u32) -> i32;
    fn close(fd: i32) -> i32;
    fn shutdown(fd: i32, how: i32) -> i32;
    fn dup2(from: i32, to: i32) -> i32;
    fn kill(process: i32, number: i32) -> i32;
    fn recv(socket: i32, to: *mut u8, length: usize, flags: i32) -> isize;
    fn setsockopt(socket: i32, level: i32, option: i32, value: *const i32, size: u32) -> i32;
    fn getsockopt(socket: i32, level: i32, option: i32, value: *mut i32, size: *mut u32) -> i32;
    fn write(fd: i32, bytes: *const u8, length: usize) -> isize;
}

/// Does the step; nothing where there is none of that name.
pub fn step(verb: &str, rest: &str, job: &Job) -> Result<Option<Vec<u8>>, Failure> {
    let mut output = Vec::new();
    match verb {
        "deaf" => deaf(),
        // SAFETY: the handler only waits.
        "stuckonusr2" => drop(unsafe { signal(SIGUSR2, never_returns as *const () as usize) }),
        // SAFETY: a plain system call; the set is as large as glibc's.
        "blockall" => drop(unsafe { sigprocmask(SIG_BLOCK, [u64::MAX; 16].as_ptr(), std::ptr::null_mut()) }),
        "secede" => {
            regroup()?;
            // SAFETY: a plain system call.
            if unsafe { setsid() } < 0 {
                return Err(format!("setsid: {}", std::io::Error::last_os_error()).into());
            }
        }
        "wander" => wander()?,
        "regroup" => regroup()?,
        // SAFETY: a plain system call; the process has one thread.
        "become" => match unsafe { setresuid(rest.parse()?, rest.parse()?, rest.parse()?) } {
            0 => {}
            _ => return Err(format!("setresuid: {}", std::io::Error::last_os_error()).into()),
        },
        // SAFETY: the call reads two numbers.
        "nonewfiles" => drop(unsafe { setrlimit(RLIMIT_NOFILE, [3_u64; 2].as_ptr()) }),
        "closefds" => close_those(|_| true),
        "wake" => wake()?,
        "closesockets" => close_those(is_connection),
        "closechannel" => close_those(is_channel),
        "shutsockets" => shut_those(is_connection),
        "coversockets" => cover_those(is_connection, rest)?,
        "doomed" => doomed(rest.parse()?)?,
        "scribble" => scribble(&mut rest.parse()?)?,
        "haunt" => {
            let mut seed = rest.parse()?;
            std::thread::spawn(move || {
                while scribble(&mut seed).is_ok() {
                    std::thread::sleep(PAUSE);
                }
            });
        }
        "forge" => forge(rest)?,
        "status" => {
            let (done, of) = rest.split_once(' ').ok_or("status DONE OF")?;
            job.status(done.parse()?, of.parse()?);
        }
        "statuses" => {
            let of = rest.parse()?;
            for done in 1..=of {
                job.status(done, of);
            }
        }
        "data" => {
            let sent = job.data(vec![b'd'; rest.parse()?]);
            output = sent.to_string().into();
        }
        "warn" => output = job.warning(vec![b'w'; rest.parse()?]).to_string().into(),
        "huge" => {
            let (kind, length) = rest.split_once(' ').ok_or("huge KIND N")?;
            let much = "x".repeat(length.parse()?);
            match kind {
                "exception" => return Err(Failure::exception(much)),
                "panic" => panic!("{much}"),
                _ => return Err(much.into()),
            }
        }
        "unheard" => unheard(job),
        "flow" => {
            let (reporter, data) = (job.reporter(), vec![b'd'; rest.parse()?]);
            (3..64).filter(|fd| is_connection(*fd)).for_each(narrow);
            let flow = std::thread::spawn(move || while reporter.data(&data) {});
            while !flow.is_finished() && !(3..64).filter(|fd| is_connection(*fd)).any(has_unsent) {
                std::thread::yield_now();
            }
        }
        "keep" => *KEPT.lock().map_err(|_| "poisoned")? = Some(job.reporter()),
        "late" => {
            let kept = KEPT.lock().map_err(|_| "poisoned")?.ok_or("nothing was kept")?;
            let late = std::thread::spawn(move || [kept.status(1, 2), kept.data(b"late"), kept.warning(b"late\n")]);
            output = format!("{:?}", late.join().map_err(|_| "the thread panicked")?).into();
        }
        _ => return Ok(None),
    }
    Ok(Some(output))
}

/// Until an order waits that the worker has not read, although it has just looked for one; or it came just before.
fn unheard(job: &Job) {
    let waits = |channel: RawFd| {
        let mut byte = 0;
        // SAFETY: one byte is read into one byte, and stays unread for the next reader.
        unsafe { recv(channel, &raw mut byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1 }
    };
    while !(3..20).filter(|fd| is_channel(*fd)).any(waits) && !job.stopping() {}
}

fn is_channel(fd: RawFd) -> bool {
    let (mut kind, mut size) = (0, 4);
    // SAFETY: the option is one int.
    unsafe { getsockopt(fd, SOL_SOCKET, SO_TYPE, &raw mut kind, &raw mut size) == 0 && kind == SOCK_SEQPACKET }
}

/// Leaves little room in the connection, so that sending much takes long.
fn narrow(fd: RawFd) {
    let bytes = 4096;
    // SAFETY: the option is one int.
    unsafe { setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &raw const bytes, 4) };
}

/// Whether bytes wait in the connection that the other side has not confirmed.
fn has_unsent(fd: RawFd) -> bool {
    let mut bytes = 0_i32;
    // SAFETY: the call writes one int.
    unsafe { ioctl(fd, TIOCOUTQ, &raw mut bytes) == 0 && bytes > 0 }
}

extern "C" fn never_returns(_: i32) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn deaf() {
    let both = 1_u64 << (SIGTERM - 1) | 1 << (SIGINT - 1);
    // SAFETY: plain system calls; glibc's signal set is larger than the kernel's, of which these are the first bits.
    unsafe {
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        let mut set = [0_u64; 16];
        set[0] = both;
        sigprocmask(SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Another directory, umask, environment, locale, and a try at another session.
fn wander() -> Result<(), Failure> {
    std::env::set_current_dir("/")?;
    let locale = CString::new("C.UTF-8").map_err(|error| error.to_string())?;
    // SAFETY: the process has one thread.
    unsafe {
        for (name, _) in std::env::vars_os() {
            std::env::remove_var(name);
        }
        std::env::set_var("TMPDIR", "/nowhere");
        umask(0o777);
        setlocale(LC_ALL, locale.as_ptr());
        // Refused to the leader of a group.
        setsid();
    }
    Ok(())
}

/// Into the process group of the manager, so that nobody is left in its own.
fn regroup() -> Result<(), Failure> {
    let manager = i32::try_from(std::os::unix::process::parent_id())?;
    // SAFETY: plain system calls.
    match unsafe { setpgid(0, getpgid(manager)) } {
        0 => Ok(()),
        _ => Err(format!("setpgid: {}", std::io::Error::last_os_error()).into()),
    }
}

pub fn close_those(right: impl Fn(RawFd) -> bool) {
    for fd in (3..1024).filter(|fd| right(*fd)) {
        // SAFETY: none: they belong to the worker, which is the point.
        unsafe { close(fd) };
    }
}

fn shut_those(right: impl Fn(RawFd) -> bool) {
    for fd in (3..1024).filter(|fd| right(*fd)) {
        // SAFETY: none: as in `close_those`.
        unsafe { shutdown(fd, SHUT_RDWR) };
    }
}

/// Puts a file that takes nothing, or a socket that takes all and answers nothing, in their places.
fn cover_those(right: impl Fn(RawFd) -> bool, with: &str) -> Result<(), Failure> {
    let cover = match with {
        "socket" => {
            let (here, there) = UnixStream::pair()?;
            here.set_read_timeout(Some(10 * PAUSE))?;
            let _ = there.into_raw_fd();
            here.into_raw_fd()
        }
        _ => fs::File::open(with)?.into_raw_fd(),
    };
    for fd in (3..1024).filter(|fd| *fd != cover && right(*fd)) {
        // SAFETY: none: as in `close_those`.
        unsafe { dup2(cover, fd) };
    }
    Ok(())
}

/// The worker dies as soon as the job's function has returned, which its scoreboard shows, and this many milliseconds later.
fn doomed(wait: u64) -> Result<(), Failure> {
    const RUNNING: u32 = 2;
    let activity = scoreboard()?.0 + 8;
    std::thread::spawn(move || {
        // SAFETY: it stays mapped as long as the worker lives.
        while unsafe { std::ptr::with_exposed_provenance::<u32>(activity).read_volatile() } == RUNNING {}
        std::thread::sleep(Duration::from_millis(wait));
        let own = std::process::id().cast_signed();
        // SAFETY: a plain system call.
        unsafe { kill(own, SIGKILL) };
    });
    Ok(())
}

fn wake() -> Result<(), Failure> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|target| target.as_os_str() == "anon_inode:[eventfd]") {
            let number: RawFd = path.file_name().and_then(|name| name.to_str()).ok_or("a number")?.parse()?;
            // SAFETY: none: it belongs to the worker, which is the point.
            unsafe { write(number, (&raw const ONE).cast(), 8) };
        }
    }
    Ok(())
}

fn is_connection(fd: RawFd) -> bool {
    // SAFETY: it is given back at once, whatever it is.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let is_one = stream.peer_addr().is_ok();
    let _ = stream.into_raw_fd();
    is_one
}

/// Fills the page this worker shares with its manager with random bytes.
fn scribble(seed: &mut u64) -> Result<(), Failure> {
    let (start, length) = scoreboard()?;
    let words = std::ptr::with_exposed_provenance_mut::<u64>(start);
    for at in 0..length / 8 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        // SAFETY: none but that it is mapped: it belongs to the worker.
        unsafe { words.add(at).write_volatile(*seed) };
    }
    Ok(())
}

/// Writes to the scoreboard that this worker runs the job with that handle, over its first connection.
fn forge(handle: &str) -> Result<(), Failure> {
    let (start, length) = scoreboard()?;
    let bytes = std::ptr::with_exposed_provenance_mut::<u8>(start);
    let at = |place: usize, word: u32| {
        let word = word.to_ne_bytes();
        // SAFETY: as in `scribble`.
        (0..4).for_each(|n| unsafe { bytes.add(place + n).write_volatile(word[n]) });
    };
    // Its length, and then its bytes.
    at(40, u32::try_from(handle.len())?);
    let room = length - HANDLE;
    for (n, byte) in handle.bytes().enumerate().take(room) {
        // SAFETY: as in `scribble`.
        unsafe { bytes.add(HANDLE + n).write_volatile(byte) };
    }
    Ok(())
}

fn scoreboard() -> Result<(usize, usize), Failure> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    // The crash area is another mapping of the same file.
    let is_page = |line: &&str| line.contains("memfd:gm-native-scoreboard") && line.contains(" 00000000 ");
    let line = maps.lines().find(is_page).ok_or("no page")?;
    let (start, rest) = line.split_once('-').ok_or("a range")?;
    let (end, _) = rest.split_once(' ').ok_or("a range")?;
    let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16));
    let (start, end) = (start?, end?);
    Ok((start, end - start))
}
