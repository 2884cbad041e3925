package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
)

const (
	// batchSize is how many names are asked for at a time, so that no single answer is large.
	batchSize = 500
	// answerIn is how long the next names wait for an answer to the last ones; some types may not answer at all.
	answerIn = 2 * time.Second
	// maxHeld bounds the names in one request; istiod accepts 4 MiB.
	maxHeld = 3 << 20
	// maxNACK bounds the text of a rejection.
	maxNACK = 4 << 10
	// sendQueue is far more than can be under way: one answer per response, one question per type.
	sendQueue = 64
	// releaseAt is how much must have been received for memory to be given back to the system once it is quiet.
	releaseAt = 4 << 20
	// tick is how often waiting names and quiet are looked at.
	tick = 500 * time.Millisecond
)

// session is one stream.
type session struct {
	c      *Client
	stream grpc.ClientStream
	send   chan []byte   // closed by nobody: the context ends the sender
	frames chan *frame   // from the receiver
	next   chan struct{} // to the receiver: the last frame has been dealt with
	sent   chan struct{} // closed by the sender when it ends
	failed chan error    // from the receiver, once

	asked    [kinds]time.Time // when names were asked for that have not been answered; owned by run
	started  [kinds]bool      // a request was sent
	answered [kinds]bool
	received int       // bytes since memory was given back
	last     time.Time // of the last response
}

// stream connects and runs one session. worked reports whether a response arrived.
func (c *Client) stream(ctx context.Context) (worked bool, err error) {
	conn, hs, err := c.dial()
	if err != nil {
		return false, err
	}
	// An error would only say that it is closed already.
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := c.open(ctx, conn)
	if err != nil {
		c.counters.failures.Add(1)
		return false, errors.Join(err, hs.cause())
	}
	c.counters.connects.Add(1)
	s := &session{
		c: c, stream: st, send: make(chan []byte, sendQueue), frames: make(chan *frame), next: make(chan struct{}),
		sent: make(chan struct{}), failed: make(chan error, 1),
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.receive(ctx) })
	wg.Go(func() { s.transmit(ctx) })
	err = s.run(ctx)
	cancel()
	wg.Wait()
	return s.worked(), err
}

func (s *session) worked() bool { return !s.last.IsZero() }

// receive hands over one message at a time: while one is dealt with, the next waits in the flow control window.
func (s *session) receive(ctx context.Context) {
	for {
		f := &frame{}
		if err := s.stream.RecvMsg(f); err != nil {
			f.release()
			s.failed <- err
			return
		}
		select {
		case s.frames <- f:
		case <-ctx.Done():
			f.release()
			return
		}
		select {
		case <-s.next:
		case <-ctx.Done():
			return
		}
	}
}

// transmit sends what is queued; its failure shows at the receiver.
func (s *session) transmit(ctx context.Context) {
	defer close(s.sent)
	for {
		select {
		case b := <-s.send:
			if s.stream.SendMsg(b) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// queue puts a request into the queue of the sender.
func (s *session) queue(ctx context.Context, r *request) {
	select {
	case s.send <- r.encode():
	case <-s.sent:
	case <-ctx.Done():
	}
}

// run is the life of a stream: ask, and deal with what comes.
func (s *session) run(ctx context.Context) error {
	s.c.store.newStream()
	s.start(ctx, cds, s.c.cfg.Node)
	timer := time.NewTicker(tick)
	defer timer.Stop()
	for {
		select {
		case f := <-s.frames:
			err := s.handle(ctx, f.body)
			s.received += len(f.body)
			f.release()
			if err != nil {
				return err
			}
			select {
			case s.next <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		case err := <-s.failed:
			return err
		case <-timer.C:
			s.idle(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start sends the first request of a wildcard type.
func (s *session) start(ctx context.Context, k kind, node []byte) {
	if s.started[k] {
		return
	}
	s.started[k] = true
	s.queue(ctx, &request{node: node, typeURL: traits[k].url, held: s.c.store.heldNames(k, maxHeld)})
}

// idle asks for names that were held back too long, and gives memory back after a large push.
func (s *session) idle(ctx context.Context) {
	for k := range kinds {
		if !s.asked[k].IsZero() && time.Since(s.asked[k]) > answerIn {
			s.asked[k] = time.Time{}
			s.ask(ctx, k)
		}
	}
	if s.received >= releaseAt && time.Since(s.last) > tick {
		s.received = 0
		debug.FreeOSMemory()
	}
}

// ask subscribes to the next names of a type, one batch at a time.
func (s *session) ask(ctx context.Context, k kind) {
	if traits[k].wildcard || !s.asked[k].IsZero() {
		return
	}
	names := s.c.store.pending(k, batchSize)
	if len(names) == 0 {
		return
	}
	r := &request{typeURL: traits[k].url, subscribe: names}
	if !s.started[k] {
		for _, n := range names {
			if s.c.store.has(k, n) {
				r.held = append(r.held, n)
			}
		}
	}
	s.started[k] = true
	s.asked[k] = time.Now()
	s.queue(ctx, r)
}

// handle deals with one response: stage, commit, tell, answer, ask on.
func (s *session) handle(ctx context.Context, body []byte) error {
	r, err := parse(body)
	if err != nil {
		return err
	}
	s.c.counters.received.Add(uint64(len(body)))
	s.last = time.Now()
	s.c.connection(true, "")
	k, ok := kindOf(r.typeURL)
	if !ok {
		s.c.log.LogAttrs(ctx, slog.LevelDebug, "response of a type that was not asked for", slog.String("type", r.typeURL))
		return nil
	}
	var nack rejection
	change := s.apply(k, &r, &nack)
	s.answered[k], s.asked[k] = true, time.Time{}
	s.tell(change, &nack)
	s.answer(ctx, k, &r, &nack)
	if k == cds || k == lds {
		s.follow(ctx, k)
	}
	for k := range kinds {
		s.ask(ctx, k)
	}
	if k == cds {
		s.start(ctx, lds, nil)
	}
	if k == lds && s.c.cfg.NameTable {
		s.start(ctx, nds, nil)
	}
	return nil
}

// apply stages and commits the resources of a response.
func (s *session) apply(k kind, r *response, nack *rejection) Change {
	b, err := s.c.store.Begin(traits[k].url)
	if err != nil {
		nack.add(err)
		return Change{TypeURL: traits[k].url}
	}
	nameless, removed := false, 0
	r.each(func(x resource) {
		name := x.name
		if k == nds {
			name = nil
		}
		nameless = nameless || len(name) == 0
		switch {
		case !x.found:
		case string(x.typeURL) != traits[k].url:
			nack.add(fmt.Errorf("%s %s: the content is of type %s", traits[k].noun, quote(name), quote(x.typeURL)))
			s.c.store.touch(k, name)
		default:
			err := b.Add(name, x.body)
			if err != nil && s.c.cfg.Handler != nil {
				s.c.cfg.Handler.Refused(traits[k].url, string(name), x.body, err)
			}
			nack.add(err)
			nack.tried++
		}
	})
	r.eachRemoved(func(name []byte) {
		removed++
		b.Remove(name)
	})
	change, err := b.Commit(r.version)
	nack.add(err)
	change.Complete = traits[k].wildcard && k != nds && !s.answered[k] && r.size > 0 && removed == 0 && !nameless
	if change.Complete {
		s.reconcile(k, r.version, &change, nack)
	}
	return change
}

// reconcile removes what the first response of a stream does not name. That response is complete, because held
// resources were offered without a version: istiod cannot have left one out as known. It should have sent the removals
// itself, so this is only done where it sent none.
func (s *session) reconcile(k kind, version string, change *Change, nack *rejection) {
	stale := s.c.store.stale(k)
	if len(stale) == 0 {
		return
	}
	b, err := s.c.store.Begin(traits[k].url)
	if err != nil {
		nack.add(err)
		return
	}
	for _, name := range stale {
		b.Remove(name)
	}
	gone, err := b.Commit(version)
	nack.add(err)
	change.Removed = append(change.Removed, gone.Removed...)
}

// tell calls the handler.
func (s *session) tell(change Change, nack *rejection) {
	if s.c.cfg.Handler != nil {
		nack.add(s.c.cfg.Handler.Apply(change))
	}
}

// answer sends ACK or NACK.
func (s *session) answer(ctx context.Context, k kind, r *response, nack *rejection) {
	text := nack.String()
	s.c.outcome(k, nack.count == 0 || nack.tried > nack.count, text)
	if text != "" {
		s.c.log.LogAttrs(ctx, slog.LevelWarn, "configuration rejected; the last good one stays",
			slog.String("type", traits[k].short), slog.Int("problems", nack.count), slog.String("error", text))
	}
	s.queue(ctx, &request{typeURL: r.typeURL, nonce: r.nonce, nack: text})
}

// follow gives up what nothing refers to any more.
func (s *session) follow(ctx context.Context, from kind) {
	for _, k := range [...]kind{eds, rds, ecds, sds} {
		if from == cds && k != eds && k != sds || from == lds && k == eds {
			continue
		}
		names, removed := s.c.store.drop(k)
		for len(names) > 0 {
			n := min(len(names), batchSize)
			s.queue(ctx, &request{typeURL: traits[k].url, unsubscribe: names[:n]})
			names = names[n:]
		}
		if len(removed) > 0 {
			var ignored rejection // istiod did not ask
			s.tell(Change{TypeURL: traits[k].url, Removed: removed}, &ignored)
		}
	}
}

// rejection gathers what is wrong with a response.
type rejection struct {
	text  strings.Builder
	count int
	tried int // resources that were looked at
}

func (r *rejection) add(err error) {
	if err == nil {
		return
	}
	r.count++
	if r.text.Len() >= maxNACK {
		return
	}
	if r.text.Len() > 0 {
		r.text.WriteByte('\n')
	}
	r.text.WriteString(err.Error())
}

// String is the text of the NACK, of bounded length; empty if nothing is wrong.
func (r *rejection) String() string {
	const more = " …"
	t := r.text.String()
	if len(t) > maxNACK {
		t = strings.ToValidUTF8(t[:maxNACK-len(more)], "") + more
	}
	return t
}
