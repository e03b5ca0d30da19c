//! Numbers, durations, sizes and switches: how they are parsed and shown.
//!
//! A form parses what it shows as the same value: the dump is an ini.

use std::time::Duration;

use super::text::quoted;

/// The syntax of one kind of value.
pub(super) struct ValueForm<T: 'static> {
    /// The value of a text, or why it has none: "`"ten"` is not ...".
    pub read: fn(&str) -> Result<T, String>,
    /// The text of a value.
    pub show: fn(&T) -> String,
    /// A valid value, for the end of an error.
    pub example: &'static str,
}

/// More workers than anyone can mean; a typing error must not become a fork bomb.
const MAX_WORKERS: u64 = 100_000;

/// A number of workers; 0 means none, or unset.
pub(super) const WORKERS: ValueForm<u32> =
    ValueForm { read: |text| small(text, 0, MAX_WORKERS), show: u32::to_string, example: "10" };

/// How many of something, 0 included.
pub(super) const COUNT: ValueForm<u32> =
    ValueForm { read: |text| small(text, 0, u32::MAX.into()), show: u32::to_string, example: "100" };

/// How many of something, at least one.
pub(super) const AT_LEAST_ONE: ValueForm<u32> =
    ValueForm { read: |text| small(text, 1, u32::MAX.into()), show: u32::to_string, example: "3" };

/// Jobs a worker may hold.
pub(super) const WINDOW: ValueForm<u32> =
    ValueForm { read: |text| small(text, 1, 1024), show: u32::to_string, example: "8" };

/// How many jobs, 0 included.
pub(super) const JOBS: ValueForm<u64> =
    ValueForm { read: |text| whole(text, 0, u64::MAX), show: u64::to_string, example: "1000" };

/// A duration in seconds, 0 included.
pub(super) const SECONDS: ValueForm<Duration> =
    ValueForm { read: |text| duration(text, SECOND), show: |value| show_duration(*value, SECOND), example: "30" };

/// A duration in seconds that cannot be 0.
pub(super) const NONZERO_SECONDS: ValueForm<Duration> =
    ValueForm { read: some_duration, show: |value| show_duration(*value, SECOND), example: "30" };

/// A duration; a plain number means microseconds.
pub(super) const MICROSECONDS: ValueForm<Duration> = ValueForm {
    read: |text| duration(text, MICROSECOND),
    show: |value| show_duration(*value, MICROSECOND),
    example: "50ms",
};

/// A limit in seconds; 0 and `none` mean no limit.
pub(super) const LIMIT: ValueForm<Duration> = ValueForm {
    read: limit,
    show: |value| if value.is_zero() { NONE.into() } else { show_duration(*value, SECOND) },
    example: "30",
};

/// A size in bytes, 0 included.
pub(super) const SIZE: ValueForm<u64> =
    ValueForm { read: |text| size(text, 0, u64::MAX), show: |value| show_size(*value), example: "64K" };

/// A size in bytes that cannot be 0.
pub(super) const NONZERO_SIZE: ValueForm<u64> =
    ValueForm { read: |text| size(text, 1, u64::MAX), show: |value| show_size(*value), example: "1G" };

/// The size of a packet: Gearman's header has 32 bits for it, and a worker needs room for names and handles.
pub(super) const PACKET: ValueForm<u64> =
    ValueForm { read: |text| size(text, 4096, u32::MAX.into()), show: |value| show_size(*value), example: "256M" };

/// A limit in bytes; 0 and `none` mean no limit.
pub(super) const SIZE_LIMIT: ValueForm<u64> = ValueForm {
    read: |text| if is_unset(text) { Ok(0) } else { size(text, 0, u64::MAX) },
    show: |value| if *value == 0 { NONE.into() } else { show_size(*value) },
    example: "512M",
};

/// Yes or no.
pub(super) const SWITCH: ValueForm<bool> =
    ValueForm { read: switch, show: |value| u8::from(*value).to_string(), example: "1" };

/// `0` to `5`, or that many `v`.
pub(super) const VERBOSITY: ValueForm<u8> = ValueForm { read: verbosity, show: u8::to_string, example: "vv" };

/// Any number; one outside the range is later changed to the nearest in it, with a warning.
pub(super) const PRIORITY: ValueForm<i8> = ValueForm { read: priority, show: i8::to_string, example: "5" };

/// The word for an unset value.
pub(super) const NONE: &str = "none";

/// What PHP reads as an empty value.
pub(super) fn is_unset(text: &str) -> bool {
    text.is_empty() || number(text) == "0"
}

/// Words that PHP's ini parser reads as 1 and as empty, even for a number; so `count = on` is 1.
const WORDS: [(&[&str], &str); 2] = [(&["on", "yes", "true"], "1"), (&["off", "no", "none", "false", "null"], "0")];

/// The number a word stands for; any other text unchanged.
pub(super) fn number(text: &str) -> &str {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    WORDS.iter().find(|(words, _)| is(words)).map_or(text, |(_, number)| number)
}

fn whole(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let number = number(text).parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| match max {
        u64::MAX if min == 0 => format!("{} is not a whole number", quoted(text)),
        _ => format!("{} is not a whole number from {min} to {max}", quoted(text)),
    })
}

fn small(text: &str, min: u64, max: u64) -> Result<u32, String> {
    let number = whole(text, min, max)?;
    u32::try_from(number).map_err(|_| format!("{number} is more than {}", u32::MAX))
}

fn switch(text: &str) -> Result<bool, String> {
    match number(text).parse::<u64>() {
        // PHP takes every number but 0 as true.
        Ok(number) => Ok(number != 0),
        Err(_) if text.is_empty() => Ok(false),
        Err(_) => Err(format!("{} is neither yes nor no (on, yes, true, 1; off, no, false, 0)", quoted(text))),
    }
}

fn verbosity(text: &str) -> Result<u8, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte == b'v') {
        return Ok(u8::try_from(text.len()).unwrap_or(u8::MAX).min(5));
    }
    let level = if text.is_empty() { Some(0) } else { number(text).parse().ok().filter(|level| *level <= 5) };
    level.ok_or_else(|| format!("{} is neither a number from 0 to 5 nor v, vv, vvv, vvvv or vvvvv", quoted(text)))
}

fn priority(text: &str) -> Result<i8, String> {
    let number: i64 =
        number(text).parse().map_err(|_| format!("{} is not a whole number from -5 to 5", quoted(text)))?;
    Ok(i8::try_from(number).unwrap_or(if number < 0 { i8::MIN } else { i8::MAX }))
}

const MICROSECOND: u64 = 1;
const SECOND: u64 = 1_000_000;
/// Largest first: a duration is shown in the first unit that fits.
const DURATION_UNITS: [(&str, u64); 5] =
    [("h", 3600 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", 1000), ("us", MICROSECOND)];

/// What to write for a limit so long that it is none.
const LONG: &str = "87600h";

/// What people write for a duration that never ends.
const INFINITE_WORDS: [&str; 8] = ["-1", "inf", "infinite", "infinity", "endless", "never", "forever", "unlimited"];

/// A number with a unit, or a plain number in units of `plain` microseconds. Accepts a fraction: `1.5s`.
fn duration(text: &str, plain: u64) -> Result<Duration, String> {
    if is_endless(text) {
        return Err(format!(
            "{} is not allowed: a duration must be finite; for a long one, write {LONG}",
            quoted(text)
        ));
    }
    let text = number(text);
    let (number, unit) = split_unit(text);
    let unit = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, unit)| *unit);
    let unit = unit.or_else(|| text.ends_with(|c: char| c.is_ascii_digit()).then_some(plain));
    // A duration too long for any clock becomes the longest one.
    let micros = unit.and_then(|unit| scaled(number, unit)).map(|micros| u64::try_from(micros).unwrap_or(u64::MAX));
    micros.map(Duration::from_micros).ok_or_else(|| {
        let plain = if plain == SECOND { "seconds" } else { "microseconds" };
        format!("{} is not a duration (a number of {plain}, or one with us, ms, s, m or h)", quoted(text))
    })
}

fn is_endless(text: &str) -> bool {
    INFINITE_WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text, SECOND)? {
        Duration::ZERO => Err(format!(
            "{} is too short; it must be longer than 0 (for no limit in practice, write {LONG})",
            quoted(text)
        )),
        some => Ok(some),
    }
}

/// A limit, which may be none.
fn limit(text: &str) -> Result<Duration, String> {
    match text {
        _ if is_unset(text) => Ok(Duration::ZERO),
        _ if is_endless(text) => Err(format!("{} is not a valid value here; for no limit, write {NONE}", quoted(text))),
        _ => duration(text, SECOND),
    }
}

/// In the plain unit if that is exact, else in the largest unit that is.
fn show_duration(value: Duration, plain: u64) -> String {
    let micros = value.as_micros();
    if micros.is_multiple_of(plain.into()) {
        return (micros / u128::from(plain)).to_string();
    }
    let whole = DURATION_UNITS.iter().find(|(_, unit)| micros.is_multiple_of((*unit).into()));
    let (name, unit) = whole.unwrap_or(&("us", MICROSECOND));
    format!("{}{name}", micros / u128::from(*unit))
}

const SIZE_UNITS: [(&str, u64); 4] = [("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

fn size(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let text = number(text);
    let (number, unit) = split_unit(text);
    let unit = match SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        Some((_, unit)) => Some(*unit),
        None => unit.is_empty().then_some(1),
    };
    let bytes = unit.and_then(|unit| scaled(number, unit)).and_then(|bytes| u64::try_from(bytes).ok());
    let bytes =
        bytes.ok_or_else(|| format!("{} is not a size (bytes, or a number with K, M, G or T)", quoted(text)))?;
    match bytes {
        _ if bytes < min => Err(format!("{} is too small; the minimum is {}", quoted(text), show_size(min))),
        _ if bytes > max => Err(format!("{} is too large; the maximum is {max} bytes", quoted(text))),
        _ => Ok(bytes),
    }
}

/// In the largest unit that is exact.
fn show_size(bytes: u64) -> String {
    match SIZE_UNITS.iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Splits a number from the letters after it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len();
    let (number, unit) = text.split_at(end);
    (number.trim_end(), unit)
}

/// Digits, with an optional fraction.
fn is_decimal(number: &str) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// `number` (digits, with an optional fraction) times `unit`, in integers: rounds only down to a whole.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !is_decimal(number) || fraction.len() > 9 {
        return None;
    }
    let parts = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = fraction.parse::<u128>().ok()?.checked_mul(unit.into())? / parts;
    let whole = whole.parse::<u128>().ok()?.checked_mul(unit.into())?;
    whole.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    /// Each text parses to its value; what a value is shown as parses to it again.
    fn reads<T: Debug + PartialEq>(form: &ValueForm<T>, cases: &[(&str, T)]) {
        for (text, value) in cases {
            let read = (form.read)(text);
            assert_eq!(read.as_ref(), Ok(value), "{text}");
            assert_eq!((form.read)(&(form.show)(value)).as_ref(), Ok(value), "{text} shown");
        }
        assert!((form.read)(form.example).is_ok(), "the example {}", form.example);
    }

    fn refuses<T: Debug>(form: &ValueForm<T>, cases: &[(&str, &str)]) {
        for (text, error) in cases {
            let read = (form.read)(text);
            assert!(read.as_ref().is_err_and(|found| found.contains(error)), "{text}: {read:?}, not {error}");
        }
    }

    #[test]
    fn numbers() {
        reads(&WORKERS, &[("0", 0), ("10", 10), ("100000", 100_000)]);
        refuses(
            &WORKERS,
            &[("100001", "from 0 to 100000"), ("ten", "\"ten\" is not"), ("-1", "is not"), ("", "is not")],
        );
        reads(&WINDOW, &[("1", 1), ("1024", 1024)]);
        refuses(&WINDOW, &[("0", "from 1 to 1024")]);
        reads(&COUNT, &[("0", 0), ("4294967295", u32::MAX)]);
        refuses(&AT_LEAST_ONE, &[("0", "from 1"), ("4294967296", "to 4294967295")]);
        reads(&JOBS, &[("0", 0), ("18446744073709551615", u64::MAX)]);
        refuses(&JOBS, &[("18446744073709551616", "is not a whole number"), ("1.5", "is not a whole number")]);
    }

    #[test]
    fn switches_as_php_takes_them() {
        reads(&SWITCH, &[("on", true), ("YES", true), ("True", true), ("1", true), ("5", true)]);
        reads(&SWITCH, &[("off", false), ("No", false), ("false", false), ("0", false), ("", false), ("none", false)]);
        refuses(&SWITCH, &[("maybe", "neither yes nor no"), ("-1", "neither yes nor no")]);
    }

    /// `parse_ini_file` reads these words as 1 and as empty whatever the key.
    #[test]
    fn php_booleans_are_numbers() {
        for (words, expected) in [
            (["on", "Yes", "TRUE", "yes"], 1_u32),
            (["off", "No", "NONE", "false"], 0),
            (["null", "OFF", "nO", "False"], 0),
        ] {
            for word in words {
                let number = u64::from(expected);
                assert_eq!((WORKERS.read)(word), Ok(expected), "{word}");
                assert_eq!((COUNT.read)(word), Ok(expected), "{word}");
                assert_eq!((JOBS.read)(word), Ok(number), "{word}");
                assert_eq!((SIZE.read)(word), Ok(number), "{word}");
                assert_eq!((SIZE_LIMIT.read)(word), Ok(number), "{word}");
                assert_eq!((SECONDS.read)(word), Ok(Duration::from_secs(number)), "{word}");
                assert_eq!((LIMIT.read)(word), Ok(Duration::from_secs(number)), "{word}");
                assert_eq!((MICROSECONDS.read)(word), Ok(Duration::from_micros(number)), "{word}");
                assert_eq!((PRIORITY.read)(word).map(i64::from), Ok(i64::from(expected)), "{word}");
                assert_eq!((VERBOSITY.read)(word).map(u32::from), Ok(expected), "{word}");
            }
        }
        for one in ["on", "yes", "true"] {
            assert_eq!((AT_LEAST_ONE.read)(one), Ok(1));
            assert_eq!((WINDOW.read)(one), Ok(1));
        }
        refuses(&AT_LEAST_ONE, &[("off", "\"off\" is not a whole number from 1")]);
        refuses(&WORKERS, &[("onn", "\"onn\" is not"), ("o n", "is not")]);
    }

    #[test]
    fn levels() {
        reads(&VERBOSITY, &[("0", 0), ("5", 5), ("v", 1), ("vvvvv", 5), ("vvvvvv", 5), ("off", 0), ("", 0)]);
        refuses(&VERBOSITY, &[("6", "neither"), ("vx", "neither"), ("-1", "neither")]);
        reads(&PRIORITY, &[("-5", -5), ("5", 5), ("0", 0), ("1000", 127), ("-1000", -128)]);
        refuses(&PRIORITY, &[("high", "from -5 to 5")]);
    }

    #[test]
    fn durations() {
        let millis = Duration::from_millis;
        reads(
            &SECONDS,
            &[
                ("0", millis(0)),
                ("30", millis(30_000)),
                ("0.25", millis(250)),
                ("250ms", millis(250)),
                ("250 ms", millis(250)),
                ("5s", millis(5_000)),
                ("1.5s", millis(1_500)),
                ("10m", millis(600_000)),
                ("1h", millis(3_600_000)),
                ("7us", Duration::from_micros(7)),
                ("1000000000000000000", Duration::from_micros(u64::MAX)),
                ("99999999999999999999h", Duration::from_micros(u64::MAX)),
            ],
        );
        reads(&MICROSECONDS, &[("500000", millis(500)), ("0", millis(0)), ("1s", millis(1_000))]);
        reads(&LIMIT, &[("none", millis(0)), ("0", millis(0)), ("", millis(0)), ("2", millis(2_000))]);
        refuses(
            &SECONDS,
            &[("", "is not a duration"), ("5x", "us, ms, s, m or h"), ("-2", "is not"), ("1.", "is not")],
        );
        refuses(&SECONDS, &[("s", "is not"), (".5", "is not"), ("1e3", "is not")]);
        refuses(&SECONDS, &[("s", "is not"), (".5", "is not"), ("1e3", "is not")]);
        refuses(&MICROSECONDS, &[("x", "a number of microseconds")]);
        for nothing in ["0", "0ms", "none", "OFF", "false"] {
            refuses(&NONZERO_SECONDS, &[(nothing, "too short"), (nothing, "for no limit in practice, write 87600h")]);
        }
        for endless in ["-1", "never", "Infinity", "unlimited"] {
            refuses(&SECONDS, &[(endless, "for a long one, write 87600h")]);
            refuses(&LIMIT, &[(endless, "for no limit, write none")]);
        }
        assert!((SECONDS.read)(LONG).is_ok());
        assert_eq!((SECONDS.show)(&millis(3_600_000)), "3600");
        assert_eq!((SECONDS.show)(&millis(50)), "50ms");
        assert_eq!((MICROSECONDS.show)(&millis(500)), "500000");
        assert_eq!((LIMIT.show)(&millis(0)), "none");
    }

    #[test]
    fn sizes() {
        reads(&SIZE, &[("0", 0), ("64K", 65_536), ("64k", 65_536), ("1.5G", 3 << 29), ("1T", 1 << 40), ("1000", 1000)]);
        reads(&SIZE_LIMIT, &[("none", 0), ("0", 0), ("256M", 256 << 20)]);
        reads(&PACKET, &[("4096", 4096), ("4294967295", u32::MAX.into())]);
        refuses(&PACKET, &[("4G", "the maximum is 4294967295"), ("1K", "the minimum is 4K")]);
        refuses(&NONZERO_SIZE, &[("0", "too small"), ("64KB", "K, M, G or T"), ("x", "is not a size")]);
        assert_eq!((SIZE.show)(&(64 << 20)), "64M");
    }
}
