// The file was renamed, the function in it not.
// expect: does not export other_entry; it exports first_name, second_name: name the file after one of them, or rename the function
#include "entry.h"
ENTRY(first_name);
ENTRY(second_name);
