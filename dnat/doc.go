// Package dnat decides what traffic of a pod is captured and tells, for a captured connection, where it was going.
//
// Its life: a [Config] is validated, [NewPlan] turns it into a [Plan] (families, tables, chains, rules, each rule with
// its reason), the plan is printed as iptables-restore or nft text, and package dnat/apply puts it into the kernel.
// At run time the proxy asks [OriginalDst] for the destination of an accepted connection and binds its upstream
// sockets with [BindControl]. A plan is a value: building and printing it needs no privilege and touches nothing.
//
// The package must not know xDS, the proxy or any file of the pod; everything it needs arrives in a Config.
//
// A plan neither drops nor refuses direct dials to the capture ports (15001, 15006): such a connection reports the
// capture port itself as its original destination and the proxy has to close it.
package dnat
