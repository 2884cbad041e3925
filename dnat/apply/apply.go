package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// Choice says which backend writes the rules.
type Choice string

// The choices. Auto takes iptables-restore where PATH has a working one, and nftables by netlink otherwise.
const (
	Auto           Choice = ""
	Native         Choice = "nftables"
	IPTables       Choice = "iptables" // whichever flavour the plain name is
	IPTablesLegacy Choice = "iptables-legacy"
	IPTablesNFT    Choice = "iptables-nft"
)

// toolTimeout bounds one run of an iptables tool. It exceeds the wait for the lock of iptables-legacy.
const toolTimeout = 10 * time.Second

// What callers decide on; everything else is a failure of the kernel or a tool that the text explains.
var (
	ErrPermission  = errors.New("not permitted")
	ErrUnsupported = errors.New("not supported by this kernel or image")
)

// Options say how, not what.
type Options struct {
	Choice  Choice
	Path    string   // directories with the iptables tools, as in $PATH
	Environ []string // of the tools
	Force   bool     // write even if the rules are in place
	Log     *slog.Logger
}

// Outcome tells what was done.
type Outcome struct {
	Backend Choice
	Changed bool
}

// Apply brings the namespace to the plan. An empty plan removes everything, whoever wrote it.
func Apply(ctx context.Context, plan *dnat.Plan, o Options) (Outcome, error) {
	tools, err := chooseTools(ctx, plan, &o)
	if err != nil {
		return Outcome{}, err
	}
	if plan.Has(dnat.IPv6) {
		if err := addPassthrough(); err != nil {
			return Outcome{}, err
		}
	}
	if tools != nil {
		changed, err := applyTools(ctx, plan, tools, &o)
		if err == nil || o.Choice != Auto || ctx.Err() != nil {
			return Outcome{tools.choice, changed}, err
		}
		o.Log.Warn("iptables failed, using nftables by netlink", "error", err)
	}
	changed, err := applyNative(ctx, plan, &o)
	return Outcome{Native, changed}, err
}

// Cleanup removes every rule of ours and of Istio's capture, and ::6 from lo. It needs no configuration.
func Cleanup(ctx context.Context, o Options) (Outcome, error) {
	plan, err := dnat.NewPlan(dnat.Config{
		Mode: dnat.ModeNone, Ports: dnat.DefaultConfig().Ports,
		Proxy: dnat.DefaultConfig().Proxy, Outbound: dnat.DefaultConfig().Outbound,
	})
	if err != nil {
		return Outcome{}, fmt.Errorf("empty plan: %w", err)
	}
	outcome, err := Apply(ctx, plan, o)
	removed, addrErr := removePassthrough()
	outcome.Changed = outcome.Changed || removed
	return outcome, errors.Join(err, addrErr)
}

func applyTools(ctx context.Context, plan *dnat.Plan, tools *toolset, o *Options) (bool, error) {
	changed, err := tools.apply(ctx, plan, o.Force)
	if err != nil {
		return changed, err
	}
	// The new rules are in place: what is left from elsewhere goes now, so that no packet meets none.
	removed, err := removeNative(tools.choice == IPTablesLegacy)
	if err != nil {
		return changed, err
	}
	changed = changed || removed
	if tools.choice == IPTablesNFT {
		removed, err = removeLegacy(ctx, o)
		changed = changed || removed
	}
	if err != nil || !changed {
		return changed, err
	}
	return true, tools.verify(ctx, plan)
}

func applyNative(ctx context.Context, plan *dnat.Plan, o *Options) (bool, error) {
	changed, err := swapNative(plan, o.Force)
	if err != nil {
		return changed, err
	}
	legacy, err := removeLegacy(ctx, o)
	return changed || legacy, err
}
