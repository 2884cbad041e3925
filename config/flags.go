package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrHelp is what Load answers a command line that asks for Usage.
var ErrHelp = errors.New("help requested")

// Usage tells the command line. The names are those of pilot-agent.
const Usage = `usage: outrigger proxy sidecar [flags]

Runs the sidecar. It takes what Istio gives to its own proxy: POD_NAMESPACE has to be set, PROXY_CONFIG or the file of
--meshConfig says where istiod is, and a token and istiod's root certificate are read from files.

  --domain NAME               last part of the node id (default <POD_NAMESPACE>.svc.cluster.local)
  --serviceCluster NAME       the node's cluster (default: named after the app)
  --meshConfig FILE           the mesh's configuration (default ./etc/istio/config/mesh)
  --concurrency N             how many processors are used (default 0: concurrency of PROXY_CONFIG, else all)
  --log_output_level LEVEL    debug, info, warn, error or none; also default:LEVEL (default info)
  --log_as_json               log as JSON

Other flags of pilot-agent are accepted without effect. Variables, files and ports: docs/configuration.md.
`

// flags are the command line of "pilot-agent proxy" as the injector writes it.
type flags struct {
	role           string
	domain         string
	serviceCluster string
	meshConfig     string
	meshNamed      bool // by a flag
	concurrency    int
	logLevel       string
	logJSON        bool
	warnings       []string
}

// ignoredFlags are accepted since injected containers carry them; they steer parts
// that this product does not have.
var ignoredFlags = map[string]bool{
	"proxyLogLevel": true, "proxyComponentLogLevel": true, "stsPort": true, "tokenManagerPlugin": true,
	"templateFile": true, "outlierLogPath": true, "profiling": true, "log_target": true, "log_caller": true,
	"log_rotate": true, "log_rotate_max_age": true, "log_rotate_max_backups": true, "log_rotate_max_size": true,
	"log_stacktrace_level": true, "vklog": true,
}

// boolFlags take no value unless it is joined by "=".
var boolFlags = map[string]bool{"log_as_json": true, "profiling": true}

// valueFlags mean nothing without a value.
var valueFlags = map[string]bool{
	"domain": true, "serviceCluster": true, "meshConfig": true, "concurrency": true, "log_output_level": true,
}

func parseFlags(args []string) (flags, error) {
	f := flags{meshConfig: "." + meshFile, logLevel: "info"}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if !strings.HasPrefix(arg, "-") {
			if f.role != "" {
				return f, fmt.Errorf("unexpected argument %q", arg)
			}
			f.role = arg
			continue
		}
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name == "help" || name == "h" {
			return f, ErrHelp
		}
		if !joined && !boolFlags[name] && len(args) > 0 && !strings.HasPrefix(args[0], "--") {
			value, args = args[0], args[1:]
			joined = true
		}
		if !joined && valueFlags[name] {
			return f, fmt.Errorf("--%s needs a value", name)
		}
		if err := f.set(name, value); err != nil {
			return f, err
		}
	}
	if f.role == "" {
		f.role = "sidecar"
	}
	return f, nil
}

func (f *flags) set(name, value string) error {
	switch name {
	case "domain":
		f.domain = value
	case "serviceCluster":
		f.serviceCluster = value
	case "meshConfig":
		f.meshConfig, f.meshNamed = value, true
	case "concurrency":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("--concurrency %q is not a whole number of 0 or more", value)
		}
		f.concurrency = n
	case "log_output_level":
		f.logLevel = defaultLevel(value)
		if _, known := levelNumber(f.logLevel); !known {
			f.warnings = append(f.warnings, fmt.Sprintf("--log_output_level: %q is no level; info is used", f.logLevel))
		}
	case "log_as_json":
		f.logJSON = value == "" || value == "true"
	default:
		if !ignoredFlags[name] {
			f.warnings = append(f.warnings, "flag --"+name+" is not known and has no effect")
		}
	}
	return nil
}

// defaultLevel picks the level of the default scope out of
// "default:info,ads:debug", or the bare level.
func defaultLevel(value string) string {
	level := "info"
	for part := range strings.SplitSeq(value, ",") {
		scope, l, scoped := strings.Cut(part, ":")
		switch {
		case !scoped && part != "":
			level = part
		case scope == "default" || scope == "all":
			level = l
		}
	}
	return level
}
