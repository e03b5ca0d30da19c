package gm

// #include "gm_go.h"
import "C"

import (
	"errors"
	"runtime/cgo"
	"runtime/debug"
	"unsafe"
)

// view is memory of C as bytes.
func view(start *C.char, size C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(start)), int(size))
}

// trace is the stack of a panic.
func trace() string { return string(debug.Stack()) }

//export gmGoCreate
func gmGoCreate(name *C.char, context *C.gm_context, state *unsafe.Pointer) C.int {
	registered.Lock()
	create := registered.objects[C.GoString(name)]
	registered.Unlock()
	var object Object
	failed := call(func(string) {}, func() (err error) {
		if create == nil {
			return errors.New("gm.New was not called for " + C.GoString(name))
		}
		object, err = create(&Context{c: context, function: C.GoString(context.function)})
		return err
	})
	if failed != nil {
		text := []byte(failed.Error())
		return C.gm_go_create_failed(context, (*C.char)(start(text)), C.size_t(len(text)))
	}
	// A handle is a number, and C keeps no pointer of Go's.
	*(*uintptr)(unsafe.Pointer(state)) = uintptr(cgo.NewHandle(object))
	return 0
}

//export gmGoRun
func gmGoRun(state unsafe.Pointer, job *C.gm_job) C.int {
	return runJob(job, cgo.Handle(uintptr(state)).Value().(Object).Run)
}

//export gmGoRunFunction
func gmGoRunFunction(name *C.char, job *C.gm_job) C.int {
	registered.Lock()
	run := registered.functions[C.GoString(name)]
	registered.Unlock()
	if run == nil {
		run = func(*Job) ([]byte, error) {
			return nil, errors.New("gm.Function was not called for " + C.GoString(name))
		}
	}
	return runJob(job, run)
}

//export gmGoDestroy
func gmGoDestroy(state unsafe.Pointer) {
	handle := cgo.Handle(uintptr(state))
	object := handle.Value().(Object)
	handle.Delete()
	if err := call(func(text string) { println(text) }, func() error { return closeObject(object) }); err != nil {
		println("Close:", err.Error())
	}
}

func runJob(c *C.gm_job, run RunFunc) C.int {
	job := &Job{
		workload: view(c.workload, c.workload_size),
		handle:   string(view(c.handle, c.handle_size)),
		unique:   string(view(c.unique, c.unique_size)),
		function: C.GoString(c.function),
		c:        c,
	}
	var result []byte
	failed := call(func(text string) { job.log(Error, text) }, func() (err error) {
		result, err = run(job)
		return err
	})
	var exception Exception
	switch {
	case failed == nil:
		return C.gm_result(c, start(result), C.size_t(len(result)))
	case errors.As(failed, &exception):
		return C.gm_exception(c, start(exception), C.size_t(len(exception)))
	default:
		text := []byte(failed.Error())
		return C.gm_go_fail(c, (*C.char)(start(text)), C.size_t(len(text)))
	}
}
