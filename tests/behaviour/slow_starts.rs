//! P10: many functions in one worker, each of which takes its time to start.

use crate::fixture::{of, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;

const SLOW: [&str; 4] = ["slow_a", "slow_b", "slow_c", "slow_d"];

/// Objects that are made in half a second each, or never.
fn source() -> String {
    let mut source = String::from("use gm_plugin_api::{Context, Failure, Job, Log, function};\n");
    for name in SLOW.into_iter().chain(["slow_e"]) {
        source += &format!(
            "struct {kind};\n\
             #[function(name = \"{name}\")]\n\
             impl {kind} {{\n\
             fn new(cx: &Context) -> Result<Self, Failure> {{\n\
             let hangs = cx.setting(\"how\") == Some(\"hang\");\n\
             std::thread::sleep(std::time::Duration::from_millis(if hangs {{ 3_600_000 }} else {{ 500 }}));\n\
             Ok(Self)\n}}\n\
             fn run(&mut self, _: &Job, _: &mut Log) -> &'static str {{ \"made\" }}\n}}\n",
            kind = name.replace("slow_", "Slow").to_uppercase(),
        );
    }
    source
}

/// Together they take longer than one may.
fn manager(gearmand: &Gearmand, functions: &[&str], ini: &str) -> Manager {
    let library = plugins::rust("slow_starts", &source());
    let plugin = |setup: Setup, name: &&str| setup.plugin(name, &library);
    let setup = functions.iter().fold(Setup::new(&[&gearmand.server()]), plugin);
    setup.ini(&format!("count = 1\ndedicated_count = 0\nstart_timeout = 1.5\n{ini}")).start()
}

fn count(manager: &Manager, event: &str) -> usize {
    manager.events().iter().filter(|found| found["event"] == event).count()
}

/// All serve in one worker, and it was not killed on the way.
#[test]
fn together_they_may_take_longer_than_start_timeout() {
    let gearmand = Gearmand::start();
    let manager = manager(&gearmand, &SLOW, "");
    let serving = manager.wait_event("worker_serving", |event| event["functions"].as_array().unwrap().len() == 4);
    assert!(serving["seconds"].as_f64() > Some(1.9), "{serving}");
    SLOW.iter().for_each(|name| wait_serving(&manager, name));
    assert_eq!((count(&manager, "worker_killed"), count(&manager, "function_isolated")), (0, 0), "{}", manager.log());
}

/// It is found all the same, and no other function is taken for it.
#[test]
fn one_that_hangs_among_them_is_the_only_one_isolated() {
    let gearmand = Gearmand::start();
    let mut functions = SLOW.to_vec();
    functions.push("slow_e");
    let manager = manager(&gearmand, &functions, "[slow_c]\nsetting.how = hang\n");
    let others = ["slow_a", "slow_b", "slow_d", "slow_e"];
    others.iter().for_each(|name| wait_serving(&manager, name));
    manager.wait_status("slow_c to be shown as what hangs", |status| {
        let note = of(status, "functions", "name", "slow_c")?["note"].as_str()?.to_owned();
        note.contains("not ready within start_timeout, but still in its new()").then_some(())
    });
    let status = manager.status();
    let together =
        status["workers"].as_array().unwrap().iter().any(|worker| worker["functions"].as_array().unwrap().len() == 4);
    assert!(together, "{status}");
    for name in others {
        assert_eq!(of(&status, "functions", "name", name).unwrap()["note"].as_str(), None, "{status}");
    }
}
