// Package oracle compares the proxy with a real Envoy. Both get one configuration,
// shaped as istiod shapes it, and the same bytes; what the downstream, the origin
// and the access log saw has to be the same.
//
// It holds tests alone, behind the build tag oracle. They run where OUTRIGGER_ENVOY
// names an Envoy binary:
//
//	OUTRIGGER_ENVOY=/path/to/envoy go test -tags oracle ./internal/oracle
//
// Failures are played on clusters of their own, whose counters have to agree, too; nothing
// of these may differ.
//
// testdata/differences.txt lists the trials that differ, in which parts and why. A
// difference that is not listed fails; -update writes the list again, and ORACLE_ONLY
// with -v shows what differs in the trials whose names it matches.
//
// It must not know how the proxy works inside: it compiles a configuration and
// opens sockets.
package oracle
