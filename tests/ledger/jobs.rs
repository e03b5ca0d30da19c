//! Which jobs there are: everything about job N follows from the seed and N.

use std::hash::{DefaultHasher, Hasher};

use fastrand::Rng;

use crate::history::{Answer, Expected, shown};

/// The functions of the test's library.
pub const FUNCTIONS: [&str; 3] = ["orders", "mails", "images"];

/// A job to submit.
pub struct Job {
    /// Its number.
    pub number: u64,
    /// One of [`FUNCTIONS`].
    pub function: &'static str,
    /// What it is given.
    pub workload: Vec<u8>,
    /// By how much its result is longer than usual.
    pub room: usize,
    /// How it should end.
    pub expected: Expected,
    /// Whether nobody waits for its result.
    pub background: bool,
    /// Which server has it first.
    pub server: usize,
}

/// A step of the library, how it ends, and how often it comes in 1,000 jobs.
const STEPS: [(u32, Expected, &str); 17] = [
    (720, Expected::Done, "take"),
    (60, Expected::Done, "size"),
    (40, Expected::Done, "print"),
    (40, Expected::Done, "log"),
    (30, Expected::Done, "data"),
    (20, Expected::Done, "fork"),
    (10, Expected::Done, "leak"),
    (10, Expected::Done, "once crash"),
    (5, Expected::Done, "once exit"),
    (5, Expected::Done, "once closefds"),
    (25, Expected::Fails, "fail"),
    (25, Expected::Fails, "panic"),
    (5, Expected::Dies, "crash"),
    (3, Expected::Dies, "segv"),
    (2, Expected::Dies, "overflow"),
    (2, Expected::Dies, "exit"),
    (2, Expected::Dies, "hang"),
];

impl Job {
    /// Job `number` of the run with this seed, for one of so many servers.
    pub fn new(seed: u64, number: u64, servers: usize) -> Self {
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let function = FUNCTIONS[[0, 0, 0, 1, 1, 2][rng.usize(..6)]];
        let (expected, verb) = step(&mut rng);
        let room = if verb == "size" { 1 << rng.u32(4..22) } else { 0 };
        let argument = match verb {
            "take" => rng.u32(..3000).to_string(),
            "size" => room.to_string(),
            "print" | "log" => rng.u32(1..200).to_string(),
            "data" => rng.u32(1..20).to_string(),
            "leak" => "1".into(),
            _ => String::new(),
        };
        let mut workload = format!("{verb} {argument}").trim_end().to_owned().into_bytes();
        workload.push(b'\n');
        workload.resize(workload.len() + padding(&mut rng), b'w');
        let (background, server) = (rng.u32(..10) == 0, rng.usize(..servers));
        Self { number, function, workload, room, expected, background, server }
    }

    /// What a result of the submission `sub` is worth.
    pub fn answer(&self, sub: &str, result: &[u8]) -> Answer {
        if self.is_result(sub, result) { Answer::Right } else { Answer::Wrong(shown(result)) }
    }

    fn is_result(&self, sub: &str, result: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.workload);
        let head = format!("{sub} {:016x}\n", hasher.finish());
        let room = result.strip_prefix(head.as_bytes());
        room.is_some_and(|room| room.len() == self.room && room.iter().all(|byte| *byte == b'.'))
    }
}

fn step(rng: &mut Rng) -> (Expected, &'static str) {
    let mut drawn = rng.u32(..STEPS.iter().map(|(weight, ..)| weight).sum::<u32>());
    for (weight, expected, verb) in STEPS {
        if drawn < weight {
            return (expected, verb);
        }
        drawn -= weight;
    }
    (Expected::Done, "take 0")
}

/// Mostly nothing; 1 to 50 MB once in a while.
fn padding(rng: &mut Rng) -> usize {
    match rng.u32(..1000) {
        0 => rng.usize(20_000_000..50_000_000),
        1..=4 => rng.usize(1_000_000..5_000_000),
        5..=100 => rng.usize(1000..100_000),
        _ => 0,
    }
}

#[test]
fn a_job_follows_from_seed_and_number() {
    for number in 0..300 {
        let [one, same] = [0, 0].map(|_| Job::new(7, number, 3));
        assert!(one.workload == same.workload && one.function == same.function && one.server == same.server);
    }
    let fingerprint = |seed: u64| (0..50).map(|number| Job::new(seed, number, 3).workload.len()).collect::<Vec<_>>();
    assert_ne!(fingerprint(1), fingerprint(2));
}
