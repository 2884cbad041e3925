// Command demo brings up a real istiod and a small shop on this machine and shows,
// step by step, what the sidecars do. It is what "make demo" runs.
//
// Its life: main asks whether namespaces can be made here, show brings up the
// mesh, runs the steps of a table one after the other and prints what each
// measured. A step has a check of its own; if one does not hold, the others still
// run and the exit status is 1. At the end, or at Ctrl-C, everything is removed.
//
// It sees the product from outside only: by what applications receive, and by the
// sidecars' ports and logs.
package main
