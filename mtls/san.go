package mtls

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// sans are the subject alternative names exactly as the certificate has them:
// going through url.URL would make different byte strings equal.
type sans struct {
	uris   []string
	dns    []string
	emails []string
	ips    []string
}

// The tags of GeneralName, RFC 5280 section 4.2.1.6.
const (
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

func sansOf(cert *x509.Certificate) (sans, error) {
	var out sans
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var seq asn1.RawValue
		rest, err := asn1.Unmarshal(ext.Value, &seq)
		if err != nil || len(rest) != 0 || !seq.IsCompound || seq.Tag != asn1.TagSequence {
			return sans{}, errors.New("malformed subject alternative names")
		}
		for names := seq.Bytes; len(names) > 0; {
			var name asn1.RawValue
			if names, err = asn1.Unmarshal(names, &name); err != nil {
				return sans{}, errors.New("malformed subject alternative names")
			}
			if err := out.add(name); err != nil {
				return sans{}, err
			}
		}
	}
	return out, nil
}

func (s *sans) add(name asn1.RawValue) error {
	if name.Class != asn1.ClassContextSpecific {
		return errors.New("malformed subject alternative names")
	}
	if name.Tag == tagIP {
		if ip, ok := netip.AddrFromSlice(name.Bytes); ok {
			s.ips = append(s.ips, ip.String())
		}
		return nil
	}
	text := string(name.Bytes)
	switch name.Tag {
	case tagEmail, tagDNS, tagURI:
		if i := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 {
			return fmt.Errorf("subject alternative name %s has a forbidden character", strconv.QuoteToASCII(text))
		}
	}
	switch name.Tag {
	case tagEmail:
		s.emails = append(s.emails, text)
	case tagDNS:
		s.dns = append(s.dns, text)
	case tagURI:
		s.uris = append(s.uris, text)
	}
	return nil
}

// SANType says which subject alternative names a matcher looks at.
type SANType uint8

// The types of names.
const (
	// AnySAN looks at names of every type. A DNS name is only looked at where it
	// has the form of one, so that it cannot pose as a URI.
	AnySAN SANType = iota
	URISAN
	DNSSAN
	EmailSAN
	IPSAN
)

// SANKind is how a matcher compares.
type SANKind uint8

// The kinds of comparison.
const (
	// SANExact compares whole names. For a DNS name case is ignored and the
	// certificate may have a wildcard as its first label.
	SANExact SANKind = iota
	SANPrefix
	SANSuffix
	SANContains
	// SANFunc asks the matcher's Func; this is how a regular expression comes in.
	SANFunc
)

// SANMatcher is one pattern that a peer's subject alternative name may match.
type SANMatcher struct {
	Kind SANKind
	Type SANType
	// Value is compared with; for SANFunc it only names the pattern in errors.
	Value      string
	IgnoreCase bool
	Func       func(name string) bool
}

func (m *SANMatcher) check() error {
	switch {
	case m.Kind > SANFunc:
		return fmt.Errorf("unknown kind of comparison %d", m.Kind)
	case m.Type > IPSAN:
		return fmt.Errorf("unknown type of name %d", m.Type)
	case m.Kind == SANFunc && m.Func == nil:
		return errors.New("pattern has no function")
	case m.Kind != SANFunc && m.Value == "":
		return errors.New("pattern is empty and would match every name")
	}
	return nil
}

func (m *SANMatcher) match(s *sans) bool {
	if m.wants(URISAN) && m.any(s.uris) {
		return true
	}
	if m.wants(DNSSAN) {
		for _, name := range s.dns {
			if validDNS(name) && m.matchDNS(name) {
				return true
			}
		}
	}
	return m.wants(EmailSAN) && m.any(s.emails) || m.wants(IPSAN) && m.any(s.ips)
}

func (m *SANMatcher) wants(t SANType) bool { return m.Type == AnySAN || m.Type == t }

func (m *SANMatcher) any(names []string) bool {
	return slices.ContainsFunc(names, m.matchText)
}

func (m *SANMatcher) matchText(name string) bool {
	if m.Kind == SANFunc {
		return m.Func(name)
	}
	value := m.Value
	if m.IgnoreCase {
		name, value = strings.ToLower(name), strings.ToLower(value)
	}
	switch m.Kind {
	case SANPrefix:
		return strings.HasPrefix(name, value)
	case SANSuffix:
		return strings.HasSuffix(name, value)
	case SANContains:
		return strings.Contains(name, value)
	default:
		return name == value
	}
}

func (m *SANMatcher) matchDNS(name string) bool {
	if m.Kind != SANExact {
		return m.matchText(name)
	}
	if strings.EqualFold(name, m.Value) {
		return true
	}
	domain, ok := strings.CutPrefix(name, "*.")
	if !ok {
		return false
	}
	label, parent, ok := strings.Cut(m.Value, ".")
	return ok && label != "" && strings.EqualFold(domain, parent)
}

// validDNS accepts what a host name may be made of, a wildcard label included.
func validDNS(name string) bool {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_', c == '*':
		default:
			return false
		}
	}
	return name != ""
}
