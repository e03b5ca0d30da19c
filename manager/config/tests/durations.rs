//! Durations that are right and do harm.

use super::*;

/// A shorter one would have the manager, or a worker, do nothing else. 0 keeps its meaning, and the least is not warned
/// of.
#[test]
fn durations_that_are_too_short_are_raised_with_a_warning() {
    for (key, short, least) in [
        ("rescan_interval", "1us", "100ms"),
        ("rescan_interval", "0.05", "100ms"),
        ("echo_interval", "99ms", "100ms"),
        ("backoff_max", "1ms", "10ms"),
        ("healthy_after", "1us", "1"),
        ("max_worker_lifetime", "250ms", "1"),
        ("timeout", "1us", "1ms"),
        ("timeout", "0.0000001", "1ms"),
    ] {
        let ini = format!("[GearmanManager]\n{key} = {short}\n");
        let (config, warnings) = warnings(&ini);
        let expected = format!("is too short and is taken as {least}, the least; write that");
        assert_eq!(warnings, [format!("gm.ini:2: {key} = {short} in [GearmanManager] {expected}")]);
        let taken = read(&format!("[GearmanManager]\n{key} = {least}\n"));
        let dump = String::from_utf8(config.dump()).unwrap();
        assert!(dump.contains(&format!("\n{key} = {least} ")), "{dump}");
        let (with_option, warnings) = load_bytes(b"[GearmanManager]\n", &[(key, "-x", short)]).unwrap();
        assert_eq!(
            warnings.iter().map(Warning::to_string).collect::<Vec<_>>(),
            [format!("option -x: {key} = {short} {expected}")]
        );
        let settings = |config: &Config| Config { origins: Origins::default(), ..config.clone() };
        assert_eq!((settings(&config), settings(&with_option)), (settings(&taken), settings(&taken)), "{ini}");
    }
    let (config, warnings) = warnings("[f]\ntimeout = 1us\n");
    assert!(
        warnings.len() == 1 && warnings[0].starts_with("gm.ini:2: timeout = 1us in [f] is too short"),
        "{warnings:?}"
    );
    assert_eq!(config.timeout("f"), Some(Duration::from_millis(1)));
    read("[GearmanManager]\nrescan_interval = 0\necho_interval = none\ntimeout = 0\n");
}

#[test]
fn a_worker_that_is_healthy_at_once_is_warned_of() {
    for zero in ["0", "none", "0s"] {
        let (_, warnings) = warnings(&format!("[GearmanManager]\nhealthy_after = {zero}\n"));
        assert!(warnings.len() == 1 && warnings[0].contains("started again without any; write 60"), "{warnings:?}");
        assert!(
            warnings[0].starts_with(&format!("gm.ini:2: healthy_after = {zero} in [GearmanManager]")),
            "{warnings:?}"
        );
    }
    read("[GearmanManager]\nhealthy_after = 1\n");
}
