// The Gearman function my_function.
package main

// #cgo CFLAGS: -I${SRCDIR}/gm
// #include "gm_go.h"
// GM_GO_FUNCTION(my_function);
import "C"

import (
	"bytes"
	"strconv"

	"gm.local/my_function/gm"
)

func init() { gm.Function("my_function", Run) }

// Run counts the words of the workload.
func Run(job *gm.Job) ([]byte, error) {
	words := len(bytes.Fields(job.Workload()))
	job.Log(gm.Info, "%d words", words)
	return []byte(strconv.Itoa(words)), nil
}

// Never called: a library has no main, but Go wants one.
func main() {}
