//! Steps that crash the worker they run in.

use std::arch::asm;
use std::ffi::{c_char, c_void};
use std::fs::File;
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::Barrier;

use gm_plugin_api::Failure;

const SIGSEGV: i32 = 11;
const SIGSYS: i32 = 31;
const RLIMIT_CORE: i32 = 4;
const PROT_READ: i32 = 1;
const MAP_SHARED: i32 = 1;

unsafe extern "C" {
    fn raise(number: i32) -> i32;
    fn signal(number: i32, handler: usize) -> usize;
    fn strlen(text: *const c_char) -> usize;
    fn free(block: *mut c_void);
    fn fork() -> i32;
    fn getrlimit(which: i32, limits: *mut u64) -> i32;
    fn setrlimit(which: i32, limits: *const u64) -> i32;
    fn waitpid(child: i32, status: *mut i32, options: i32) -> i32;
    fn close_range(first: u32, last: u32, flags: u32) -> i32;
    fn mmap(at: *mut c_void, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut c_void;
    fn pthread_create(
        thread: *mut usize,
        attributes: *const c_void,
        run: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> i32;
    fn pthread_join(thread: usize, result: *mut *mut c_void) -> i32;
}

/// The process ends so; nothing where there is no such way.
pub fn crash(how: &str) -> Result<(), Failure> {
    match how {
        "null" => write_to_null(),
        // SAFETY: none, as in all of this file: it ends the process.
        "jump" => unsafe { asm!("call {}", in(reg) black_box(0_usize)) },
        "bus" => read_behind_the_end()?,
        // SAFETY: none.
        #[cfg(target_arch = "x86_64")]
        "ill" => unsafe { asm!("ud2") },
        // SAFETY: none.
        #[cfg(target_arch = "x86_64")]
        "fpe" => unsafe { asm!("div {0:e}", in(reg) black_box(0_u32), out("eax") _, out("edx") _) },
        // SAFETY: none.
        #[cfg(target_arch = "x86_64")]
        "trap" => unsafe { asm!("int3") },
        "sys" => drop(unsafe_raise(SIGSYS)),
        "abort" => std::process::abort(),
        "overflow" => drop(black_box(overflow(0))),
        // SAFETY: none.
        "libc" => drop(black_box(unsafe { strlen(black_box(std::ptr::without_provenance(8))) })),
        "free" => {
            let block = black_box(Box::leak(Box::new([0_u64; 8])));
            // SAFETY: none: glibc's own check finds it.
            unsafe { free((&raw mut block[1]).cast()) };
        }
        "thread" => drop(std::thread::spawn(write_to_null).join()),
        "threads" => two_threads(),
        "foreign" => join(on_thread_crash),
        "deepforeign" => join(on_thread_overflow),
        // SAFETY: none.
        #[cfg(target_arch = "x86_64")]
        "lost" => unsafe { asm!("mov rsp, 64", "push rax", options(noreturn)) },
        "closed" => {
            // SAFETY: none.
            unsafe { close_range(0, u32::MAX, 0) };
            write_to_null();
        }
        "nofiles" => {
            while File::open("/dev/null").map(std::mem::forget).is_ok() {}
            write_to_null();
        }
        "own" => {
            set_own_handler();
            write_to_null();
        }
        other => return Err(format!("no such crash: {other}").into()),
    }
    Ok(())
}

/// Core dumps of any size go to this directory; an error where this process may write none.
pub fn allow_core_dumps(directory: &str) -> Result<(), Failure> {
    let mut limits = [0_u64; 2];
    // SAFETY: the kernel reads and writes two words.
    let set = unsafe {
        getrlimit(RLIMIT_CORE, limits.as_mut_ptr());
        limits[0] = limits[1];
        setrlimit(RLIMIT_CORE, limits.as_ptr())
    };
    std::env::set_current_dir(directory)?;
    if set == 0 && limits[1] > 0 { Ok(()) } else { Err("no core dumps are allowed".into()) }
}

/// Has a forked child crash, and waits for it.
pub fn child_crashes() -> Vec<u8> {
    // SAFETY: the child does nothing but crash.
    let child = unsafe { fork() };
    if child == 0 {
        write_to_null();
    }
    let mut status = 0;
    // SAFETY: a live value.
    unsafe { waitpid(child, &raw mut status, 0) };
    (status & 0x7f).to_string().into()
}

#[inline(never)]
pub fn write_to_null() {
    // SAFETY: none: nothing is mapped there.
    unsafe { black_box(std::ptr::without_provenance_mut::<u8>(16)).write_volatile(1) };
}

fn unsafe_raise(number: i32) -> i32 {
    // SAFETY: it sends a signal.
    unsafe { raise(number) }
}

fn read_behind_the_end() -> Result<(), Failure> {
    let path = std::env::temp_dir().join(format!("gm-native-empty-{}", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    std::fs::remove_file(&path)?;
    // SAFETY: none: the file is empty.
    unsafe {
        let page = mmap(std::ptr::null_mut(), 4096, PROT_READ, MAP_SHARED, file.as_raw_fd(), 0);
        page.cast::<u8>().read_volatile();
    }
    Ok(())
}

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + frame[7] }
}

extern "C" fn on_thread_crash(_: *mut c_void) -> *mut c_void {
    write_to_null();
    std::ptr::null_mut()
}

extern "C" fn on_thread_overflow(_: *mut c_void) -> *mut c_void {
    black_box(overflow(0));
    std::ptr::null_mut()
}

/// A thread that std knows nothing of.
fn join(run: extern "C" fn(*mut c_void) -> *mut c_void) {
    let mut thread = 0;
    // SAFETY: the function takes no argument.
    unsafe {
        pthread_create(&raw mut thread, std::ptr::null(), run, std::ptr::null_mut());
        pthread_join(thread, std::ptr::null_mut());
    }
}

fn two_threads() {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                write_to_null();
            });
        }
    });
}

fn set_own_handler() {
    extern "C" fn exit(_: i32) {
        // SAFETY: it ends the process.
        unsafe { crate::_exit(9) }
    }
    // SAFETY: the handler only exits.
    unsafe { signal(SIGSEGV, exit as *const () as usize) };
}
