// Calls a function that nothing defines.
// expect: needs the symbol not_defined_anywhere, which no library it links to has; link the one that defines it
#include "entry.h"
ENTRY(missing_symbol);
extern int not_defined_anywhere(void);
EXPORT int call(void) { return not_defined_anywhere(); }
