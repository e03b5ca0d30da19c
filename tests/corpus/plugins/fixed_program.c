// A program at a fixed address.
// build: cc -no-pie -o $OUT $SRC
// expect: is a program, not a shared library; build a cdylib
int main(void) { return 0; }
