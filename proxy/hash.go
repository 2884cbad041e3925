package proxy

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/lb"
	"github.com/outrigger-mesh/outrigger/match"
	"github.com/outrigger-mesh/outrigger/proxy/httpmsg"
)

// HashSource is what a request is hashed by.
type HashSource uint8

// The sources.
const (
	HashHeader HashSource = iota
	HashCookie
	HashSourceIP
	HashQuery
)

// HashPolicy is one of the things that a rule hashes requests by, for clusters that
// pick by hash.
type HashPolicy struct {
	Source HashSource
	// Name is that of the header (in lower case), cookie or query parameter.
	Name string
	// Rewrite, where not nil, changes each value of the header before it is hashed.
	Rewrite func(string) string
	// Cookie, where not nil, is given to those who bring none.
	Cookie *NewCookie
	// Terminal ends the list where there is a hash already.
	Terminal bool
}

// NewCookie describes a cookie that is made up.
type NewCookie struct {
	TTL time.Duration // 0: as long as the browser's session
	// Attributes is the rest of set-cookie behind name, value and Max-Age, see
	// CookieAttributes.
	Attributes string
}

// CookieAttributes is the end of a set-cookie: a path where not empty, then pairs of
// names and values, then HttpOnly.
func CookieAttributes(path string, pairs ...[2]string) string {
	var b strings.Builder
	if path != "" {
		b.WriteString("; Path=" + path)
	}
	for _, p := range pairs {
		b.WriteString("; " + p[0])
		if p[1] != "" {
			b.WriteString("=" + p[1])
		}
	}
	b.WriteString("; HttpOnly")
	return b.String()
}

// SetCookie is the value of a set-cookie field, as Envoy writes it.
func (c *NewCookie) SetCookie(name, value string) string {
	age := ""
	if s := int64(c.TTL / time.Second); s != 0 {
		age = "; Max-Age=" + strconv.FormatInt(s, 10)
	}
	return name + `="` + value + `"` + age + c.Attributes
}

// hash combines the policies as Envoy does. It is false where none of them finds
// anything.
func (x *Exchange) hash(policies []HashPolicy) (hash uint64, found bool) {
	for i := range policies {
		p := &policies[i]
		if h, ok := x.hashBy(p); ok {
			hash, found = bits.RotateLeft64(hash, 1)^h, true
		}
		if p.Terminal && found {
			break
		}
	}
	return hash, found
}

func (x *Exchange) hashBy(p *HashPolicy) (uint64, bool) {
	switch p.Source {
	case HashHeader:
		return hashHeader(x.Request, p)
	case HashCookie:
		return x.hashCookie(p)
	case HashSourceIP:
		var text [48]byte
		return lb.Hash(x.Remote().AppendTo(text[:0]), 0), true
	default:
		v, ok := match.QueryValue(x.Request.Path, p.Name)
		return lb.Hash(v, 0), ok
	}
}

// hashHeader hashes all values of a field in sorted order.
func hashHeader(r *httpmsg.Request, p *HashPolicy) (uint64, bool) {
	var few [4]string
	values := few[:0]
	switch p.Name {
	case ":path":
		values = append(values, r.Path)
	case ":method":
		values = append(values, r.Method)
	case ":authority", "host":
		values = append(values, r.Authority)
	case ":scheme":
		values = append(values, r.Scheme)
	default:
		for i := range r.Header.Fields {
			if r.Header.Fields[i].Name == p.Name {
				values = append(values, r.Header.Fields[i].Value)
			}
		}
	}
	if p.Rewrite != nil {
		for i, v := range values {
			values[i] = p.Rewrite(v)
		}
	}
	slices.Sort(values)
	var h uint64
	for _, v := range values {
		h = lb.Hash(v, h)
	}
	return h, len(values) > 0
}

// hashCookie hashes a cookie's value, or that of a new one, which is the same for all
// requests of a connection.
func (x *Exchange) hashCookie(p *HashPolicy) (uint64, bool) {
	if v := CookieValue(&x.Request.Header, p.Name); v != "" {
		return lb.Hash(v, 0), true
	}
	if p.Cookie == nil {
		return 0, false
	}
	var room [128]byte
	text := x.Conn.Destination().AppendTo(x.Conn.Remote.AppendTo(room[:0]))
	value := hex64(lb.Hash(text, 0))
	x.trip.cookies = append(x.trip.cookies, p.Cookie.SetCookie(p.Name, value))
	return lb.Hash(value, 0), true
}

func hex64(v uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[v>>(60-4*i)&15]
	}
	return string(b[:])
}

// CookieValue is the value of the first cookie of a name, without its quotes.
func CookieValue(h *httpmsg.Header, name string) string {
	for i := range h.Fields {
		if h.Fields[i].Name != "cookie" {
			continue
		}
		for pair := range strings.SplitSeq(h.Fields[i].Value, ";") {
			k, v, ok := strings.Cut(strings.TrimLeft(pair, " "), "=")
			if !ok || k != name {
				continue
			}
			if n := len(v); n >= 2 && v[0] == '"' && v[n-1] == '"' {
				v = v[1 : n-1]
			}
			return v
		}
	}
	return ""
}

// giveCookies adds the cookies that were made up for this request.
func (x *Exchange) giveCookies(h *httpmsg.Header) {
	for _, c := range x.trip.cookies {
		h.Add("set-cookie", c)
	}
}
