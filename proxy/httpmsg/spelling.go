package httpmsg

import "strings"

// Spelling remembers how names were written that came with capitals, for peers that
// wrongly care. Nobody keeps one unless configuration asks for it.
type Spelling struct {
	// Proper writes names that were not learnt in proper case.
	Proper bool

	names []string
}

// Learn keeps a name as it was written, unless it is known or all in lower case. It
// copies the name.
func (s *Spelling) Learn(name []byte) {
	capital := false
	for _, c := range name {
		capital = capital || 'A' <= c && c <= 'Z'
	}
	if !capital {
		return
	}
	for _, known := range s.names {
		if len(known) == len(name) && strings.EqualFold(known, string(name)) {
			return
		}
	}
	s.names = append(s.names, string(name))
}

// Forget readies the spelling for the next message.
func (s *Spelling) Forget() {
	clear(s.names)
	s.names = s.names[:0]
}

// Append appends a lower-case name as it was spelled. A nil Spelling knows nothing.
func (s *Spelling) Append(b []byte, name string) []byte {
	if s == nil {
		return append(b, name...)
	}
	for _, known := range s.names {
		if len(known) == len(name) && strings.EqualFold(known, name) {
			return append(b, known...)
		}
	}
	if s.Proper {
		return AppendProper(b, name)
	}
	return append(b, name...)
}

// AppendProper appends a name with each letter in upper case that begins it or
// follows what is neither letter nor digit.
func AppendProper(b []byte, name string) []byte {
	begins := true
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z'
		if letter && begins {
			c -= 'a' - 'A'
		}
		begins = !letter && (c < '0' || c > '9') && (c < 'A' || c > 'Z')
		b = append(b, c)
	}
	return b
}
