// What one writes who thinks that a plugin exports its function.
// expect: exports entry_is_a_function as a function, not as the entry of a function; put #[function] on it and build with gm-plugin-api, or use GM_FUNCTION in C
int entry_is_a_function(const char *workload) { return workload[0]; }
