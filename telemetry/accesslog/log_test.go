package accesslog_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/flow"
	"github.com/outrigger-mesh/outrigger/telemetry/accesslog"
)

func newLog(t *testing.T, o *accesslog.Outputs, path string) *accesslog.Log {
	t.Helper()
	l, err := accesslog.New(accesslog.Config{Outputs: o, Path: path, Text: "%REQ(:METHOD)% %RESPONSE_CODE%\n"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// runOutputs runs o and returns a function that ends it and waits.
func runOutputs(t *testing.T, o *accesslog.Outputs) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// waitFor polls until the file holds want.
func waitFor(t *testing.T, path, want string) {
	t.Helper()
	var got []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		got, _ = os.ReadFile(path)
		if string(got) == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s: got %q, want %q", path, got, want)
}

func TestLinesReachTheFileWithinASecondAndAtShutdown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	o := accesslog.NewOutputs(accesslog.OutputsConfig{})
	log := newLog(t, o, path)
	log.Observe(outboundHTTP()) // before Run
	stop := runOutputs(t, o)
	waitFor(t, path, "GET 200\n")
	log.Observe(refused())
	stop()
	waitFor(t, path, "GET 200\nGET 503\n")
	if got := o.Counts(); got.Written != 2 || got.Dropped != 0 || got.Lost != 0 {
		t.Errorf("got counts %+v", got)
	}
}

func TestLogsOfOnePathShareAWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	o := accesslog.NewOutputs(accesslog.OutputsConfig{})
	a, b := newLog(t, o, path), newLog(t, o, filepath.Dir(path)+"/./access.log")
	stop := runOutputs(t, o)
	a.Observe(outboundHTTP())
	b.Observe(refused())
	stop()
	waitFor(t, path, "GET 200\nGET 503\n")
}

func TestRenamedFileIsOpenedAnew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	o := accesslog.NewOutputs(accesslog.OutputsConfig{})
	log := newLog(t, o, path)
	runOutputs(t, o)
	log.Observe(outboundHTTP())
	waitFor(t, path, "GET 200\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for deadline := time.Now().Add(time.Minute); len(got) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the file was not opened anew")
		}
		log.Observe(refused())
		time.Sleep(20 * time.Millisecond)
		got, _ = os.ReadFile(path)
	}
	if !strings.HasPrefix(string(got), "GET 503\n") {
		t.Errorf("got %q", got)
	}
}

func TestReopenOnDemand(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	o := accesslog.NewOutputs(accesslog.OutputsConfig{})
	log := newLog(t, o, path)
	stop := runOutputs(t, o)
	log.Observe(outboundHTTP())
	waitFor(t, path, "GET 200\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	o.Reopen()
	log.Observe(refused())
	stop()
	waitFor(t, path, "GET 503\n")
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	o := accesslog.NewOutputs(accesslog.OutputsConfig{Queue: 20, Logger: slog.New(slog.NewTextHandler(&text, nil))})
	path := filepath.Join(t.TempDir(), "access.log")
	log := newLog(t, o, path)
	for range 5 {
		log.Observe(outboundHTTP())
	}
	if got := o.Counts(); got.Written != 2 || got.Dropped != 3 {
		t.Errorf("got counts %+v, want 2 written and 3 dropped", got)
	}
	runOutputs(t, o)()
	waitFor(t, path, "GET 200\nGET 200\n")
	if !strings.Contains(text.String(), "lines=3") {
		t.Errorf("the drop was not reported: %s", text.String())
	}
}

func TestPipeWithoutReaderHoldsNeitherRequestsNorShutdown(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("no named pipes here:", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	o := accesslog.NewOutputs(accesslog.OutputsConfig{})
	log := newLog(t, o, path)
	stop := runOutputs(t, o)
	for range 400_000 { // more than queue and pipe hold
		log.Observe(outboundHTTP())
	}
	begun := time.Now()
	stop()
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("shutdown took %v", took)
	}
	if got := o.Counts(); got.Dropped == 0 || got.Lost == 0 {
		t.Errorf("got counts %+v, want drops and losses", got)
	}
}

func TestUnwritablePathIsReportedOnce(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	o := accesslog.NewOutputs(accesslog.OutputsConfig{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	log := newLog(t, o, filepath.Join(t.TempDir(), "no", "such", "folder", "log"))
	log.Observe(outboundHTTP())
	runOutputs(t, o)()
	if got := strings.Count(text.String(), "cannot open the access log"); got != 1 {
		t.Errorf("got %d reports, want 1: %s", got, text.String())
	}
	if o.Counts().Lost == 0 {
		t.Error("the loss was not counted")
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	o := accesslog.NewOutputs(accesslog.OutputsConfig{Files: 1})
	dir := t.TempDir()
	for name, c := range map[string]accesslog.Config{
		"no outputs":    {Path: dir + "/a"},
		"relative path": {Outputs: o, Path: "a"},
		"no path":       {Outputs: o},
		"bad format":    {Outputs: o, Path: dir + "/a", Text: "%X%"},
	} {
		if _, err := accesslog.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	newLog(t, o, dir+"/a")
	if _, err := accesslog.New(accesslog.Config{Outputs: o, Path: dir + "/b"}); err == nil {
		t.Error("more files than allowed: no error")
	}
}

func TestUnansweredOperatorIsReportedOncePerProcess(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	o := accesslog.NewOutputs(accesslog.OutputsConfig{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	path := filepath.Join(t.TempDir(), "access.log")
	for range 3 {
		if _, err := accesslog.New(accesslog.Config{Outputs: o, Path: path, Text: "%TRACE_ID%\n"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(text.String(), "TRACE_ID"); got != 1 {
		t.Errorf("got %d reports, want 1", got)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	bad := accesslog.Status(accesslog.AtLeast, 400)
	for name, tt := range map[string]struct {
		filter accesslog.Filter
		record *flow.Record
		want   bool
	}{
		"status at least":         {bad, refused(), true},
		"status below":            {bad, outboundHTTP(), false},
		"status equal":            {accesslog.Status(accesslog.Equal, 200), outboundHTTP(), true},
		"status at most":          {accesslog.Status(accesslog.AtMost, 200), refused(), false},
		"status not equal":        {accesslog.Status(accesslog.NotEqual, 200), refused(), true},
		"duration":                {accesslog.Milliseconds(accesslog.AtLeast, 14), outboundHTTP(), true},
		"one of the flags":        {accesslog.WithFlags(flow.NoRouteFound, flow.UpstreamConnectionFailure), refused(), true},
		"none of the flags":       {accesslog.WithFlags(flow.NoRouteFound), refused(), false},
		"any flag":                {accesslog.WithFlags(), refused(), true},
		"any flag without one":    {accesslog.WithFlags(), outboundHTTP(), false},
		"and":                     {accesslog.And(bad, nil, accesslog.WithFlags()), refused(), true},
		"and with one refusing":   {accesslog.And(bad, accesslog.WithFlags(flow.NoRouteFound)), refused(), false},
		"or":                      {accesslog.Or(bad, accesslog.WithFlags(flow.NoRouteFound)), refused(), true},
		"or with all refusing":    {accesslog.Or(bad), outboundHTTP(), false},
		"or with one that is nil": {accesslog.Or(bad, nil), outboundHTTP(), true},
	} {
		if got := tt.filter(tt.record); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestFilteredRecordsAreNotWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	o := accesslog.NewOutputs(accesslog.OutputsConfig{})
	log, err := accesslog.New(accesslog.Config{
		Outputs: o, Path: path, Text: "%RESPONSE_CODE%\n", Filter: accesslog.Status(accesslog.AtLeast, 500),
	})
	if err != nil {
		t.Fatal(err)
	}
	log.Observe(outboundHTTP())
	log.Observe(refused())
	runOutputs(t, o)()
	waitFor(t, path, "503\n")
}
