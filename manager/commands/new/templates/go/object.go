// The Gearman function my_function, with state that is kept from job to job.
package main

// #cgo CFLAGS: -I${SRCDIR}/gm
// #include "gm_go.h"
// GM_GO_OBJECT(my_function);
import "C"

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"gm.local/my_function/gm"
)

func init() { gm.New("my_function", New) }

// Function is made once in each worker.
type Function struct {
	shortest, total int
}

// New reads the settings, such as `setting.shortest = 3` in the section [my_function]. Read all of them here: one that is
// never read, such as a misspelt `setting.shortst`, is named in the log.
func New(context *gm.Context) (gm.Object, error) {
	shortest, err := context.Integer("shortest", 1)
	return &Function{shortest: shortest}, err
}

// Run counts the words of the workload that are long enough.
func (function *Function) Run(job *gm.Job) ([]byte, error) {
	words := 0
	for _, word := range bytes.Fields(job.Workload()) {
		if utf8.RuneCount(word) >= function.shortest {
			words++
		}
	}
	function.total += words
	job.Log(gm.Info, "%d words, %d so far", words, function.total)
	return []byte(strconv.Itoa(words)), nil
}

// Never called: a library has no main, but Go wants one.
func main() {}
