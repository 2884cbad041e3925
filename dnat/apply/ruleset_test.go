package apply

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/dnat"
)

func outboundPlan(t *testing.T) *dnat.Plan {
	t.Helper()
	c := dnat.DefaultConfig()
	c.Outbound.All = true
	plan, err := dnat.NewPlan(c)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestWhatWasRestoredIsFoundEqual(t *testing.T) {
	t.Parallel()
	plan := outboundPlan(t)
	want := planned(plan, dnat.IPv4)
	text := parseSave("").swap(want, plan.Marker())
	if !parseSave(text).equal(want, plan.Marker()) {
		t.Errorf("not equal to itself:\n%s", text)
	}
	if parseSave("").equal(want, plan.Marker()) {
		t.Error("an empty namespace is found equal")
	}
	if parseSave(text).equal(nil, plan.Marker()) {
		t.Error("a capture is found equal to none")
	}
	if parseSave(text).equal(want, "OUTRIGGER_other") {
		t.Error("another digest is found equal")
	}
	if parseSave(text+"*nat\n").equal(want, plan.Marker()) != true {
		t.Error("a second, empty section changes the answer")
	}
}

func TestOrderMattersBetweenRulesButNotInsideOne(t *testing.T) {
	t.Parallel()
	if a, b := normal("-p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1 ! -d 127.0.0.1/32 -j X"), normal("! -d 127.0.0.1/32 -p tcp -m owner --uid-owner 1 -m tcp ! --dport 15008 -j X"); a != b {
		t.Errorf("got %q and %q", a, b)
	}
	if a, b := normal("! -d 127.0.0.1/32 -o lo"), normal("-d 127.0.0.1/32 ! -o lo"); a == b {
		t.Errorf("negations moved unseen: %q", a)
	}
}

func TestSwapTouchesOnlyTheCapture(t *testing.T) {
	t.Parallel()
	const saved = `# Generated
*filter
:INPUT DROP [0:0]
:MINE - [0:0]
-A INPUT -j MINE
COMMIT
*nat
:PREROUTING ACCEPT [1:2]
:OUTPUT ACCEPT [0:0]
:DOCKER_OUTPUT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A PREROUTING -i foo -j RETURN
-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -j RETURN
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:ISTIO_DIVERT - [0:0]
-A PREROUTING -p tcp -m mark --mark 0x539 -j CONNMARK --save-mark
-A ISTIO_DIVERT -j ACCEPT
COMMIT
`
	const want = `*nat
:ISTIO_OUTPUT - [0:0]
-D PREROUTING -i foo -j RETURN
-D OUTPUT -p tcp -j ISTIO_OUTPUT
-X ISTIO_OUTPUT
COMMIT
*mangle
:ISTIO_DIVERT - [0:0]
-D PREROUTING -p tcp -m mark --mark 0x539 -j CONNMARK --save-mark
-X ISTIO_DIVERT
COMMIT
`
	if got := parseSave(saved).swap(nil, ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParseSave(f *testing.F) {
	f.Add("*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT ! -d 1.1.1.1 -j ISTIO_OUTPUT\nCOMMIT\n")
	f.Add("-A x\n:y\n*\n-A -A -A\n! ! !")
	f.Fuzz(func(t *testing.T, text string) {
		r := parseSave(text)
		r.swap(nil, "")
		r.equal(nil, "")
		normal(text)
	})
}
