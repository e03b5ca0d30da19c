package gm

// TestJob is a job for a test of a function, without gm-native.
func TestJob(workload string) *Job {
	return &Job{workload: []byte(workload), handle: "H:test:1", function: "test"}
}

// TestContext is what a NewFunc gets in a test, with these settings.
func TestContext(settings map[string]string) *Context {
	return &Context{settings: settings, function: "test"}
}

// Sent returns what the function sent and logged in a test, as `gm-native call` prints it.
func (job *Job) Sent() []string {
	job.mutex.Lock()
	defer job.mutex.Unlock()
	return append([]string(nil), job.sent...)
}

// Stop lets Stopping return true in a test.
func (job *Job) Stop() { job.stopping = true }
