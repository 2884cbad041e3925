// Package load generates the benchmark's traffic and measures what it met.
//
// Its life: Run dials the connections of a Shape, one lane each, and one thread polls
// them all (with TLS each has a goroutine); with a rate, a timetable says when each
// request is due, and it is written on a free lane, else each answer makes its lane
// send the next; status, length and trailers of every answer are checked, and its time
// counts from when it was due, not from when a busy generator got round to it; at the
// end the lanes drain and their histograms are merged.
//
// It must not know what stands between it and the backend, nor how results are shown.
package load
