// Package load generates the benchmark's traffic and measures what it met.
//
// Its life: Run dials the connections of a Shape, one lane each; with a rate, one
// scheduler computes when each request is due and writes it on a free lane, else
// each answer makes its lane send the next; the lane's reader checks status, length
// and trailers of every answer and records how long it took from the time at which
// it was due, not from when a busy generator got round to it; at the end the lanes
// drain and their histograms are merged.
//
// It must not know what stands between it and the backend, nor how results are shown.
package load
