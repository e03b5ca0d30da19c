// Functions in Go of every kind, for ../go_plugins.rs.
package main

// #cgo CFLAGS: -I${SRCDIR}/gm
// #define GM_PLUGIN_VERSION "6.7.8"
// #include "gm_go.h"
// GM_GO_FUNCTION(go_act);
// GM_GO_FUNCTION(go_unregistered);
// GM_GO_OBJECT(go_object);
// static void crash_in_c(void) { *(volatile int *)8 = 1; }
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gm.local/functions/gm"
)

func init() {
	gm.Function("go_act", act)
	gm.New("go_object", create)
}

// act does what its workload says.
func act(job *gm.Job) ([]byte, error) {
	switch what := job.Text(); what {
	case "talk":
		sent := []bool{job.Status(1, 2), job.Data([]byte("part")), job.Warning("careful")}
		job.Log(gm.Error, "an error %d", 7)
		job.Log(gm.Trace, "not wanted")
		if job.Stopping() {
			return nil, errors.New("nobody asked it to stop")
		}
		return []byte(fmt.Sprintf("%v %s %s", sent, job.Function(), job.Handle())), nil
	case "goroutines":
		var group sync.WaitGroup
		var sent [8]bool
		for i := range sent {
			group.Add(1)
			go func(i int) {
				defer group.Done()
				sent[i] = job.Status(uint64(i), 8)
			}(i)
		}
		group.Wait()
		return []byte(fmt.Sprint(sent == [8]bool{true, true, true, true, true, true, true, true})), nil
	case "nothing":
		return nil, nil
	case "large":
		return bytes.Repeat([]byte("x"), 5<<20), nil
	case "error":
		return []byte("unused"), errors.New("row 7 is missing")
	case "exception":
		return nil, fmt.Errorf("wrapped: %w", gm.Exception(`{"code":7}`))
	case "panic":
		panic("on purpose")
	case "nil":
		var nothing *int
		*nothing = 1
	case "index":
		_ = job.Workload()[len(what)]
	case "slow":
		for !job.Stopping() {
			time.Sleep(time.Millisecond)
		}
		return []byte("stopped early"), nil
	case "stuck":
		select {}
	case "exit":
		os.Exit(3)
	case "fatal":
		go func() { panic("in a goroutine") }()
		select {}
	case "crash":
		C.crash_in_c()
	default:
		return []byte(what), nil
	}
	return nil, nil
}

type object struct {
	greeting string
	jobs     int
}

func create(context *gm.Context) (gm.Object, error) {
	greeting, err := context.Required("greeting")
	if err != nil {
		return nil, err
	}
	if _, set := context.Setting("panic"); set {
		panic("in New")
	}
	jobs, err := context.Integer("first", 0)
	return &object{greeting, jobs}, err
}

func (object *object) Run(job *gm.Job) ([]byte, error) {
	object.jobs++
	if job.Text() == "panic" {
		panic("in Run")
	}
	return []byte(fmt.Sprint(object.greeting, " ", object.jobs)), nil
}

func (object *object) Close() error {
	fmt.Fprintln(os.Stderr, "closed")
	return errors.New("too late")
}

func main() {}
