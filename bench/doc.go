// Package bench measures what a sidecar costs, beside other proxies, on one
// machine.
//
// Main reads the command line; Run takes the cases one after the other. A case
// starts a proxy for each subject on the same ways, sends the same work through
// each in turn, round by round and in alternating order, reads from the kernel
// what the proxies used, and stops them. Figures go to a report.Collector; what
// could not be measured becomes a note, and an error at the end. Check holds
// figures against the limits of the project.
//
// It must not know how a proxy works inside: it sees sockets and /proc.
package bench
