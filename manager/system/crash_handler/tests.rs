//! Processes that crash in every way, and what they leave.

use std::arch::asm;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::Barrier;

use super::*;
use crate::crash::snapshot::ThreadSnapshot;
use crate::system::crash_area::{self, HEADER, Piece, WORDS};
use crate::system::{fork, reexec};

const TEST: &str = "system::crash_handler::tests::every_way_to_crash";
const WORKLOAD: &[u8] = b"the workload in hand";
const WORKLOAD_MAX: usize = 8;

type Check = fn(&ThreadSnapshot);

/// What a process does, what it dies of, and what is expected of the snapshot.
const WAYS: &[(&str, c_int, Check)] = &[
    ("null", libc::SIGSEGV, |seen| {
        assert_eq!((seen.code, seen.fault_address), (1, 8));
        explains(seen);
    }),
    ("wild jump", libc::SIGSEGV, |seen| assert_eq!((seen.registers.pc(), seen.fault_address), (0, 0))),
    ("bus", libc::SIGBUS, |seen| assert_ne!(seen.fault_address, 0)),
    ("ill", libc::SIGILL, |seen| assert_eq!(seen.fault_address, seen.registers.pc())),
    ("fpe", libc::SIGFPE, |seen| assert!(!seen.was_sent())),
    ("trap", libc::SIGTRAP, |seen| assert!(!seen.was_sent())),
    ("abort", libc::SIGABRT, |seen| assert!(seen.was_sent() && seen.sender == seen.process)),
    ("sent", libc::SIGSEGV, |seen| assert!(seen.was_sent() && seen.sender == seen.process)),
    ("filtered", libc::SIGSYS, |seen| assert!(seen.was_sent())),
    ("overflow", libc::SIGSEGV, |seen| overflows(seen)),
    ("overflow by a large frame", libc::SIGSEGV, |seen| {
        overflows(seen);
        assert!(seen.stack.as_ref().unwrap().start > seen.registers.sp());
    }),
    ("thread", libc::SIGSEGV, |seen| {
        assert!(!seen.is_main_thread());
        assert_eq!(seen.thread_name, "the culprit");
    }),
    ("thread without alternate stack", libc::SIGSEGV, |seen| assert!(!seen.is_main_thread())),
    ("two threads", libc::SIGSEGV, |seen| explains(seen)),
    ("lost stack", libc::SIGSEGV, |seen| {
        assert_eq!((seen.registers.sp(), &seen.stack), (64, &None));
        assert!(seen.mappings.is_some() && seen.workload.is_some());
    }),
    ("closed descriptors", libc::SIGSEGV, |seen| explains(seen)),
    ("no descriptor left", libc::SIGSEGV, |seen| explains(seen)),
    ("scribbled area", libc::SIGSEGV, |seen| explains(seen)),
    ("many mappings", libc::SIGSEGV, |seen| explains(seen)),
    ("constructor with a handler", libc::SIGSEGV, |seen| explains(seen)),
    ("workload is gone", libc::SIGSEGV, |seen| {
        let workload = seen.workload.as_ref().unwrap();
        assert_eq!((workload.bytes.len(), workload.size), (0, PAGE as u64));
    }),
];

/// What ends without a snapshot of the process, and how.
const SILENT: &[(&str, Result<i32, c_int>)] = &[
    ("forked child", Ok(3)),
    ("forked child without handlers", Ok(3)),
    ("own handler", Ok(7)),
    ("killed", Err(libc::SIGKILL)),
    ("crash in the handler", Err(libc::SIGSEGV)),
    ("overflow of a thread without alternate stack", Err(libc::SIGSEGV)),
];

#[test]
fn every_way_to_crash() {
    if let Some(way) = std::env::var_os("GM_CRASH") {
        let area = File::options().read(true).write(true).open(std::env::var_os("GM_AREA").unwrap()).unwrap();
        prepare(area.into());
        return crash(way.to_str().unwrap());
    }
    for (way, signal, check) in WAYS {
        let (end, snapshot) = run(way);
        assert_eq!(end, Err(*signal), "{way}");
        let snapshot = snapshot.unwrap_or_else(|| panic!("{way}: no snapshot"));
        assert_eq!((snapshot.cause, snapshot.signal, snapshot.job), (Cause::Crash, *signal, 5), "{way}");
        if !["workload is gone", "thread"].contains(way) {
            let workload = snapshot.workload.as_ref().unwrap();
            assert_eq!((workload.bytes.as_slice(), workload.size), (&WORKLOAD[..WORKLOAD_MAX], 20), "{way}");
        }
        println!("{way}");
        check(&snapshot);
    }
    for (way, expected) in SILENT {
        let (end, snapshot) = run(way);
        assert_eq!((end, snapshot), (*expected, None), "{way}");
    }
}

fn overflows(seen: &ThreadSnapshot) {
    assert!(seen.fault_address.abs_diff(seen.registers.sp()) < 1 << 16);
    assert!(seen.stack.as_ref().unwrap().bytes.len() == 1 << 16);
}

/// Whether stack and mappings are there, and the pc lies in a mapping of this program.
fn explains(seen: &ThreadSnapshot) {
    let stack = seen.stack.as_ref().unwrap();
    assert!(stack.start == seen.registers.sp() && stack.bytes.len() > 256, "{}", stack.bytes.len());
    let own = std::env::current_exe().unwrap();
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
    };
    let pc = seen.registers.pc();
    let mappings = seen.mappings.as_ref().unwrap();
    let line = mappings.lines().find(|line| range(line).is_some_and(|range| range.contains(&pc)));
    assert!(
        line.is_some_and(|line| line.contains("r-x") && line.ends_with(own.to_str().unwrap())),
        "{pc:x} {mappings}"
    );
    assert!(mappings.ends_with('\n'));
}

/// Has a process do it.
fn run(way: &str) -> (Result<i32, c_int>, Option<ThreadSnapshot>) {
    let area = tempfile::NamedTempFile::new().unwrap();
    area.as_file().set_len(crash_area::size(WORKLOAD_MAX).unwrap() as u64).unwrap();
    let output = reexec::child(TEST).env("GM_CRASH", way).env("GM_AREA", area.path()).output().unwrap();
    std::io::stderr().write_all(&output.stderr).unwrap();
    let end = output.status.signal().map_or_else(|| Ok(output.status.code().unwrap()), Err);
    (end, ThreadSnapshot::read(area.as_file()).unwrap())
}

fn prepare(area: OwnedFd) {
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
    // One that hangs is killed.
    stop_signal::kill_after(Duration::from_secs(60));
    fork::watch(|| {}).unwrap();
    install(CrashArea::map(&area, 0, WORKLOAD_MAX).unwrap()).unwrap();
    job_begins(5, WORKLOAD);
}

#[inline(never)]
fn crash_at_null() {
    // SAFETY: none: it ends the process.
    unsafe { std::ptr::without_provenance_mut::<u64>(std::hint::black_box(8)).write_volatile(1) };
}

fn crash(way: &str) {
    match way {
        "null" => crash_at_null(),
        // SAFETY: none: it ends the process.
        "wild jump" => unsafe {
            asm!("call {}", in(reg) std::hint::black_box(0_u64));
        },
        "bus" => read_behind_the_end(),
        // SAFETY: none: it ends the process.
        "ill" => unsafe { asm!("ud2") },
        // SAFETY: none: it ends the process.
        "fpe" => unsafe { asm!("div {0:e}", in(reg) std::hint::black_box(0_u32), out("eax") _, out("edx") _) },
        // SAFETY: none: it ends the process.
        "trap" => unsafe { asm!("int3") },
        "abort" => std::process::abort(),
        "sent" => send(libc::SIGSEGV),
        "filtered" => send(libc::SIGSYS),
        "killed" => send(libc::SIGKILL),
        "overflow" => drop(overflow(0)),
        "overflow by a large frame" => drop(large_frame(0)),
        "thread" => {
            let thread = std::thread::Builder::new().name("the culprit".into());
            drop(thread.spawn(crash_at_null).unwrap().join());
        }
        "thread without alternate stack" => join(on_thread_crash),
        "overflow of a thread without alternate stack" => join(on_thread_overflow),
        "two threads" => two_threads(),
        // SAFETY: none: it ends the process.
        "lost stack" => unsafe { asm!("mov rsp, 64", "push rax", options(noreturn)) },
        "closed descriptors" => {
            // SAFETY: none: nothing of this process needs them any more.
            unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
            crash_at_null();
        }
        "no descriptor left" => {
            while File::open("/dev/null").map(std::mem::forget).is_ok() {}
            crash_at_null();
        }
        "scribbled area" => {
            let area = AREA.get().unwrap();
            (0..WORDS).for_each(|word| {
                // SAFETY: the area is mapped.
                unsafe { area.piece(Piece::Stack).sub(HEADER).cast::<u64>().add(word).write_volatile(u64::MAX / 3) };
            });
            crash_at_null();
        }
        "many mappings" => {
            for number in 0..20_000 {
                let protection = if number % 2 == 0 { ProtFlags::PROT_READ } else { ProtFlags::PROT_NONE };
                let page = NonZeroUsize::new(PAGE).unwrap();
                // SAFETY: a fresh mapping.
                unsafe { mmap_anonymous(None, page, protection, MapFlags::MAP_PRIVATE).unwrap() };
            }
            crash_at_null();
        }
        "constructor with a handler" => {
            let before = Dispositions::current();
            set_own_handler();
            before.restore();
            crash_at_null();
        }
        "workload is gone" => {
            let page = NonZeroUsize::new(PAGE).unwrap();
            // SAFETY: a fresh mapping, which nothing uses once it is unmapped.
            unsafe {
                let start = mmap_anonymous(None, page, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE).unwrap();
                job_begins(5, std::slice::from_raw_parts(start.as_ptr().cast(), PAGE));
                nix::sys::mman::munmap(start, PAGE).unwrap();
            }
            crash_at_null();
        }
        // SAFETY: the child only crashes.
        "forked child" => wait_for_crash(unsafe { libc::fork() }),
        "forked child without handlers" => {
            // SAFETY: as above; the arguments are those of a fork.
            wait_for_crash(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32);
        }
        "own handler" => {
            set_own_handler();
            crash_at_null();
        }
        "crash in the handler" => {
            let area = AREA.get().unwrap();
            // SAFETY: none: the handler writes there, which ends the process.
            unsafe { libc::munmap(area.piece(Piece::Stack).sub(HEADER).cast(), crash_area::size(0).unwrap()) };
            crash_at_null();
        }
        other => panic!("{other}"),
    }
}

fn send(signal: c_int) {
    // SAFETY: a plain system call.
    unsafe { libc::kill(libc::getpid(), signal) };
}

fn read_behind_the_end() {
    let file = tempfile::tempfile().unwrap();
    let page = NonZeroUsize::new(PAGE).unwrap();
    // SAFETY: none: reading it ends the process.
    unsafe {
        let start = nix::sys::mman::mmap(None, page, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &file, 0).unwrap();
        start.cast::<u8>().as_ptr().read_volatile();
    }
}

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + frame[7] }
}

#[inline(never)]
fn large_frame(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 1 << 15]);
    if depth == u64::MAX { 0 } else { large_frame(depth + 1) + frame[7] }
}

extern "C" fn on_thread_crash(_: *mut c_void) -> *mut c_void {
    crash_at_null();
    std::ptr::null_mut()
}

extern "C" fn on_thread_overflow(_: *mut c_void) -> *mut c_void {
    overflow(0);
    std::ptr::null_mut()
}

/// Runs a thread that std knows nothing of, as those of a plugin.
fn join(run: extern "C" fn(*mut c_void) -> *mut c_void) {
    // SAFETY: the function takes no argument.
    unsafe {
        let mut thread = std::mem::zeroed();
        libc::pthread_create(&raw mut thread, std::ptr::null(), run, std::ptr::null_mut());
        libc::pthread_join(thread, std::ptr::null_mut());
    }
}

fn two_threads() {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                crash_at_null();
            });
        }
    });
}

fn set_own_handler() {
    extern "C" fn exit(_: c_int) {
        // SAFETY: it ends the process.
        unsafe { libc::_exit(7) }
    }
    // SAFETY: the handler only exits.
    unsafe { libc::signal(libc::SIGSEGV, exit as *const () as usize) };
}

/// In the child, crashes; in the parent, exits with 3 if the child did.
fn wait_for_crash(child: i32) {
    if child == 0 {
        crash_at_null();
    }
    let mut status = 0;
    // SAFETY: a plain system call on a live value.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(libc::WTERMSIG(status), libc::SIGSEGV);
    std::process::exit(3);
}
