package config

import (
	"fmt"
	"strconv"
	"strings"
)

// flags are the command line of "pilot-agent proxy" as the injector writes it.
type flags struct {
	role           string
	domain         string
	serviceCluster string
	meshConfig     string
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
		if !joined && !boolFlags[name] && len(args) > 0 && !strings.HasPrefix(args[0], "--") {
			value, args = args[0], args[1:]
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
		f.meshConfig = value
	case "concurrency":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("--concurrency %q is not a whole number", value)
		}
		f.concurrency = n
	case "log_output_level":
		f.logLevel = defaultLevel(value)
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
