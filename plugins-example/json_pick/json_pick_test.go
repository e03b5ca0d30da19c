package main

import (
	"testing"

	"gm.local/json_pick/gm"
)

func TestFieldsAreKept(t *testing.T) {
	pick, err := New(gm.TestContext(map[string]string{"fields": "id, name"}))
	if err != nil {
		t.Fatal(err)
	}
	for workload, expected := range map[string]string{
		`{"secret":"s","name":"a","id":12345678901234567890}`: `{"id":12345678901234567890,"name":"a"}`,
		`[{"id":1,"x":2},{}]`: `[{"id":1},{}]`,
		`{}`:                  `{}`,
	} {
		result, err := pick.Run(gm.TestJob(workload))
		if err != nil || string(result) != expected {
			t.Errorf("%s: %s %v", workload, result, err)
		}
	}
	if _, err := pick.Run(gm.TestJob("7")); err == nil {
		t.Error("a number is no object")
	}
}

func TestTheFieldsHaveToBeSet(t *testing.T) {
	if _, err := New(gm.TestContext(nil)); err == nil || err.Error() != "setting.fields is missing" {
		t.Error(err)
	}
}
