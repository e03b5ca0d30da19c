/* A data object that passes for the entry of a function until the library is loaded: by size and magic. It claims to be of an
 * abi_stable that never was, so one whose constructors return is refused for that, and no more of it is believed. */
struct entry {
    char magic[32];
    unsigned major, minor;
    char rest[112];
};

#define EXPORT __attribute__((visibility("default")))
#define ENTRY(name) EXPORT struct entry name = {"abi stable library for Rust     ", 0, 0, {0}}
#define AT_LOAD __attribute__((constructor)) static void
