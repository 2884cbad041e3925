package http2

// nameChar holds the characters of a lower-case token (RFC 9110 section 5.6.2).
var nameChar = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

// authorityChar holds the characters that Envoy admits in an authority.
var authorityChar = func() (t [256]bool) {
	for _, c := range "-._~%!$&'()[]*+,;=:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()

// valueChar holds what may stand in a field's value: all but control characters
// other than TAB.
var valueChar = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != 0x7f || c == '\t'
	}
	return t
}()

// visibleChar holds visible ASCII.
var visibleChar = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c < 0x7f
	}
	return t
}()

// consists reports whether all characters of s are in the table.
func consists(s string, of *[256]bool) bool {
	for i := range len(s) {
		if !of[s[i]] {
			return false
		}
	}
	return true
}

// trim takes white space off both ends of a value.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// validMethod reports a token, upper case or not.
func validMethod(s string) bool {
	for i := range len(s) {
		if c := s[i]; !nameChar[c] && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

// parseLength reads a content-length: digits. A list of equal ones could be read, but
// is refused, as by Envoy: nobody needs it who has one length.
func parseLength(s string) (int64, bool) {
	n := int64(0)
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' || n > (1<<62)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, s != ""
}
