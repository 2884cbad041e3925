// Package apply puts a dnat.Plan into the kernel of the network namespace its caller's thread is in, and takes it out.
//
// Its life: look at what is there (iptables-save, an nf_tables dump, never a test rule), do nothing if it is the
// plan already, otherwise swap: iptables-restore with one atomic input per family, or one netlink transaction for
// all tables of both families. Then remove what the other backend or Istio's own capture left behind, and add ::6 to
// lo. Clean-up is the same with an empty plan. Callers lock their goroutine to its thread if they changed namespace.
//
// The package must not know flags, environment names or the proxy; it decides nothing about what is captured.
package apply
