/* A data object that passes for the entry of a function until the library is loaded: size, magic, version. What a good
 * library has behind these is missing, so one whose constructors return is refused for its entry. */
struct entry {
    char magic[32];
    unsigned major, minor;
    char rest[112];
};

#define EXPORT __attribute__((visibility("default")))
#define ENTRY(name) EXPORT struct entry name = {"abi stable library for Rust     ", 0, 11, {0}}
#define AT_LOAD __attribute__((constructor)) static void
