package proxy

import (
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

func TestResponsesSayHowLongToWait(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 500)
	rt := &Retry{Resets: []ResetHeader{{Name: "retry-after"}, {Name: "x-reset", Timestamp: true}}, MaxReset: time.Minute, BackoffBase: 1, BackoffMax: 1}
	for _, c := range []struct {
		name  string
		field httpmsg.Field
		want  time.Duration // 0: the back-off
	}{
		{"in seconds", httpmsg.Field{Name: "retry-after", Value: "2"}, 2 * time.Second},
		{"at a time", httpmsg.Field{Name: "x-reset", Value: "1000010"}, 10 * time.Second},
		{"at a time that has passed", httpmsg.Field{Name: "x-reset", Value: "999999"}, 0},
		{"for too long", httpmsg.Field{Name: "retry-after", Value: "61"}, 0},
		{"as a date", httpmsg.Field{Name: "retry-after", Value: "Wed, 21 Oct 2026 07:28:00 GMT"}, 0},
		{"elsewhere", httpmsg.Field{Name: "x-other", Value: "2"}, 0},
	} {
		resp := &httpmsg.Response{Header: httpmsg.Header{Fields: []httpmsg.Field{c.field}}}
		got := rt.wait(0, resp, now)
		if most := max(c.want*3/2, 1); got < c.want || got >= most {
			t.Errorf("%s: waits %v, want between %v and %v", c.name, got, c.want, most)
		}
	}
}

func TestHeadersDecideAboutRetries(t *testing.T) {
	t.Parallel()
	yes, err := match.NewString(match.Exact, "yes", false)
	if err != nil {
		t.Fatal(err)
	}
	code, err := match.NewString(match.Exact, "419", false)
	if err != nil {
		t.Fatal(err)
	}
	rt := &Retry{On: RetryOnHeaders, Headers: []match.Header{
		match.NewHeader(match.HeaderSpec{Name: "x-again", Value: &yes}), match.NewHeader(match.HeaderSpec{Name: ":status", Value: &code}),
	}}
	for _, c := range []struct {
		status int
		value  string
		want   bool
	}{{200, "yes", true}, {200, "no", false}, {419, "no", true}, {500, "", false}} {
		resp := &httpmsg.Response{Status: c.status, Header: httpmsg.Header{Fields: []httpmsg.Field{{Name: "x-again", Value: c.value}}}}
		if got := rt.wantsResponse(resp); got != c.want {
			t.Errorf("%d with %q: got %v, want %v", c.status, c.value, got, c.want)
		}
	}
	may := &Retry{RequestHeaders: []match.Header{match.NewHeader(match.HeaderSpec{Name: "x-may"})}}
	r := &httpmsg.Request{Method: "GET"}
	if may.mayRepeat(r) || !rt.mayRepeat(r) {
		t.Error("a request without the header may be repeated, or one of a policy without conditions may not")
	}
	r.Header.Add("x-may", "1")
	if !may.mayRepeat(r) {
		t.Error("a request with the header may not be repeated")
	}
}
