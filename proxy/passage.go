package proxy

import (
	"time"
	"unique"
)

// FilterName is the name by which routes speak of a filter; names are compared as
// pointers.
type FilterName = unique.Handle[string]

// Installed is a filter in its place in a chain.
type Installed struct {
	Name   FilterName
	Filter Filter
	// Disabled filters are passed by, unless a rule speaks of them.
	Disabled bool
}

// Override is what a rule, or one of its weighted clusters, says of one filter.
type Override struct {
	Name FilterName
	// Disabled has the filter passed by. Otherwise a filter that is spoken of takes
	// part, also where its chain disables it.
	Disabled bool
	// Config is what the filter finds with Exchange.Setting; nil is none.
	Config any
}

// maxSwitched is how many filters of a chain can be switched on and off.
const maxSwitched = 64

// passage is how far an exchange has come through its filters.
type passage struct {
	filters   []Installed
	overrides []Override
	entered   int    // filters that saw the request
	off       uint64 // those of them that are passed by, by index
	rematched bool
	unedited  bool // the rule's edits are not for what a filter answered
	decorated bool // the request named an operation of its own
	internal  bool // the sender may use the router's control headers

	memos   []memo
	ends    []func()  // called when the exchange ends
	resumed time.Time // when a filter that held the request let it go; zero if none did
}

// memo is what a filter remembers of a request.
type memo struct {
	by    Filter
	value any
}

// settle decides which filters take part in the exchange.
func (p *passage) settle() {
	p.off = 0
	for i := range p.filters {
		f := &p.filters[i]
		if i < maxSwitched && disabled(f, p.overrides) {
			p.off |= 1 << i
		}
	}
}

func disabled(f *Installed, overrides []Override) bool {
	for i := range overrides {
		if overrides[i].Name == f.Name {
			return overrides[i].Disabled
		}
	}
	return f.Disabled
}

func (p *passage) passesBy(i int) bool { return i < maxSwitched && p.off&(1<<i) != 0 }

// filter asks the filters in their order; the first reply ends the trip.
func (x *Exchange) filter() *Reply {
	p := &x.passage
	for i := range p.filters {
		p.entered++
		if p.passesBy(i) {
			continue
		}
		if reply := p.filters[i].Filter.Request(x); reply != nil {
			return reply
		}
	}
	return nil
}

// filterResponse has the filters that saw the request look at the response, from
// the last to the first.
func (x *Exchange) filterResponse() {
	p := &x.passage
	for i := p.entered - 1; i >= 0; i-- {
		if p.passesBy(i) {
			continue
		}
		if f, ok := p.filters[i].Filter.(ResponseFilter); ok {
			f.Response(x)
		}
	}
}

// Setting is what the exchange's rule says of the filter of that name, or nil.
func (x *Exchange) Setting(name FilterName) any {
	for i := range x.passage.overrides {
		if o := &x.passage.overrides[i]; o.Name == name {
			return o.Config
		}
	}
	return nil
}

// Remember keeps what a filter has to know of the request when its response comes.
func (x *Exchange) Remember(f Filter, value any) {
	x.passage.memos = append(x.passage.memos, memo{f, value})
}

// Recall returns what the filter remembers, or nil.
func (x *Exchange) Recall(f Filter) any {
	for i := range x.passage.memos {
		if x.passage.memos[i].by == f {
			return x.passage.memos[i].value
		}
	}
	return nil
}

// EditRequest changes the request's headers.
func (x *Exchange) EditRequest(e *HeaderEdits) { e.apply(x, &x.Request.Header, joinedInRequests) }

// OnEnd has f called when the exchange ends.
func (x *Exchange) OnEnd(f func()) { x.passage.ends = append(x.passage.ends, f) }

// Hold keeps the request waiting. The reply, if there is one, says why it has to end
// before its time is up. Clocks that run from the end of a request run from the end
// of the waiting.
func (x *Exchange) Hold(d time.Duration) *Reply {
	x.watch()
	if x.Rule == nil || x.Rule.GRPC == nil {
		x.armDuration(x.longest())
	}
	if !sleep(x.Context(), d) {
		return replyFor(x.left(), 0)
	}
	x.passage.resumed = time.Now()
	return nil
}

// complete is when the router saw the end of the request: when it had come, or when
// the filters let it go. It is zero while the request is on its way.
func (x *Exchange) complete() time.Time {
	done := x.body.completed()
	if !done.IsZero() && done.Before(x.passage.resumed) {
		return x.passage.resumed
	}
	return done
}
