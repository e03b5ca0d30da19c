// A function whose own name begins with lib.
// expect: does not export rary; a file lib*.so serves the function without lib: name it liblibrary.so to serve library
#include "entry.h"
ENTRY(library);
