package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/bench/report"
)

func render(t *testing.T, d *report.Document) string {
	t.Helper()
	var b bytes.Buffer
	if err := d.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageAsksNothingOfAnybody(t *testing.T) {
	t.Parallel()
	text := render(t, sample())
	for _, bad := range []string{"http://", "https://", "//www", "src=", "@import", "url(", "%!", "NaN", "+Inf"} {
		if i := strings.Index(text, bad); i >= 0 {
			t.Errorf("%q is in it: %.80q", bad, text[max(i-40, 0):])
		}
	}
	for _, want := range []string{"AMD EPYC", "0123abc", "http1-mtls-pair", "Memory by services", "Latency by quantile", "p99.9", "the machine was busy", "82.4"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in it", want)
		}
	}
}

func TestNamesCannotBecomeMarkup(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert('x')</script>&`
	row := report.Row{Case: evil, Subject: evil, Metric: evil, Median: math.NaN(), Max: math.Inf(1)}
	d := &report.Document{
		Title: evil, Machine: evil, Commit: evil, Taken: evil, Rows: []report.Row{row}, Notes: []string{evil},
		Versions: []report.Version{{Name: evil, Version: evil}}, Cases: map[string]string{evil: evil},
		Curves: []report.Curve{{Case: evil, Subject: evil, Points: []report.Point{{Quantile: .5, Millis: 1}, {Quantile: .9, Millis: 2}}}},
	}
	text := render(t, d)
	if strings.Contains(text, evil) || strings.Count(text, "<script") != 1 {
		t.Error("a name became a script")
	}
}

func TestPageOfLittleIsWhole(t *testing.T) {
	t.Parallel()
	one := report.Row{Case: "services-10", Subject: report.Envoy, Metric: "rss_mb", Rounds: 1}
	for _, d := range []*report.Document{{}, {Rows: []report.Row{one}}, {Rows: []report.Row{one, {Case: "services-100", Subject: report.Envoy, Metric: "rss_mb"}}}} {
		if text := render(t, d); !strings.HasSuffix(text, "</html>\n") {
			t.Errorf("got %.100q", text)
		}
	}
}

// chromium returns a real browser, or skips the test where there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("OUTRIGGER_MUST_MESH") == "1" {
		t.Fatal("no chromium")
	}
	t.Skip("no chromium")
	return ""
}

// finding is what the probe saw of a page.
type finding struct {
	Width     int      // of what is drawn
	Errors    []string // of scripts and of what could not be loaded
	Nameless  []string // controls, links and pictures without a name
	Reached   int      // by the tabulator
	Shown     int      // rows after the filter
	Rows      int
	Dim       []string // texts with too little contrast
	SmallText []string
	Dark      bool
}

// probe is put into the page's own script and writes what it finds into the title.
const probe = `
<script>
const errors = [];
addEventListener("error", (e) => errors.push(String(e.message || e.target.outerHTML)), true);
addEventListener("load", () => {
  const $$ = (q) => [...document.querySelectorAll(q)];
  const rgb = (s) => { const c = document.createElement("canvas").getContext("2d"); c.fillStyle = s; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const light = (s) => { const [r, g, b] = rgb(s).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (rgb(c)[3] > 250) return c; } return "white"; };
  const filter = document.getElementById("filter");
  const rows = $$("tbody tr");
  filter.value = "http1-hop envoy";
  filter.dispatchEvent(new Event("input"));
  const shown = rows.filter((r) => !r.hidden).length;
  const texts = $$("p,li,a,dt,dd,td,th,h1,h2,figcaption,small,text,summary,button").filter((e) => e.textContent.trim() && e.getClientRects().length);
  const found = {
    Width: Math.max(document.documentElement.scrollWidth, document.body.scrollWidth),
    Errors: errors, Rows: rows.length, Shown: shown,
    Nameless: $$("a,button,input,svg[role],[role=img],[tabindex]").filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length || e.getAttribute("aria-labelledby"))).map((e) => e.outerHTML.slice(0, 80)),
    Reached: $$("a[href],button,input,summary,[tabindex='0']").filter((e) => { e.focus(); return document.activeElement === e; }).length,
    Dim: texts.filter((e) => { const s = getComputedStyle(e); const a = light(e.tagName === "text" ? s.fill : s.color), b = light(ground(e)); return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5; }).map((e) => e.outerHTML.slice(0, 80)),
    SmallText: $$("svg text").filter((e) => e.getBoundingClientRect().height < 11).map((e) => e.outerHTML.slice(0, 80)),
    Dark: light(ground(document.body)) < 0.2,
  };
  document.title = "found " + JSON.stringify(found);
  parent.document.title = document.title;
});
</script>`

var foundTitle = regexp.MustCompile(`<title>found (.*?)</title>`)

// browse shows the page in a window of a width and says what the probe found.
func browse(t *testing.T, page string, width int, theme string) (f finding) {
	t.Helper()
	browser := chromium(t)
	page = strings.Replace(page, "</head>", probe+"</head>", 1)
	page = strings.Replace(page, "<html", `<html data-theme="`+theme+`"`, 1)
	// A window cannot be as narrow as a telephone; a frame can.
	wrapper := fmt.Sprintf(`<!DOCTYPE html><body style="margin:0"><iframe style="border:0" width="%d" height="900" srcdoc="%s"></iframe>`, width, html.EscapeString(page))
	dir := t.TempDir()
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, []byte(wrapper), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+dir, "--virtual-time-budget=5000", "--window-size=1300,1000", "--dump-dom", "file://"+file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	m := foundTitle.FindSubmatch(out)
	if m == nil {
		t.Fatalf("the probe said nothing: %.2000s", out)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(string(m[1]))), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPageInARealBrowser(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip("the browser runs the page's own program")
	}
	page := render(t, sample())
	for _, tt := range []struct {
		width int
		theme string
	}{{400, "light"}, {400, "dark"}, {1200, "light"}, {1200, "dark"}} {
		t.Run(fmt.Sprintf("%d %s", tt.width, tt.theme), func(t *testing.T) {
			got := browse(t, page, tt.width, tt.theme)
			if got.Width > tt.width {
				t.Errorf("it is %d wide", got.Width)
			}
			if len(got.Errors) > 0 || len(got.Nameless) > 0 || len(got.Dim) > 0 || len(got.SmallText) > 0 {
				t.Errorf("errors %q\nwithout a name %q\ntoo dim %q\ntoo small %q", got.Errors, got.Nameless, got.Dim, got.SmallText)
			}
			if got.Rows == 0 || got.Shown != 1 {
				t.Errorf("the filter leaves %d of %d rows, want 1", got.Shown, got.Rows)
			}
			if want := 15; got.Reached < want {
				t.Errorf("the keyboard reaches %d things, want %d or more", got.Reached, want)
			}
			if got.Dark != (tt.theme == "dark") {
				t.Errorf("dark is %v", got.Dark)
			}
		})
	}
}
