package mtls

import (
	"errors"
	"fmt"
	"strings"
)

// Workload names who we are in the mesh.
type Workload struct {
	TrustDomain    string
	Namespace      string
	ServiceAccount string
}

// SPIFFE is the workload's SPIFFE id.
func (w Workload) SPIFFE() string {
	return "spiffe://" + w.TrustDomain + "/ns/" + w.Namespace + "/sa/" + w.ServiceAccount
}

const (
	spiffeScheme = "spiffe://"
	maxSPIFFE    = 2048 // SPIFFE-ID section 2.3
)

// checkSPIFFE accepts a workload's id by the grammar of SPIFFE-ID section 2.
// Upper-case letters in the trust domain are let through, as istiod does not
// forbid them in meshConfig.trustDomain.
func checkSPIFFE(id string) error {
	rest, ok := strings.CutPrefix(id, spiffeScheme)
	if !ok {
		return errors.New("scheme is not spiffe")
	}
	if len(id) > maxSPIFFE {
		return fmt.Errorf("longer than %d bytes", maxSPIFFE)
	}
	domain, path, ok := strings.Cut(rest, "/")
	if domain == "" {
		return errors.New("trust domain is empty")
	}
	if !ok {
		return errors.New("path is empty")
	}
	if !spiffeChars(domain) {
		return errors.New("trust domain has a forbidden character")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "":
			return errors.New("path has an empty segment")
		case segment == ".", segment == "..":
			return errors.New("path has a relative segment")
		case !spiffeChars(segment):
			return errors.New("path has a forbidden character")
		}
	}
	return nil
}

func spiffeChars(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
