package bench_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/bench"
)

func listCases(t *testing.T) string {
	t.Helper()
	var out, progress bytes.Buffer
	if code := bench.Main(t.Context(), []string{"-list"}, "test", &out, &progress); code != 0 {
		t.Fatalf("got %d: %s", code, &progress)
	}
	return out.String()
}

// The names are a contract with whoever reads the results.
func TestCasesOfTheContractAreThere(t *testing.T) {
	t.Parallel()
	listed := listCases(t)
	for _, name := range []string{
		"http1-hop", "http1-mtls-pair", "http1-client-only", "http1-server-only", "http1-max", "http2-hop", "http2-hop-16x1", "http2-1mb",
		"http2-max", "grpc-mtls-pair", "rate-1000", "new-mtls", "new-mtls-resumed", "tcp-bulk", "tcp-mtls-bulk", "tcp-rr", "idle-plain",
		"idle-mtls", "idle-10k", "services-10", "services-1000", "services-10000", "start-1000",
	} {
		if !strings.Contains("\n"+listed, "\n"+name+" ") {
			t.Errorf("no case %s", name)
		}
	}
}

func TestMistakesOnTheCommandLineAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"case", []string{"-case", "http3-hop"}, `no case "http3-hop"`},
		{"subject", []string{"-subjects", "caddy"}, `no subject "caddy"`},
		{"rounds", []string{"-rounds", "-1"}, "negative"},
		{"program", []string{"-envoy", "/does/not/exist"}, "envoy"},
		{"argument", []string{"quickly"}, `"quickly"`},
		{"flag", []string{"-fast"}, "-fast"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out, progress bytes.Buffer
			code := bench.Main(t.Context(), c.args, "test", &out, &progress)
			if code != 2 || !strings.Contains(progress.String(), c.want) {
				t.Errorf("got %d and %q, want 2 and %s", code, &progress, c.want)
			}
		})
	}
}

// builtIn is the folder of what built compiles.
var builtIn string

// built compiles the sidecar once for all tests.
var built = sync.OnceValues(func() (string, error) {
	program := filepath.Join(builtIn, "outrigger")
	out, err := exec.Command("go", "build", "-pgo=off", "-o", program, "../cmd/outrigger").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return program, err
})

func TestMain(m *testing.M) {
	var err error
	if builtIn, err = os.MkdirTemp("", "bench-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(builtIn); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func build(t *testing.T) string {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// results is the file as others read it.
type results struct {
	Machine, Commit string
	Rows            []struct {
		Case, Subject, Metric string
		Median, Min, Max      *float64
		Rounds                int
	}
}

func read(t *testing.T, name string) results {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var r results
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return r
}

func TestSmallRunMeasuresTheSidecarAndWritesResults(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	program, dir := build(t), t.TempDir()
	if here, err := os.Getwd(); err == nil { // as make names it
		if near, err := filepath.Rel(here, program); err == nil {
			program = near
		}
	}
	file, page := filepath.Join(dir, "results.json"), filepath.Join(dir, "page.html")
	cases := "http1-hop,http1-mtls-pair,http1-max,idle-10k,new-mtls,tcp-bulk,tcp-mtls-bulk,tcp-rr"
	if !raceEnabled { // the configuration of 1,000 services takes long to write there
		cases += ",start-1000"
	}
	var out, progress bytes.Buffer
	code := bench.Main(t.Context(), []string{
		"-outrigger", program, "-subjects", "outrigger,direct", "-rounds", "2", "-scale", "0.005", "-json", file, "-html", page,
		"-case", cases,
	}, "test-build", &out, &progress)
	if code != 0 {
		t.Fatalf("got %d:\n%s", code, &progress)
	}
	r := read(t, file)
	if r.Commit != "test-build" || r.Machine == "" {
		t.Errorf("got commit %q, machine %q", r.Commit, r.Machine)
	}
	seen := make(map[string]bool)
	for _, row := range r.Rows {
		if row.Median == nil || row.Min == nil || row.Max == nil || *row.Min > *row.Median || *row.Median > *row.Max || row.Rounds != 2 {
			t.Errorf("odd row %+v", row)
		}
		seen[row.Case+" "+row.Subject+" "+row.Metric] = true
	}
	for _, want := range []string{
		"http1-hop outrigger cpu_us_per_op", "http1-mtls-pair outrigger cpu_us_per_op", "http1-max direct ops_per_s",
		"rate-1000 outrigger added_p90_ms", "rate-1000 outrigger added_p99_ms", "rate-1000 direct p99_ms", "idle-10k outrigger p99_ms", "idle-10k direct p99_ms", "new-mtls outrigger cpu_us_per_op",
		"tcp-bulk outrigger gbit_per_cpu_s", "tcp-mtls-bulk outrigger gbit_per_cpu_s", "tcp-rr outrigger cpu_us_per_op", "start-1000 outrigger ms",
	} {
		if of, _, _ := strings.Cut(want, " "); !seen[want] && strings.Contains(cases+",rate-1000", of) {
			t.Errorf("no row %q", want)
		}
	}
	if b, err := os.ReadFile(page); err != nil || !bytes.Contains(b, []byte("http1-hop")) {
		t.Errorf("no page: %v", err)
	}
}

func TestProxyThatDoesNotStartIsANoteAndAFailure(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho cannot >&2\nexit 3\n"), 0o700); err != nil { //nolint:gosec // has to run
		t.Fatal(err)
	}
	var out, progress bytes.Buffer
	began := time.Now()
	code := bench.Main(t.Context(), []string{
		"-outrigger", broken, "-subjects", "outrigger,direct", "-rounds", "1", "-scale", "0.005", "-case", "http1-max", "-html", "",
	}, "test", &out, &progress)
	if code != 1 || !strings.Contains(progress.String(), "cannot") || !strings.Contains(progress.String(), bench.ErrIncomplete.Error()) {
		t.Errorf("got %d:\n%s", code, &progress)
	}
	if !strings.Contains(out.String(), "http1-max") {
		t.Errorf("the figures of the others are not shown:\n%s", &out)
	}
	if took := time.Since(began); took > 2*time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestResultsFromAFileAreChecked(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "results.json")
	const text = `{"machine":"m","commit":"c","rows":[{"case":"idle-plain","subject":"outrigger","metric":"bytes_per_conn","median":99999,"min":1,"max":2,"rounds":5}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := bench.Run(t.Context(), bench.Options{From: file, Check: true, Out: &out, Progress: &out})
	if !errors.Is(err, bench.ErrMissed) || !strings.Contains(out.String(), "MISSED") || !strings.Contains(out.String(), "not measured") {
		t.Errorf("got %v\n%s", err, &out)
	}
}

// children lists the processes that have a text in their command line or
// environment.
func children(t *testing.T, text string) (pids []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		env, _ := os.ReadFile(dir + "/environ")
		if bytes.Contains(env, []byte(text)) {
			pids = append(pids, filepath.Base(dir))
		}
	}
	return pids
}

// Proxies must not outlive the benchmark, however it ends.
func TestProxiesEndWithTheBenchmark(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	program := build(t)
	for name, sig := range map[string]os.Signal{"interrupted": os.Interrupt, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), program, "bench", "-subjects", "outrigger", "-case", "http1-max", "-rounds", "1000", "-html", "")
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(2 * time.Minute)
			for len(children(t, "XDS_ROOT_CA="+dir)) == 0 {
				if time.Now().After(deadline) {
					t.Fatal("no proxy was started")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the end is reported as a success")
			}
			for len(children(t, "XDS_ROOT_CA="+dir)) > 0 {
				if time.Now().After(deadline) {
					t.Fatalf("proxies are left: %q", children(t, "XDS_ROOT_CA="+dir))
				}
				time.Sleep(10 * time.Millisecond)
			}
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			if sig == os.Interrupt && len(left) > 0 {
				t.Errorf("files are left: %q", left)
			}
		})
	}
}
