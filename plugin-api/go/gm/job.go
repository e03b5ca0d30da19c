package gm

// #cgo CFLAGS: -I${SRCDIR} -I${SRCDIR}/../../include
// #include "gm_go.h"
import "C"

import (
	"fmt"
	"strconv"
	"sync"
	"unsafe"
)

// Job is one job. It is valid until Run returns.
type Job struct {
	workload                 []byte
	handle, unique, function string
	// Of a worker; nil in a test.
	c *C.gm_job
	// In a test: what was sent.
	mutex    sync.Mutex
	sent     []string
	stopping bool
}

// Workload returns the workload itself, without a copy: neither change it nor keep it longer than Run.
func (job *Job) Workload() []byte { return job.workload }

// Text returns a copy of the workload.
func (job *Job) Text() string { return string(job.workload) }

// Handle returns the job server's handle.
func (job *Job) Handle() string { return job.handle }

// Unique returns the client's unique id, which may be empty.
func (job *Job) Unique() string { return job.unique }

// Function returns the function's name with the job servers.
func (job *Job) Function() string { return job.function }

// Status tells the caller how far the work is. From any goroutine, and false where it was refused. It does not wait.
func (job *Job) Status(done, of uint64) bool {
	if job.c == nil {
		return job.record("status  " + strconv.FormatUint(done, 10) + " of " + strconv.FormatUint(of, 10))
	}
	return C.gm_status(job.c, C.uint64_t(done), C.uint64_t(of)) != 0
}

// Data sends a part of the result ahead of its end. From any goroutine, and false where it was refused. It may wait.
func (job *Job) Data(part []byte) bool {
	if job.c == nil {
		return job.record(fmt.Sprintf("data    %d bytes: %s", len(part), part))
	}
	return C.gm_data(job.c, start(part), C.size_t(len(part))) != 0
}

// Warning sends a warning to the caller. As Data.
func (job *Job) Warning(text string) bool {
	if job.c == nil {
		return job.record("warning " + text)
	}
	bytes := []byte(text)
	return C.gm_warning(job.c, start(bytes), C.size_t(len(bytes))) != 0
}

// Stopping is true once the worker is asked to stop: long work should then end early. From any goroutine.
func (job *Job) Stopping() bool {
	if job.c == nil {
		return job.stopping
	}
	return C.gm_stopping(job.c) != 0
}

// Log writes a record to the manager's log, with a format of package fmt. From any goroutine.
func (job *Job) Log(level Level, format string, values ...any) {
	job.log(level, fmt.Sprintf(format, values...))
}

func (job *Job) log(level Level, text string) {
	if job.c == nil {
		job.record(fmt.Sprintf("%-8s%s", [...]string{"ERROR", "WARN", "INFO", "DEBUG", "TRACE"}[level-1], text))
		return
	}
	bytes := []byte(text)
	C.gm_go_log(job.c, C.int(level), (*C.char)(start(bytes)), C.size_t(len(bytes)))
}

func (job *Job) record(line string) bool {
	job.mutex.Lock()
	defer job.mutex.Unlock()
	job.sent = append(job.sent, line)
	return true
}

// Context is what a NewFunc gets.
type Context struct {
	// Of a worker; nil in a test.
	c        *C.gm_context
	function string
	settings map[string]string
}

// Function returns the function's name with the job servers.
func (context *Context) Function() string { return context.function }

// Setting returns the value of `setting.NAME = VALUE` in the function's section, and whether it is set.
func (context *Context) Setting(name string) (string, bool) {
	if context.c == nil {
		value, set := context.settings[name]
		return value, set
	}
	bytes := append([]byte(name), 0)
	value := C.gm_setting(context.c, (*C.char)(start(bytes)))
	if value == nil {
		return "", false
	}
	return C.GoString(value), true
}

// Required returns the same, or an error where it is not set.
func (context *Context) Required(name string) (string, error) {
	value, set := context.Setting(name)
	if !set {
		return "", fmt.Errorf("setting.%s is missing", name)
	}
	return value, nil
}

// Integer returns a setting that is a whole number, or `otherwise` where it is not set.
func (context *Context) Integer(name string, otherwise int) (int, error) {
	value, set := context.Setting(name)
	if !set {
		return otherwise, nil
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("setting.%s = %s is no whole number, or too large", name, value)
	}
	return number, nil
}

// start is a pointer to the first byte. C does not keep it.
func start(bytes []byte) unsafe.Pointer {
	if len(bytes) == 0 {
		return nil
	}
	return unsafe.Pointer(&bytes[0])
}
