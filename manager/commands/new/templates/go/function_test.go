package main

import (
	"reflect"
	"testing"

	"gm.local/my_function/gm"
)

func TestWordsAreCounted(t *testing.T) {
	job := gm.TestJob("a job for you")
	result, err := Run(job)
	if err != nil || string(result) != "4" {
		t.Fatal(string(result), err)
	}
	if sent := job.Sent(); !reflect.DeepEqual(sent, []string{"INFO    4 words"}) {
		t.Fatal(sent)
	}
}
