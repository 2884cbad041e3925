// Package accesslog writes one line per finished flow, in Envoy's format language.
//
// A format string is parsed once, when configuration is compiled, into a list of
// append functions. Observe runs them over a record into a borrowed buffer and
// hands the bytes to the Writer of the file, whose queue is bounded: when the disk
// or the pipe is slower than the traffic, lines are counted and dropped, and no
// request waits. One goroutine per file, owned by Outputs, batches the writes.
//
// It knows flow.Record and files, and nothing of listeners or of xDS messages.
package accesslog
