package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/echo"
)

// What a step accepts matters as much as what it shows: these hold the checks
// against what a broken product would do.

func TestSplitIsHeldAgainstTheWeights(t *testing.T) {
	for name, tc := range map[string]struct {
		by     map[string]int
		failed int
		want   string // part of the error, or empty
	}{
		"as weighted":     {map[string]int{"reviews-v1": 8100, "reviews-v2": 1400, "reviews-v3": 500}, 0, ""},
		"too much for v3": {map[string]int{"reviews-v1": 7690, "reviews-v2": 1500, "reviews-v3": 810}, 0, "reviews-v3 got 8.1 %"},
		"one failed":      {map[string]int{"reviews-v1": 8000, "reviews-v2": 1500, "reviews-v3": 499}, 1, "1 of 10,000 requests failed: 1 × no"},
	} {
		tally := &tally{asked: splitRequests, failed: tc.failed, by: tc.by, errors: map[string]int{"no": tc.failed}}
		_, err := splitResult(tally)
		check(t, name, err, tc.want)
	}
}

func TestAnIntruderMustBeCutOffWhenStrict(t *testing.T) {
	reset := answer{err: syscall.ECONNRESET}
	closed := answer{err: io.ErrUnexpectedEOF}
	in := answer{status: http.StatusOK}
	alert := tls.AlertError(116)
	for name, tc := range map[string]struct {
		got  attempt
		want string
	}{
		"cut off":              {attempt{reset, closed, alert}, ""},
		"let in":               {attempt{in, reset, alert}, "plain HTTP was not cut off"},
		"told why":             {attempt{reset, answer{status: 403, err: errors.New("status 403")}, alert}, "forged header was not cut off"},
		"TLS without identity": {attempt{reset, reset, errAnswered}, "TLS without a certificate was not refused"},
	} {
		check(t, name, shut("at first", &tc.got), tc.want)
	}
}

func TestAnIntruderMustNotClaimAnIdentityWhenPermissive(t *testing.T) {
	in := answer{status: http.StatusOK}
	believed := answer{status: http.StatusOK, from: echo.Reply{Headers: [][2]string{{"X-Forwarded-Client-Cert", "URI=spiffe://x"}}}}
	alert := tls.AlertError(116)
	check(t, "a nobody", let(&attempt{in, in, alert}), "")
	check(t, "a liar", let(&attempt{in, believed, alert}), "told that a plain caller is")
	check(t, "shut out", let(&attempt{answer{err: io.EOF}, in, alert}), "plain HTTP is refused")
}

func TestClientCertificateHeaderIsReadStrictly(t *testing.T) {
	by, uri := certFields([]string{`By=spiffe://a;Hash=00;Subject="";URI=spiffe://b`})
	if by != "spiffe://a" || uri != "spiffe://b" {
		t.Errorf("got %q and %q", by, uri)
	}
	for _, bad := range [][]string{nil, {"URI=spiffe://b", "URI=spiffe://c"}, {"URI=spiffe://forged,URI=spiffe://b"}} {
		if _, uri := certFields(bad); strings.HasPrefix(uri, "spiffe://") {
			t.Errorf("%q: got %q", bad, uri)
		}
	}
}

func TestAccessLogLinesAreFoundAmongOthers(t *testing.T) {
	log := `time=x level=INFO msg="started"
{"access":"2026","cluster":"outbound|80||a","upstream":"spiffe://a","downstream":null,"received":1,"sent":2}
{"access":"2026","cluster":"inbound|80||","downstream":"spiffe://b","received":3,"sent":4}
{"other":1}
`
	if got := lastLogged(log, "inbound"); got == nil || got.Downstream != "spiffe://b" || got.Received != 3 {
		t.Errorf("got %+v", got)
	}
	if got := lastLogged(log, "nothing"); got != nil {
		t.Errorf("got %+v", got)
	}
}

func TestShopsWeightsCanBeEdited(t *testing.T) {
	got, err := weighted(0, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"subset: v1 }, weight: 0 ", "subset: v2 }, weight: 0 ", "subset: v3 }, weight: 100 "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

// check compares an error with the part of it that is wanted.
func check(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: got %v", name, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}
