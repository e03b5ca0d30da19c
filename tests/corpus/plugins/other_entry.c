// The file was renamed, the function in it not.
// expect: does not export other_entry; it exports first_name, second_name: rename the file, or the function in it
#include "entry.h"
ENTRY(first_name);
ENTRY(second_name);
