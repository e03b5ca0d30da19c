// json_pick keeps some fields of a JSON object, or of each object in an array: with
//
//	[json_pick]
//	setting.fields = id,name
//
// {"id":1,"name":"a","secret":"s"} becomes {"id":1,"name":"a"}. Values stay as they are written, and fields are sorted.
package main

// #cgo CFLAGS: -I${SRCDIR}/gm
// #include "gm_go.h"
// GM_GO_OBJECT(json_pick);
import "C"

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gm.local/json_pick/gm"
)

func init() { gm.New("json_pick", New) }

// Pick is made once in each worker.
type Pick struct {
	fields map[string]bool
}

// New reads the settings.
func New(context *gm.Context) (gm.Object, error) {
	names, err := context.Required("fields")
	if err != nil {
		return nil, err
	}
	pick := &Pick{fields: map[string]bool{}}
	for _, name := range strings.Split(names, ",") {
		pick.fields[strings.TrimSpace(name)] = true
	}
	return pick, nil
}

type record map[string]json.RawMessage

// Run transforms one workload.
func (pick *Pick) Run(job *gm.Job) ([]byte, error) {
	if bytes.HasPrefix(bytes.TrimSpace(job.Workload()), []byte("[")) {
		var records []record
		if err := json.Unmarshal(job.Workload(), &records); err != nil {
			return nil, fmt.Errorf("the workload is no array of objects: %w", err)
		}
		for done, one := range records {
			if job.Stopping() {
				return nil, fmt.Errorf("stopped after %d of %d objects", done, len(records))
			}
			pick.keep(one)
		}
		return json.Marshal(records)
	}
	var one record
	if err := json.Unmarshal(job.Workload(), &one); err != nil {
		return nil, fmt.Errorf("the workload is no object: %w", err)
	}
	pick.keep(one)
	return json.Marshal(one)
}

func (pick *Pick) keep(one record) {
	for name := range one {
		if !pick.fields[name] {
			delete(one, name)
		}
	}
}

func main() {}
