// Package crash carries a panic from the goroutine that met it to the one that waits
// for that goroutine.
//
// A request's goroutine is guarded at its top, where a panic ends one connection and is
// counted and told. The goroutines that help it are not: each defers Box.Catch, ends as
// it would by an error, and whoever joins it calls Box.Rethrow. The package must not
// know what any of them does.
package crash

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// Box holds the first panic that was caught. The zero value is ready for use.
type Box struct{ first atomic.Pointer[string] }

// Catch is to be deferred, by itself: recover works in no other way.
func (b *Box) Catch() {
	if p := recover(); p != nil {
		text := fmt.Sprintf("%v\n%s", p, debug.Stack())
		b.first.CompareAndSwap(nil, &text)
	}
}

// Caught reports whether there is a panic in it.
func (b *Box) Caught() bool { return b.first.Load() != nil }

// Text is the panic with its stack, or nothing.
func (b *Box) Text() string {
	if text := b.first.Load(); text != nil {
		return *text
	}
	return ""
}

// Rethrow goes on panicking on the caller's goroutine, if there was a panic, and
// empties the box.
func (b *Box) Rethrow() {
	if text := b.first.Swap(nil); text != nil {
		panic(*text)
	}
}
