package mtls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// SignFunc asks a CA to sign a PEM CSR. The answer is a list of PEM texts, leaf
// first, the trust bundle last.
type SignFunc func(ctx context.Context, csr []byte, lifetime time.Duration) ([]string, error)

// SignError is a SignFunc's error that knows what the operator can do about it.
type SignError struct {
	// Hint is a sentence for the log and for the readiness answer.
	Hint string
	Err  error
}

// Error returns the hint and the cause.
func (e *SignError) Error() string { return e.Hint + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *SignError) Unwrap() error { return e.Err }

// SourceSpec is how the workload's certificate is obtained.
type SourceSpec struct {
	Workload Workload
	Sign     SignFunc
	Secrets  *Secrets
	// RootFile, if set, is a bundle that is trusted beside the CA's own roots.
	RootFile string
	Key      KeyKind
	// Lifetime is asked for; zero stands for 24 h.
	Lifetime time.Duration
	// GraceRatio is the part of the lifetime that is left at rotation; zero
	// stands for 0.5.
	GraceRatio float64
	// TryTimeout bounds one try; zero stands for 10 s.
	TryTimeout time.Duration
	Log        *slog.Logger
}

// Source keeps the workload's certificate fresh. It is the only writer of the
// secrets "default" and "ROOTCA" of its registry.
type Source struct {
	spec     SourceSpec // immutable
	cert     *Secret
	roots    *Secret
	rootFile *Secret // nil without

	caRoots *Material // owned by Run; the roots of the last answer

	mu  sync.Mutex // guards what follows
	err error      // of the last try; nil after a good one
}

const (
	defaultLifetime   = 24 * time.Hour
	defaultGraceRatio = 0.5
	graceJitter       = 0.01 // of the lifetime, as pilot-agent has it
	defaultTry        = 10 * time.Second

	firstBackOff = 500 * time.Millisecond
	maxBackOff   = 30 * time.Second
	// minRotation keeps certificates that are born almost expired from becoming a
	// flood of requests.
	minRotation = time.Second
	// maxSleep bounds how late a rotation can be after the machine was suspended,
	// when the monotonic clock stood still.
	maxSleep = 5 * time.Minute
)

// NewSource checks the spec.
func NewSource(spec SourceSpec) (*Source, error) {
	if err := checkSPIFFE(spec.Workload.SPIFFE()); err != nil {
		return nil, fmt.Errorf("workload identity %q: %w", spec.Workload.SPIFFE(), err)
	}
	if spec.Sign == nil || spec.Secrets == nil || spec.Log == nil {
		return nil, errors.New("certificate source: sign function, secrets or log missing")
	}
	if spec.Lifetime == 0 {
		spec.Lifetime = defaultLifetime
	}
	if spec.GraceRatio == 0 {
		spec.GraceRatio = defaultGraceRatio
	}
	if spec.GraceRatio < 0 || spec.GraceRatio > 1 {
		return nil, fmt.Errorf("grace ratio %v is not between 0 and 1", spec.GraceRatio)
	}
	if spec.TryTimeout == 0 {
		spec.TryTimeout = defaultTry
	}
	s := &Source{spec: spec, cert: spec.Secrets.Get(WorkloadCert), roots: spec.Secrets.Get(WorkloadRoots)}
	if spec.RootFile != "" {
		s.rootFile = spec.Secrets.Get(fileRootPrefix + spec.RootFile)
	}
	return s, nil
}

// Ready reports whether there is a certificate that peers accept now, or else
// what is missing.
func (s *Source) Ready() (ok bool, reason string) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	why := ""
	if err != nil {
		why = ": " + err.Error()
	}
	m := s.cert.Load()
	switch {
	case m == nil:
		return false, "no workload certificate yet" + why
	case time.Now().After(m.NotAfter):
		return false, "workload certificate expired at " + m.NotAfter.UTC().Format(time.RFC3339) + why
	case s.roots.Load() == nil:
		return false, "no trust bundle yet" + why
	}
	return true, ""
}

// Run obtains certificates until ctx ends; errors are retried for ever, with the
// old certificate staying in use.
func (s *Source) Run(ctx context.Context) error {
	for backOff := firstBackOff; ; {
		fileChanged := s.fileChanged() // before trust is computed, so none is missed
		var wait time.Duration
		err := s.renew(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.note(err)
		if err == nil {
			backOff = firstBackOff
			wait = s.untilRotation()
			s.spec.Log.Info("workload certificate is ready", "spiffe", s.cert.Load().identity.URI(),
				"notAfter", s.cert.Load().NotAfter, "rotation", wait.Round(time.Second))
		} else {
			wait = backOff/2 + rand.N(backOff/2)
			backOff = min(2*backOff, maxBackOff)
			s.logFailure(err, wait)
		}
		if !s.sleep(ctx, time.Now().Round(0).Add(wait), fileChanged) {
			return nil
		}
	}
}

func (s *Source) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *Source) logFailure(err error, wait time.Duration) {
	attrs := []any{"err", err, "retry", wait.Round(time.Millisecond)}
	if m := s.cert.Load(); m != nil {
		attrs = append(attrs, "heldUntil", m.NotAfter)
	}
	if hint, ok := errors.AsType[*SignError](err); ok {
		attrs[1] = hint.Err
		attrs = append(attrs, "hint", hint.Hint)
	}
	s.spec.Log.Error("cannot obtain workload certificate", attrs...)
}

// sleep waits until the wall clock shows due, and meanwhile merges the mounted
// bundle whenever it changes. It returns false when ctx ends.
func (s *Source) sleep(ctx context.Context, due time.Time, fileChanged <-chan struct{}) bool {
	for {
		left := time.Until(due)
		if left <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(left, maxSleep))
		select {
		case <-timer.C:
		case <-fileChanged:
			fileChanged = s.fileChanged()
			s.updateRoots()
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}

func (s *Source) fileChanged() <-chan struct{} {
	if s.rootFile == nil {
		return nil
	}
	return s.rootFile.Changed()
}

// untilRotation is, for a certificate just received, the time until the part
// GraceRatio of its lifetime is left, jittered so that a fleet that started
// together does not rotate together. The lifetime counts from now: CAs backdate,
// which would make short-lived certificates due at once.
func (s *Source) untilRotation() time.Duration {
	ratio := s.spec.GraceRatio + graceJitter*(2*rand.Float64()-1)
	lifetime := time.Until(s.cert.Load().NotAfter)
	return max(time.Duration(float64(lifetime)*(1-ratio)), minRotation)
}

// renew obtains one certificate for a fresh key and publishes it. Roots go first:
// who already sees the new certificate must be able to verify its peers.
func (s *Source) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.spec.TryTimeout)
	defer cancel()
	key, err := s.spec.Key.generate()
	if err != nil {
		return fmt.Errorf("generate key: %w", err)
	}
	csr, err := signingRequest(s.spec.Workload.SPIFFE(), key)
	if err != nil {
		return err
	}
	answer, err := s.spec.Sign(ctx, csr, s.spec.Lifetime)
	if err != nil {
		return err
	}
	pair, roots, err := s.read(answer, key)
	if err != nil {
		return fmt.Errorf("CA's answer: %w", err)
	}
	s.caRoots = roots
	s.updateRoots()
	s.cert.Update(pair)
	return nil
}

func (s *Source) updateRoots() {
	var mounted *Material
	if s.rootFile != nil {
		mounted = s.rootFile.Load()
	}
	m := merge(s.caRoots, mounted)
	if m == nil {
		return
	}
	had := s.roots.Load() != nil
	if s.roots.Update(m) && had {
		s.spec.Log.Info("trust bundle changed", "certificates", len(m.roots), "notAfter", m.NotAfter)
	}
}

func (s *Source) read(answer []string, key crypto.Signer) (pair, roots *Material, err error) {
	if len(answer) < 2 {
		return nil, nil, fmt.Errorf("%d certificates where a chain and its root are expected", len(answer))
	}
	last := len(answer) - 1
	if roots, err = NewTrust([]byte(answer[last])); err != nil {
		return nil, nil, err
	}
	keyPEM, err := marshalKey(key)
	if err != nil {
		return nil, nil, err
	}
	if pair, err = NewKeyPair(withoutRoots(strings.Join(answer[:last], "\n"), roots), keyPEM); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	if now.After(pair.NotAfter) {
		return nil, nil, fmt.Errorf("certificate expired at %s; compare this machine's clock with the CA's",
			pair.NotAfter.UTC().Format(time.RFC3339))
	}
	s.warn(pair, roots, now)
	return pair, roots, nil
}

// withoutRoots drops self-signed roots from a chain: a peer trusts its own copy or
// none, and istiod with a plugged-in CA sends them in every chain.
func withoutRoots(chain string, roots *Material) []byte {
	var out []byte
	for rest := []byte(chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out
		}
		root := slices.ContainsFunc(roots.roots, func(c *x509.Certificate) bool {
			return bytes.Equal(c.Raw, block.Bytes) && bytes.Equal(c.RawSubject, c.RawIssuer)
		})
		if !root {
			out = append(out, pem.EncodeToMemory(block)...)
		}
	}
}

// warn says what makes peers refuse us although the CA signed.
func (s *Source) warn(pair, roots *Material, now time.Time) {
	if got, want := pair.identity.URI(), s.spec.Workload.SPIFFE(); got != want {
		s.spec.Log.Warn("CA stamped another identity than the one asked for: its view of trust domain, namespace or service account differs",
			"got", got, "want", want)
	}
	if now.Before(pair.NotBefore) {
		s.spec.Log.Warn("workload certificate is not valid yet: compare this machine's clock with the CA's", "notBefore", pair.NotBefore)
	}
	if now.Before(pair.NotBefore) {
		now = pair.NotBefore
	}
	v := &verifier{usage: x509.ExtKeyUsageAny, roots: roots}
	if err := v.chain(pair.Certificates(), now); err != nil {
		s.spec.Log.Warn("workload certificate does not verify against the roots that came with it", "err", err)
	}
}
