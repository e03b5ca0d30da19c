// Package gm is for functions of gm-native in Go.
//
// A function is a package main that is built with -buildmode=c-shared. `gm-native new --lang go NAME` makes one:
//
//	package main
//
//	// #cgo CFLAGS: -I${SRCDIR}/gm
//	// #include "gm_go.h"
//	// GM_GO_FUNCTION(shout);
//	import "C"
//
//	func init() { gm.Function("shout", Run) }
//
//	func Run(job *gm.Job) ([]byte, error) { return bytes.ToUpper(job.Workload()), nil }
//
//	func main() {}
//
// A worker runs one job at a time. An error or a panic fails the job.
package gm

import (
	"fmt"
	"io"
	"sync"
)

// RunFunc runs a job. The bytes are its result; an error fails the job with its text.
type RunFunc func(job *Job) ([]byte, error)

// Object is a function that keeps state from job to job. If it has a method Close() error, the worker calls that when it
// ends.
type Object interface {
	Run(job *Job) ([]byte, error)
}

// NewFunc makes the state of a function, once in each worker, before its first job.
type NewFunc func(context *Context) (Object, error)

var registered = struct {
	sync.Mutex
	functions map[string]RunFunc
	objects   map[string]NewFunc
}{functions: map[string]RunFunc{}, objects: map[string]NewFunc{}}

// Function registers the function of a GM_GO_FUNCTION. Call it in an init function.
func Function(name string, run RunFunc) {
	registered.Lock()
	defer registered.Unlock()
	registered.functions[name] = run
}

// New registers the function of a GM_GO_OBJECT. Call it in an init function.
func New(name string, create NewFunc) {
	registered.Lock()
	defer registered.Unlock()
	registered.objects[name] = create
}

// Exception is an error that fails a job with a Gearman exception: its caller gets these bytes. Only clients that asked
// for exceptions understand one.
type Exception []byte

// Error returns the bytes as text.
func (e Exception) Error() string { return string(e) }

// Level is the level of a log record.
type Level int

// The levels, from the most severe one on.
const (
	Error Level = 1 + iota
	Warn
	Info
	Debug
	Trace
)

// call runs what may panic; a panic becomes an error. The trace goes to log.
func call(log func(text string), run func() error) (failed error) {
	defer func() {
		if value := recover(); value != nil {
			log(trace())
			if err, is := value.(error); is {
				failed = fmt.Errorf("panic: %w", err)
			} else {
				failed = fmt.Errorf("panic: %v", value)
			}
		}
	}()
	return run()
}

// closeObject ends the state of a function.
func closeObject(object Object) error {
	if closer, is := object.(io.Closer); is {
		return closer.Close()
	}
	return nil
}
