//! The headers in `include/`: they compile without a warning, and the structs of `gm_plugin.h` are those of `c_abi`, laid
//! out as recorded for the interface's version.

#[path = "c/compiler.rs"]
mod compiler;

use std::fmt::Write as _;
use std::fs;
use std::mem::offset_of;
use std::process::Command;

use compiler::{compile, is_installed, place, try_compile};
use gm_plugin_api::c_abi::{CContext, CEntry, CHost, CJob};

/// The recorded layout of version 1.0. If this test fails because a struct has changed, raise the version, and record
/// the new layout in a new file.
const RECORDED: &str = include_str!("interface/c-1.0.txt");

/// Writes down a struct's size and offsets, and the lines of a program in C that prints the same.
macro_rules! layout {
    ($text:ident, $program:ident, $c:literal, $rust:ty: $($field:ident),*) => {
        writeln!($text, "{} {}", $c, size_of::<$rust>()).unwrap();
        writeln!($program, "    printf(\"{0} %zu\\n\", sizeof({0}));", $c).unwrap();
        $(
            let name = stringify!($field);
            writeln!($text, "{}.{name} {}", $c, offset_of!($rust, $field)).unwrap();
            writeln!($program, "    printf(\"{0}.{name} %zu\\n\", offsetof({0}, {name}));", $c).unwrap();
        )*
    };
}

#[test]
fn the_layout_is_the_recorded_one_in_c_and_in_rust() {
    let (mut text, mut body) = (String::new(), String::new());
    layout!(text, body, "gm_plugin", CEntry: magic, size, interface_major, interface_minor, name, version, compiler,
        create, run, destroy);
    layout!(text, body, "gm_job", CJob: size, host, number, workload, workload_size, handle, handle_size, unique,
        unique_size, function);
    layout!(text, body, "gm_context", CContext: size, host, function);
    layout!(text, body, "gm_host", CHost: size, status, data, warning, stopping, log_wanted, log, result, result_owned,
        fail, exception, setting, setting_at, create_failed);
    assert_eq!(text, RECORDED, "c_abi.rs");
    let (source, program) = (place("layout.c"), place("layout"));
    fs::write(&source, format!("#include \"gm_plugin.h\"\nint main(void) {{\n{body}    return 0;\n}}\n")).unwrap();
    compile("cc", &["-std=c99"], &[&source], &program);
    let printed = Command::new(&program).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&printed), RECORDED, "gm_plugin.h");
}

#[test]
fn it_compiles_as_c_and_as_cpp() {
    let source = place("plugin.c");
    let text = "#include \"gm_plugin.h\"\n\
                GM_FUNCTION(plain) { return gm_resultf(job, \"%d\", 7); }\n\
                static int create(gm_context *context, void **state) {\n\
                *state = NULL;\n\
                return gm_setting(context, \"x\") ? 0 : gm_create_failed(context, \"no x\");\n}\n\
                static int run(void *state, gm_job *job) {\n\
                (void)state;\n\
                return gm_result_text(job, \"done\");\n}\n\
                static void destroy(void *state) { (void)state; }\n\
                GM_OBJECT(object, create, run, destroy);\n";
    fs::write(&source, text).unwrap();
    let shared = ["-shared", "-fPIC", "-fvisibility=hidden"];
    for (compiler, language) in [
        ("cc", &["-std=c99"][..]),
        ("cc", &["-std=c17"]),
        ("c++", &["-x", "c++", "-std=c++17", "-Wold-style-cast"]),
        ("c++", &["-x", "c++", "-std=c++20"]),
        ("clang", &["-std=c99"]),
        ("clang++", &["-x", "c++", "-std=c++17"]),
    ] {
        if compiler.starts_with("clang") && !is_installed(compiler) {
            eprintln!("skipped: {compiler} is not installed");
            continue;
        }
        compile(compiler, &[language, &shared].concat(), &[&source], &place("plugin.so"));
    }
}

#[test]
fn the_header_for_cpp_compiles_with_every_standard() {
    let source = place("plugin.cc");
    let text = "#include \"gm_plugin.hpp\"\n\
                GM_FUNCTION(plain) { return std::string(job.workload()); }\n\
                struct Settled {\n\
                explicit Settled(gm::Context &context) : x(context.integer(\"x\", 1)) {}\n\
                std::vector<unsigned char> run(gm::Job &) { return std::vector<unsigned char>(3, 'a'); }\n\
                long long x;\n};\n\
                GM_CLASS(object, Settled);\n\
                struct Bare { void run(gm::Job &) {} };\n\
                GM_CLASS(bare, Bare);\n";
    fs::write(&source, text).unwrap();
    let shared = ["-shared", "-fPIC"];
    for (compiler, args) in [
        ("c++", &["-std=c++17", "-fvisibility=hidden", "-Wold-style-cast"][..]),
        ("c++", &["-std=c++17", "-fno-rtti"]),
        ("c++", &["-std=c++20"]),
        ("clang++", &["-std=c++17", "-fno-rtti"]),
        ("clang++", &["-std=c++20"]),
    ] {
        if compiler == "clang++" && !is_installed(compiler) {
            eprintln!("skipped: {compiler} is not installed");
            continue;
        }
        compile(compiler, &[args, &shared].concat(), &[&source], &place("plugin_cc.so"));
    }
    for (args, sentence) in [
        (&["-std=c++14"], "gm_plugin.hpp needs C++17: compile with -std=c++17 or later"),
        (&["-fno-exceptions"], "gm_plugin.hpp needs exceptions"),
    ] {
        let words = try_compile("c++", &[&args[..], &shared].concat(), &[&source], &place("refused.so")).unwrap_err();
        assert!(words.contains(sentence), "{args:?}: {words}");
    }
    fs::write(
        &source,
        "#include \"gm_plugin.hpp\"\nstruct No { explicit No(int); void run(gm::Job &); };\nGM_CLASS(no, No);\n",
    )
    .unwrap();
    let words =
        try_compile("c++", &[&["-std=c++17"], &shared[..]].concat(), &[&source], &place("refused.so")).unwrap_err();
    assert!(words.contains("a constructor that takes a gm::Context &, or nothing"), "{words}");
}
