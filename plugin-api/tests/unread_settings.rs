//! A setting that nothing reads is named, with what was probably meant.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::collections::BTreeMap;
use std::sync::Mutex;

use gm_plugin_api::__private::ObjectFunction;
use gm_plugin_api::abi::{self, Host, PluginRef, RSlice, RStr, RawContext, RawSetting, SETTINGS, level, table};
use gm_plugin_api::testing::TestObject;
use gm_plugin_api::{Context, Failure, Job, Log, function};
use serde::Deserialize;

static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

static HOST: Host = {
    extern "C" fn status(_: u64, _: u64, _: u64) -> bool {
        true
    }
    extern "C" fn bytes(_: u64, _: RSlice<'_, u8>) -> bool {
        true
    }
    extern "C" fn log(_: u64, level: u8, target: RStr<'_>, text: RStr<'_>) {
        assert_eq!((level, target.as_str()), (level::WARN, SETTINGS));
        LOGGED.lock().unwrap().push(text.to_string());
    }
    extern "C" fn stopping(_: u64) -> bool {
        false
    }
    Host { size: size_of::<Host>(), status, data: bytes, warning: bytes, log, stopping }
};

/// The warnings when `plugin`'s object is made with these settings.
fn warnings_of(plugin: PluginRef, names: &[&'static str]) -> Vec<String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    let settings: Vec<_> = names.iter().map(|name| RawSetting { name: (*name).into(), value: "1".into() }).collect();
    let raw = RawContext {
        size: size_of::<RawContext<'_>>(),
        function: "f".into(),
        settings: settings.as_slice().into(),
        host: &HOST,
    };
    let state = plugin.new()(&raw).into_result().unwrap();
    plugin.drop()(state);
    std::mem::take(&mut *LOGGED.lock().unwrap())
}

macro_rules! object {
    ($name:ident, $cx:ident => $reads:expr) => {
        struct $name;

        #[function]
        impl $name {
            fn new($cx: &Context) -> Result<Self, Failure> {
                $reads;
                Ok(Self)
            }

            fn run(&mut self, _: &Job, _: &mut Log) {}
        }
    };
}

#[derive(Deserialize)]
#[allow(dead_code)] // That they are read is what counts.
struct Settings {
    servers: String,
    #[serde(default)]
    retries: Option<u32>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Flat {
    servers: String,
    #[serde(flatten)]
    rest: BTreeMap<String, String>,
}

object!(Plain, cx => (cx.required("servers")?, cx.parse_or("retries", 3)?));
object!(Struct, cx => cx.settings::<Settings>()?);
object!(Flattened, cx => cx.settings::<Flat>()?);
object!(Map, cx => cx.settings::<BTreeMap<String, u8>>()?);
object!(Listed, cx => cx.iter().count());
object!(Nothing, cx => cx.function());

#[function]
fn without_new(_job: &Job, _log: &mut Log) {}

#[test]
fn a_setting_that_is_never_read_is_named_with_the_nearest_one_that_is() {
    let meant = "setting.retires is never read; did you mean setting.retries?";
    for (plugin, names, expected) in [
        (table::<ObjectFunction<Plain>>(), &["servers", "retires"][..], &[meant][..]),
        (table::<ObjectFunction<Struct>>(), &["servers", "retires"], &[meant]),
        (table::<ObjectFunction<Plain>>(), &["servers", "retries"], &[]),
        (table::<ObjectFunction<Struct>>(), &["servers", "retries"], &[]),
        // What was meant is there, so it is something else.
        (
            table::<ObjectFunction<Plain>>(),
            &["servers", "retries", "retires"],
            &["setting.retires is never read; remove it, or read it in new()"],
        ),
        (table::<ObjectFunction<Flattened>>(), &["servers", "retires"], &[]),
        (table::<ObjectFunction<Map>>(), &["retires"], &[]),
        (table::<ObjectFunction<Listed>>(), &["retires"], &[]),
        (
            table::<ObjectFunction<Nothing>>(),
            &["a", "b"],
            &[
                "setting.a is never read; remove it, or read it in new()",
                "setting.b is never read; remove it, or read it in new()",
            ],
        ),
    ] {
        assert_eq!(warnings_of(plugin, names), expected, "{names:?}");
    }
}

#[test]
fn a_function_without_new_has_no_settings() {
    use gm_plugin_api::__private::{About, Plain, PlainFunction, about};

    struct WithoutNew;
    impl Plain for WithoutNew {
        const ABOUT: About = about!("without_new");
        fn run(job: &Job, log: &mut Log) -> gm_plugin_api::JobResult {
            without_new(job, log);
            Ok(().into())
        }
    }
    let warnings = warnings_of(abi::table::<PlainFunction<WithoutNew>>(), &["retries"]);
    assert_eq!(warnings, ["setting.retries is never read: a function without new() has no settings"]);
}

#[test]
fn an_error_about_a_missing_setting_names_the_one_that_was_probably_meant() {
    let misspelt = [("server", "a")];
    let message = |failed: gm_plugin_api::testing::Failed| failed.message;
    assert_eq!(
        TestObject::<Plain>::new(&misspelt).map(drop).map_err(message).unwrap_err(),
        "setting.servers is missing: write `setting.servers = ...` into the section [Plain]; is setting.server misspelt?"
    );
    assert_eq!(
        TestObject::<Struct>::new(&misspelt).map(drop).map_err(message).unwrap_err(),
        "settings of the section [Struct]: setting.servers is missing; is setting.server misspelt?"
    );
}
