//! Which workers there are, as the job server sees them.

use std::fs;

use crate::subject::{Fixture, ask, background, ours, put, wait_done, wait_shown};
use crate::support::gearmand::Gearmand;

/// The ini and what `gearadmin --workers` has to show for the functions one, two and three.
const PLANS: &[(&str, &str)] = &[
    ("", "1 one, 1 two, 1 three"),
    ("count = 2", "2 one two three"),
    ("dedicated_count = 2", "2 one, 2 two, 2 three"),
    ("count = 2\ndedicated_count = 1", "2 one two three, 1 one, 1 two, 1 three"),
    // A function's count below and above the global one.
    ("count = 2\n[one]\ncount = 1", "2 one two three"),
    ("count = 2\n[one]\ncount = 4", "2 one two three, 2 one"),
    ("[one]\ncount = 3", "3 one, 1 two, 1 three"),
    ("count = 1\ndedicated_count = 1\n[two]\ndedicated_count = 3", "1 one two three, 1 one, 3 two, 1 three"),
    ("count = 1\n[two]\ncount = 4\ndedicated_count = 1", "1 one two three, 3 two"),
    ("count = 2\n[one]\ndedicated_only = 1\ndedicated_count = 3", "2 two three, 3 one"),
    // 0 is unset.
    ("count = 1\ndedicated_count = 2\n[one]\ndedicated_count = 0\ncount = 0", "1 one two three, 2 one, 2 two, 2 three"),
    ("count = 1\ninclude = one,two", "1 one two"),
    ("count = 1\nexclude = three", "1 one two"),
    ("include = one,two\nexclude = two", "1 one"),
    ("count = 1\ninclude = *\n[missing]\ncount = 5", "1 one two three"),
    ("count = 1\n[one]\npriority = 99\n[two]\npriority = -99", "1 one two three"),
];

fn each(rows: &[(&str, &str)]) {
    for (ini, plan) in rows {
        let gearmand = Gearmand::start();
        let _subject = Fixture::new(&gearmand.server(), "one two three", ini).start();
        eprintln!("{ini}");
        wait_shown(&gearmand, plan);
    }
}

#[test]
fn the_first_half_of_the_table() {
    each(&PLANS[..PLANS.len() / 2]);
}

#[test]
fn the_second_half_of_the_table() {
    each(&PLANS[PLANS.len() / 2..]);
}

/// The worked example of the documentation: 21 workers.
#[test]
fn the_worked_example() {
    let ini = "count = 10\ndedicated_count = 1\n[reverse_string]\ncount = 3\n\
               [Sum]\ndedicated_count = 5\ndedicated_only = 1\n[fetch_url]\ncount = 15";
    let gearmand = Gearmand::start();
    let _subject = Fixture::new(&gearmand.server(), "reverse_string fetch_url Sum", ini).start();
    wait_shown(&gearmand, "10 reverse_string fetch_url, 5 Sum, 5 fetch_url, 1 reverse_string");
}

/// `-D` beats `count`.
#[test]
fn workers_for_everything_by_option() {
    let gearmand = Gearmand::start();
    let _subject = Fixture::new(&gearmand.server(), "one two", "count = 1").args(&["-D", "3"]).start();
    wait_shown(&gearmand, "3 one two");
}

/// `-h` beats `host`, and takes a list; `-w` beats `worker_dir`, and takes a list too.
#[test]
fn hosts_and_directories_by_option() {
    let (first, second, unused) = (Gearmand::start(), Gearmand::start(), Gearmand::start());
    let fixture = Fixture::new(&unused.server(), "one", "count = 2");
    let (more, hosts) = (fixture.path("more"), format!("{},{}", first.server(), second.server()));
    fs::create_dir(&more).unwrap();
    put(more.as_ref(), "two", "two");
    let dirs = format!("{},{more}", fixture.path("workers"));
    let _subject = fixture.args(&["-h", &hosts, "-w", &dirs]).start();
    for gearmand in [&first, &second] {
        wait_shown(gearmand, "2 one two");
    }
    assert_eq!(unused.status("one"), None);
}

/// `host` in an ini, as a list of either kind.
#[test]
fn hosts_in_the_ini() {
    let (first, second) = (Gearmand::start(), Gearmand::start());
    let hosts = format!("{},{}", first.server(), second.server());
    let _comma = Fixture::new(&hosts, "one", "").start();
    let (third, fourth) = (Gearmand::start(), Gearmand::start());
    let fixture = Fixture::new("127.0.0.1", "two", "");
    let ini = fs::read_to_string(fixture.path("gm.ini")).unwrap();
    let list = format!("host[] = {}\nhost[] = {}", third.server(), fourth.server());
    fs::write(fixture.path("gm.ini"), ini.replace("host = 127.0.0.1", &list)).unwrap();
    let _repeated = fixture.start();
    for gearmand in [&first, &second] {
        wait_shown(gearmand, "1 one");
    }
    for gearmand in [&third, &fourth] {
        wait_shown(gearmand, "1 two");
    }
    background(&second, "one", "say x");
    wait_done(&second, "one");
}

/// `-p`: the code's names have the prefix, the function registered has not.
#[test]
fn a_prefix() {
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "", "").args(&["-p", "pre_"]);
    put(fixture.path("workers").as_ref(), "one", "pre_one");
    let _subject = fixture.start();
    wait_shown(&gearmand, "1 one");
    assert_eq!(ask(&gearmand, "one", "say prefixed"), "prefixed");
}

/// A single worker serves what is queued by priority, highest first, on job servers that allow it.
#[test]
fn priorities_decide_what_is_served_first() {
    let gearmand = Gearmand::start();
    // three has none and is between the two.
    let ini = "count = 1\n[one]\npriority = -3\n[two]\npriority = 4";
    let fixture = Fixture::new(&gearmand.server(), "one two three", ini);
    let note = fixture.path("order");
    for _ in 0..3 {
        for function in ["one", "three", "two"] {
            background(&gearmand, function, &format!("note {note}"));
        }
    }
    let subject = fixture.start();
    let order = subject.wait_notes("order", 9);
    let served: Vec<&str> = order.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let mut wanted = ["two"; 9];
    wanted[3..6].fill("three");
    wanted[6..].fill("one");
    assert_eq!(served, wanted);
}

/// Functions of equal priority are in another order in each worker. Here: of twelve workers, not all serve the same
/// one first.
#[test]
fn equal_priorities_are_shuffled() {
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "one two three", "count = 12");
    let (note, go) = (fixture.path("first"), fixture.path("go"));
    for function in ["one", "two", "three"] {
        for _ in 0..12 {
            background(&gearmand, function, &format!("note {note}\nwait {go}"));
        }
    }
    let subject = fixture.start();
    let first = subject.wait_notes("first", 12);
    let mut functions: Vec<&str> = first.iter().map(|line| line.split(' ').next().unwrap()).collect();
    functions.sort_unstable();
    functions.dedup();
    assert!(functions.len() > 1, "all serve {functions:?} first");
    fs::write(go, "").unwrap();
}

/// no-file-for-a-section: a section without a file starts no worker on either; ours warns.
#[test]
fn a_section_without_a_file() {
    let gearmand = Gearmand::start();
    let subject = Fixture::new(&gearmand.server(), "one", "[missing]\ncount = 2").start();
    wait_shown(&gearmand, "1 one");
    if ours() {
        assert!(subject.log().contains("missing is named by section [missing], but"), "{}", subject.log());
    }
}
