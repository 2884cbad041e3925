// Package initcmd is the command that captures a pod's traffic: istio-iptables' flags and environment in, rules out.
//
// Its life: [Run] reads flags over environment, asks the system for what they leave open (addresses, nameservers,
// names of users), builds a dnat.Plan and prints it, applies it or removes it, optionally sends a probe connection
// through it, logs one line, and returns an exit code.
//
// The package must not know how rules are written (dnat/apply does) nor what the proxy does with the traffic.
package initcmd
