//! Debug symbols that are installed apart from a library, below /usr/lib/debug.

use crate::machine::Machine;
use crate::support::build;

const SOURCE: &str = r#"
#include <gm_plugin.h>

static __attribute__((noinline)) int parse_header(volatile int *from) {
    return *from + 1; /* null */
}

GM_FUNCTION(act) {
    return parse_header((volatile int *)gm_workload_size(job)) - 1;
}
"#;

/// P32: compressed, as `dh_strip` makes them. Those of another library do not count.
#[test]
fn lines_of_a_stripped_library_are_found_by_its_build_id() {
    let Some(machine) = Machine::with(&["objcopy", "strip", "readelf"]) else { return };
    let include = format!("-I{}", build::repository().join("plugin-api/include").display());
    let library = build::c("act.so", SOURCE, &["-shared", "-fPIC", "-Wl,--build-id", &include]);
    let printed = machine.succeed(&format!(
        "cp {} /tmp/act.so\ncd /tmp\n\
         strip --strip-all act.so -o stripped.so\nmv stripped.so /srv/workers/act.so\n\
         id=$(readelf -n act.so | sed -n 's/.*Build ID: //p')\n\
         debug=/usr/lib/debug/.build-id/$(echo $id | cut -c1-2)/$(echo $id | cut -c3-).debug\n\
         mkdir -p $(dirname $debug)\n\
         # Its own symbols would take most of the time.\n\
         strip /usr/local/bin/gm-native\n\
         crash() {{ echo $1; gm-native call /srv/workers/act.so 12345678 2>&1 | grep -m 1 ' 0: ' || true; }}\n\
         for how in zlib zstd; do\n\
         objcopy --only-keep-debug --compress-debug-sections=$how act.so $debug && crash $how\ndone\n\
         echo '#include <gm_plugin.h>\nGM_FUNCTION(act) {{ return 0; }}' > other.c\n\
         cc -g -shared -fPIC -I/usr/local/include -Wl,--build-id other.c -o $debug\ncrash another\n",
        library.display()
    ));
    let line = SOURCE.lines().position(|line| line.contains("/* null */")).unwrap() + 1;
    let words: Vec<&str> = printed.lines().collect();
    let found = |how: usize| words.get(how * 2 + 1).copied().unwrap_or_default();
    for how in [0, 1] {
        assert!(
            found(how).contains("parse_header (") && found(how).contains(&format!("source.c:{line}:")),
            "{printed}"
        );
    }
    assert!(found(2).contains("0: act.so+0x"), "{printed}");
}
