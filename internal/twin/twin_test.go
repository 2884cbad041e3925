package twin

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

func TestCorpusIsLargeAndItsNamesAreUnique(t *testing.T) {
	t.Parallel()
	all, err := chosen("")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 300 {
		t.Errorf("got %d requests, want at least 300", len(all))
	}
	same := map[string]string{}
	for i := range all {
		all[i].answers = nil
		key := all[i].from + " " + all[i].to + " " + strings.Join(all[i].send, "\x00") + all[i].after
		if prev := same[key]; len(all[i].streams) == 0 && all[i].hello == nil && strings.Contains(all[i].name, "/match/") && prev != "" {
			t.Errorf("%s sends what %s sends", all[i].name, prev)
		}
		same[key] = all[i].name
	}
	if _, err := chosen("nothing/*"); err == nil {
		t.Error("a pattern that matches nothing is accepted")
	}
}

func TestAnAlteredRouteIsReportedAndNothingElse(t *testing.T) {
	t.Parallel()
	envoy := outcome{"response.status": "HTTP/1.1 200 OK", "response.header x-pod": "web-1", "upstream1.to": "web-1", "log1.cluster": "outbound|80|v1|routes"}
	ours := outcome{"response.status": "HTTP/1.1 200 OK", "response.header x-pod": "web-2", "upstream1.to": "web-2", "log1.cluster": "outbound|80|v2|routes"}
	diffs, order := compare("outbound/match/exact", envoy, ours, nil)
	var parts []string
	for _, d := range diffs {
		parts = append(parts, d.Part)
	}
	if got, want := strings.Join(parts, ", "), "log1.cluster, response.header x-pod, upstream1.to"; got != want {
		t.Errorf("got differences in %s, want %s", got, want)
	}
	if len(order) != 0 {
		t.Errorf("got %v", order)
	}
	if d, _ := compare("same", envoy, envoy, nil); len(d) != 0 {
		t.Errorf("an outcome differs from itself: %v", d)
	}
	r := &Report{diffs: diffs}
	r.judge([]Entry{{Trials: []string{"outbound/malformed/*"}, Parts: []string{"*"}, Reason: "other"}}, nil)
	if len(r.Open) != 3 || len(r.Stale) != 1 || !r.Failed() {
		t.Errorf("got %d open differences and %d stale entries, want 3 and 1", len(r.Open), len(r.Stale))
	}
	r = &Report{diffs: diffs}
	why := []Entry{{Trials: []string{"*/match/exact"}, Parts: []string{"upstream*", "response.header x-pod", "log*.cluster"}, Reason: "why"}}
	r.judge(why, diffs)
	if r.Failed() || r.Explained[0] != 3 {
		t.Errorf("got %d open differences, want all explained", len(r.Open))
	}
	recorded := slices.Clone(diffs)
	recorded[0].Outrigger = "outbound|80|v3|routes"
	r = &Report{diffs: diffs}
	r.judge(why, recorded)
	if len(r.Open) != 1 || len(r.Gone) != 1 {
		t.Errorf("got %d open differences and %d gone, want one that is not as it was recorded", len(r.Open), len(r.Gone))
	}
}

func TestOnlyTheRouteOfTheSelfTestIsAltered(t *testing.T) {
	t.Parallel()
	to := func(name, cluster string) *routev3.Route {
		return &routev3.Route{Name: name, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		}}}
	}
	c := &routev3.RouteConfiguration{Name: "80", VirtualHosts: []*routev3.VirtualHost{{
		Routes: []*routev3.Route{to("prefix", "outbound|80|v1|x"), to("exact", "outbound|80|v1|x")},
	}}}
	if what := alterations["route"].apply(c); what == "" {
		t.Error("nothing was altered")
	}
	routes := c.GetVirtualHosts()[0].GetRoutes()
	if got := routes[0].GetRoute().GetCluster() + " " + routes[1].GetRoute().GetCluster(); got != "outbound|80|v1|x outbound|80|v2|x" {
		t.Errorf("got clusters %s", got)
	}
	if what := alterations["route"].apply(c); what != "" {
		t.Errorf("altered again: %s", what)
	}
}

func TestComparisonJudgesValuesInOrderButNotTheOrderOfNames(t *testing.T) {
	t.Parallel()
	head := func(lines ...string) outcome {
		o := outcome{}
		o.head("response", fields(lines...))
		return o
	}
	for _, tt := range []struct {
		name         string
		a, b         outcome
		diffs, order int
	}{
		{"other order of names", head("a: 1", "b: 2"), head("b: 2", "a: 1"), 0, 1},
		{"other order of values", head("a: 1", "a: 2"), head("a: 2", "a: 1"), 1, 0},
		{"one line less", head("a: 1", "b: 2"), head("a: 1"), 1, 0},
		{"a whole response is missing", outcome{"end": "kept", "response.status": "200", "response.body": "x"}, outcome{"end": "kept"}, 1, 0},
		{"a whole log line is missing", outcome{"log.lines": "1", "log1.flags": "-", "log1.code": "200"}, outcome{"log.lines": "0"}, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			diffs, order := compare(tt.name, tt.a, tt.b, nil)
			if len(diffs) != tt.diffs || len(order) != tt.order {
				t.Errorf("got %v and order %v, want %d and %d", diffs, order, tt.diffs, tt.order)
			}
		})
	}
	if diffs, _ := compare("loose", head("a: 1"), head("a: 2"), []string{"response.header *"}); len(diffs) != 0 {
		t.Errorf("a loose part was compared: %v", diffs)
	}
}

func TestAnEntryIsAboutItsPartsAndPinnedValuesOnly(t *testing.T) {
	t.Parallel()
	e := Entry{Trials: []string{"outbound/x"}, Parts: []string{answerWord, "log1.code=400", "response.status=HTTP/1.1 400*", "upstream1.end"}}
	for _, tt := range []struct {
		part, ours string
		want       bool
	}{
		{"log1.code", "400", true},
		{"log1.code", "500", false},
		{"response.status", "HTTP/1.1 400 Bad Request", true},
		{"response.status", "HTTP/1.1 200 OK", false},
		{"log1.details", "anything", true},
		{"response.header x-other", "1", false},
		{"upstream1.end", "", true},
		{"upstream1.line", "", false},
		{"log.lines", "0", false},
	} {
		if got := e.explains(&Difference{Trial: "outbound/x", Part: tt.part, Outrigger: tt.ours}); got != tt.want {
			t.Errorf("%s is %q: got %v, want %v", tt.part, tt.ours, got, tt.want)
		}
	}
	if e.explains(&Difference{Trial: "outbound/y", Part: "log1.details"}) {
		t.Error("an entry explains another request")
	}
}

func TestVolatileTextsAreTidied(t *testing.T) {
	t.Parallel()
	for part, tt := range map[string]struct{ text, want string }{
		"response.header date":          {"Mon, 23 Nov 2026 21:04:03 GMT", "<date>"},
		"upstream1.header x-request-id": {"6ba7b810-9dad-41d1-80b4-00c04fd430c8", "<id 4>"},
		"log1.remote":                   {"10.0.1.1:20017", "10.0.1.1:<port>"},
		"log1.upstream_host":            {"10.0.3.1:8080", "10.0.3.1:8080"},
		"log1.duration":                 {"17", "<ms>"},
		"log1.sent":                     {"17", "17"},
	} {
		o := outcome{part: tt.text}
		o.tidy()
		if o[part] != tt.want {
			t.Errorf("%s: got %q, want %q", part, o[part], tt.want)
		}
	}
}

func TestEachRecordedDifferenceHasAReason(t *testing.T) {
	t.Parallel()
	entries, err := ReadList(filepath.Join("..", "..", "docs", "differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := ReadRecord(filepath.Join("testdata", "differences.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{diffs: recorded}
	r.judge(entries, recorded)
	for _, d := range r.Open {
		t.Errorf("no entry of the list explains %v", d)
	}
	for _, e := range r.Stale {
		t.Errorf("line %d of the list explains nothing that is recorded", e.Line)
	}
	if _, err := parseRecord("\"a\"\t\"b\"\t\"c\""); err == nil {
		t.Error("a line without Outrigger's value is accepted")
	}
}

func TestAlterationsAreSeenByWhomTheyAreFor(t *testing.T) {
	t.Parallel()
	all := trials()
	for kind, a := range alterations {
		n := 0
		for i := range all {
			if a.seenBy(all[i].name) {
				n++
			}
		}
		if n == 0 {
			t.Errorf("%s: no request is named so", kind)
		}
		seen := Difference{Trial: strings.ReplaceAll(a.meets[0], "*", ""), Part: "x"}
		for name, tt := range map[string]struct {
			open []Difference
			want int
		}{
			"by nobody":       {nil, 1},
			"by its own":      {[]Difference{seen}, 0},
			"by others, too":  {[]Difference{seen, {Trial: "other", Part: "x"}}, 1},
			"by others alone": {[]Difference{{Trial: "other", Part: "x"}}, 1},
		} {
			if got := a.unseen(kind, &Report{Open: tt.open}); len(got) != tt.want {
				t.Errorf("%s, %s: got %v", kind, name, got)
			}
		}
	}
}

func TestTheListIsReadFromTheDocument(t *testing.T) {
	t.Parallel()
	entries, err := ReadList(filepath.Join("..", "..", "docs", "differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Error("no entries")
	}
	all := trials()
	for _, e := range entries {
		for _, p := range e.Trials {
			found := false
			for i := range all {
				found = found || glob(p, all[i].name)
			}
			if !found {
				t.Errorf("line %d: no request is named %s", e.Line, p)
			}
		}
	}
	for name, text := range map[string]string{
		"no list":   "# Title\n",
		"no reason": "## The list\n| `a` | `b` | |\n",
		"no code":   "## The list\n| a | `b` | why |\n",
		"columns":   "## The list\n| `a` | `b` |\n",
	} {
		if _, err := parseList("x.md", text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestTwin is what `make twin` runs, for those who have an Envoy at hand.
func TestTwin(t *testing.T) {
	envoy := os.Getenv("OUTRIGGER_TWIN_ENVOY")
	if envoy == "" {
		t.Skip("set OUTRIGGER_TWIN_ENVOY to the path of an Envoy")
	}
	listed, err := ReadList(filepath.Join("..", "..", "docs", "differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := ReadRecord(filepath.Join("testdata", "differences.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Config{Envoy: envoy, BinDir: os.Getenv("OUTRIGGER_BIN_DIR"), Listed: listed, Recorded: recorded, Alter: AlterAll})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Open {
		t.Errorf("without an alteration: %v", d)
	}
	for _, u := range r.Unseen {
		t.Error(u)
	}
}
