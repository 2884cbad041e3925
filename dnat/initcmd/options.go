package initcmd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

type kind uint8

const (
	text kind = iota
	boolean
	number
	duration
)

// option is one flag of istio-iptables.
type option struct {
	name   string
	short  byte
	kind   kind
	preset string
	env    []string // further names; the flag's name in capitals is always one, unless noEnv
	noEnv  bool
	idle   string // why it changes nothing here
	usage  string
}

// options are istio-iptables' 32 flags and the two logging flags every Istio command has.
var options = []option{
	{name: "envoy-port", short: 'p', kind: number, preset: "15001", noEnv: true, usage: "port that outbound TCP goes to"},
	{name: "inbound-capture-port", short: 'z', kind: number, preset: "15006", usage: "port that inbound TCP goes to"},
	{name: "inbound-tunnel-port", short: 'e', kind: number, preset: "15008", usage: "port of HBONE, never captured"},
	{name: "proxy-uid", short: 'u', usage: "user ids of the proxy, comma-separated (default: ENVOY_USER's, else 1337)"},
	{name: "proxy-gid", short: 'g', usage: "group ids of the proxy, comma-separated (default: the user ids)"},
	{name: "istio-inbound-interception-mode", short: 'm', usage: "REDIRECT (default) or NONE"},
	{name: "istio-inbound-ports", short: 'b', usage: "inbound ports to capture, comma-separated, or *"},
	{name: "istio-local-exclude-ports", short: 'd', usage: "inbound ports to leave alone, with -b '*'"},
	{name: "istio-exclude-interfaces", short: 'c', usage: "interfaces to leave alone"},
	{name: "istio-service-cidr", short: 'i', usage: "destinations to capture, comma-separated CIDRs, or *"},
	{name: "istio-service-exclude-cidr", short: 'x', usage: "destinations to leave alone"},
	{name: "istio-outbound-ports", short: 'q', usage: "outbound ports to capture whatever their destination"},
	{name: "istio-local-outbound-ports-exclude", short: 'o', usage: "outbound ports to leave alone"},
	{name: "kube-virt-interfaces", short: 'k', usage: "interfaces whose inbound traffic counts as outbound"},
	{name: "istio-inbound-tproxy-mark", short: 't', kind: number, preset: "1337", idle: "TPROXY only", usage: "mark of TPROXY"},
	{name: "istio-inbound-tproxy-route-table", short: 'r', kind: number, preset: "133", idle: "TPROXY only", usage: "routing table of TPROXY"},
	{name: "dry-run", short: 'n', kind: boolean, usage: "print the plan, change nothing"},
	{name: "iptables-probe-port", kind: number, preset: "15002", usage: "port dialled by --run-validation"},
	{name: "probe-timeout", kind: duration, preset: "5s", usage: "limit of --run-validation"},
	{name: "skip-rule-apply", kind: boolean, usage: "do not write rules"},
	{name: "run-validation", kind: boolean, usage: "dial through the rules; exit code 126 on failure"},
	{name: "redirect-dns", kind: boolean, usage: "send queries to the proxy's resolver"},
	{name: "drop-invalid", kind: boolean, env: []string{"INVALID_DROP"}, usage: "drop packets conntrack calls invalid"},
	{name: "dual-stack", kind: boolean, env: []string{"ISTIO_DUAL_STACK"}, usage: "validate both families (both are captured anyway)"},
	{name: "capture-all-dns", kind: boolean, usage: "capture queries to any server"},
	{name: "network-namespace", usage: "path of the network namespace to work in"},
	{name: "cni-mode", kind: boolean, idle: "nothing differs", usage: "accepted"},
	{name: "reconcile", kind: boolean, idle: "every run reconciles", usage: "accepted"},
	{name: "cleanup-only", kind: boolean, usage: "remove the rules; needs no other flag"},
	{name: "force-apply", kind: boolean, usage: "write the rules even if they are in place"},
	{name: "native-nftables", kind: boolean, usage: "write nftables by netlink"},
	{name: "force-iptables-binary", usage: "write with iptables-legacy or iptables-nft: legacy or nft"},
	{name: "log_output_level", noEnv: true, usage: "debug or info, also default:debug"},
	{name: "log_as_json", kind: boolean, noEnv: true, usage: "log JSON"},
}

// Names that exist in the environment only.
const (
	envLoopback      = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"
	envGroups        = "ISTIO_OUTBOUND_OWNER_GROUPS"
	envExcludeGroups = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"
	envUser          = "ENVOY_USER"
	envDryRunFile    = "DRY_RUN_FILE_PATH"
	envIPv6          = "OUTRIGGER_IPV6" // auto (default), true, false
)

var errHelp = errors.New("help requested")

// values are the settings as text, each checked to be of its kind.
type values struct {
	set      map[string]string
	explicit map[string]bool // by flag or environment
	environ  map[string]string
}

func (v *values) text(name string) string { return v.set[name] }

// flag is false unless the value is a true word; parse has checked the word.
func (v *values) flag(name string) bool {
	on, err := strconv.ParseBool(v.set[name])
	return err == nil && on
}

// idle lists what was set and changes nothing.
func (v *values) idle() []string {
	var names []string
	for _, o := range options {
		if o.idle != "" && v.explicit[o.name] {
			names = append(names, "--"+o.name+" ("+o.idle+")")
		}
	}
	// A mesh sets this for all pods. Queries sent to a port where nobody answers would
	// leave the pod without names, so only an explicit flag captures them.
	if on, err := strconv.ParseBool(v.environ[envDNSCapture]); err == nil && on && !v.flag("redirect-dns") {
		names = append(names, envDNSCapture+" (the sidecar has no DNS server yet; --redirect-dns captures all the same)")
	}
	return names
}

// envDNSCapture is how a mesh asks for DNS capture.
const envDNSCapture = "ISTIO_META_DNS_CAPTURE"

// parse reads flags over environment over presets.
func parse(args, environ []string) (*values, error) {
	v := &values{set: map[string]string{}, explicit: map[string]bool{}, environ: map[string]string{}}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			v.environ[name] = value
		}
	}
	for _, o := range options {
		v.set[o.name] = o.preset
		if o.noEnv {
			continue
		}
		for _, name := range append([]string{envName(o.name)}, o.env...) {
			value := v.environ[name]
			if value == "" {
				continue
			}
			if err := v.put(&o, value); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			break
		}
	}
	return v, v.parseFlags(args)
}

func envName(flag string) string { return strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) }

func (v *values) put(o *option, value string) error {
	var err error
	switch o.kind {
	case boolean:
		_, err = strconv.ParseBool(value)
	case number:
		_, err = strconv.ParseUint(value, 10, 32)
	case duration:
		_, err = time.ParseDuration(value)
	case text:
	}
	if err != nil {
		return fmt.Errorf("%q is no %s", value, [...]string{"text", "boolean", "number", "duration"}[o.kind])
	}
	v.set[o.name], v.explicit[o.name] = value, true
	return nil
}

// parseFlags follows the POSIX and GNU forms: -p 1, -p1, -p=1, -nx=, --name 1, --name=1. A boolean takes its value
// only after "=".
func (v *values) parseFlags(args []string) error {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--help" || arg == "-h":
			return errHelp
		case arg == "--" && len(args) == 0:
		case strings.HasPrefix(arg, "--") && arg != "--":
			args, err = v.parseLong(arg[2:], args)
		case strings.HasPrefix(arg, "-") && len(arg) > 1 && arg != "--":
			args, err = v.parseShort(arg[1:], args)
		default:
			err = fmt.Errorf("unexpected argument %q", arg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *values) parseLong(word string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(word, "=")
	i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
	if i < 0 {
		return nil, fmt.Errorf("unknown flag --%s", name)
	}
	return v.take(&options[i], "--"+name, value, given, rest)
}

func (v *values) parseShort(letters string, rest []string) ([]string, error) {
	for letters != "" {
		i := slices.IndexFunc(options, func(o option) bool { return o.short == letters[0] })
		if i < 0 || letters[0] == 0 {
			return nil, fmt.Errorf("unknown flag -%s", letters[:1])
		}
		name, tail := "-"+letters[:1], letters[1:]
		value, given := strings.CutPrefix(tail, "=")
		if options[i].kind == boolean && !given {
			if err := v.put(&options[i], "true"); err != nil {
				return nil, err
			}
			letters = tail
			continue
		}
		return v.take(&options[i], name, value, given || tail != "", rest)
	}
	return rest, nil
}

func (v *values) take(o *option, name, value string, given bool, rest []string) ([]string, error) {
	if !given {
		switch {
		case o.kind == boolean:
			value = "true"
		case len(rest) == 0:
			return nil, fmt.Errorf("%s needs a value", name)
		default:
			value, rest = rest[0], rest[1:]
		}
	}
	if err := v.put(o, value); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return rest, nil
}
