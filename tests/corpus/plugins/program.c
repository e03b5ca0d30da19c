// A program, position-independent as compilers make them.
// build: cc -fPIE -pie -o $OUT $SRC
// expect: is a program, not a shared library; build a cdylib
int main(void) { return 0; }
