//! Settings of a function, one by one and as a struct.
#![forbid(unsafe_code)]

use gm_plugin_api::testing::TestObject;
use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};
use serde::Deserialize;

/// Reads its settings one by one.
struct OneByOne(String);

#[function]
impl OneByOne {
    fn new(cx: &Context) -> Result<Self, Failure> {
        let name = cx.required("name")?;
        let port: u16 = cx.parse("port")?;
        let ratio: f64 = cx.parse_or("ratio", 0.5)?;
        Ok(Self(format!("{name} {port} {ratio} {:?} {cx:?}", cx.setting("none"))))
    }

    fn run(&mut self, _: &Job, _: &mut Log) -> JobResult {
        Ok(self.0.as_str().into())
    }
}

#[test]
fn one_by_one() {
    let made = |settings: &[(&str, &str)]| {
        TestObject::<OneByOne>::new(settings).map(|mut made| made.run("").text().to_owned())
    };
    let shown = "a 80 0.5 None Context { function: \"OneByOne\", settings: [\"name\", \"port\"] }";
    assert_eq!(made(&[("name", "a"), ("port", "80")]).unwrap(), shown);
    for (settings, message) in [
        (&[][..], "setting.name is missing: write `setting.name = ...` into the section [OneByOne]"),
        (&[("name", "a")], "setting.port is missing: write `setting.port = ...` into the section [OneByOne]"),
        (&[("name", "a"), ("port", "secret")], "setting.port of the section [OneByOne]: invalid digit found in string"),
        (
            &[("name", "a"), ("port", "1"), ("ratio", "")],
            "setting.ratio of the section [OneByOne]: cannot parse float from empty string",
        ),
    ] {
        assert_eq!(made(settings).unwrap_err().message, message);
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Fast,
    VerySlow,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Meters(u8);

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Settings {
    name: String,
    count: Option<i32>,
    #[serde(default)]
    verbose: bool,
    mode: Option<Mode>,
    #[serde(default)]
    ports: Vec<u16>,
    height: Option<Meters>,
    weight: Option<f32>,
}

struct AsStruct(Settings);

#[function]
impl AsStruct {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self(cx.settings()?))
    }

    fn run(&mut self, _: &Job, _: &mut Log) -> JobResult {
        Ok(format!("{:?}", self.0).into())
    }
}

#[test]
fn as_a_struct() {
    let shown = |settings: &[(&str, &str)]| {
        TestObject::<AsStruct>::new(settings).map(|mut made| made.run("").text().to_owned())
    };
    let expected = |settings: Settings| format!("{settings:?}");
    let least = Settings {
        name: "a".into(),
        count: None,
        verbose: false,
        mode: None,
        ports: vec![],
        height: None,
        weight: None,
    };
    assert_eq!(shown(&[("name", "a")]).unwrap(), expected(least));
    let most = Settings {
        name: "12".into(),
        count: Some(-3),
        verbose: true,
        mode: Some(Mode::VerySlow),
        ports: vec![1, 2],
        height: Some(Meters(7)),
        weight: Some(1.5),
    };
    let settings = [
        ("name", "12"),
        ("count", "-3"),
        ("verbose", "On"),
        ("mode", "very-slow"),
        ("ports", "1, 2"),
        ("height", "7"),
        ("weight", "1.5"),
    ];
    assert_eq!(shown(&settings).unwrap(), expected(most));
}

#[test]
fn what_is_wrong_is_named() {
    for (wrong, message) in [
        (("count", "many"), "setting.count of the section [AsStruct]: invalid digit found in string"),
        (("verbose", "maybe"), "setting.verbose of the section [AsStruct]: neither yes nor no"),
        (
            ("mode", "slow"),
            "setting.mode of the section [AsStruct]: unknown variant `slow`, expected `fast` or `very-slow`",
        ),
        (("ports", "1,x"), "setting.ports of the section [AsStruct]: invalid digit found in string"),
        (("height", "300"), "setting.height of the section [AsStruct]: number too large to fit in target type"),
        (
            ("nmae", "a"),
            "settings of the section [AsStruct]: setting.nmae is not known; there are: name, count, verbose, mode, \
             ports, height, weight",
        ),
    ] {
        let failed = TestObject::<AsStruct>::new(&[("name", "a"), wrong]).unwrap_err();
        assert_eq!(failed.message, message);
    }
    let failed = TestObject::<AsStruct>::new(&[]).unwrap_err();
    assert_eq!(failed.message, "settings of the section [AsStruct]: setting.name is missing");
}
