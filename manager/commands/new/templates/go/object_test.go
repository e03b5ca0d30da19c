package main

import (
	"testing"

	"gm.local/my_function/gm"
)

func TestWordsAreCountedFromJobToJob(t *testing.T) {
	object, err := New(gm.TestContext(map[string]string{"shortest": "2"}))
	if err != nil {
		t.Fatal(err)
	}
	if result, err := object.Run(gm.TestJob("a job for you")); err != nil || string(result) != "3" {
		t.Fatal(string(result), err)
	}
	job := gm.TestJob("another one")
	if _, err := object.Run(job); err != nil || job.Sent()[0] != "INFO    2 words, 5 so far" {
		t.Fatal(job.Sent(), err)
	}
}

func TestAWrongSettingIsNamed(t *testing.T) {
	_, err := New(gm.TestContext(map[string]string{"shortest": "none"}))
	if err == nil || err.Error() != "setting.shortest = none is no whole number, or too large" {
		t.Fatal(err)
	}
}
