package http1

import (
	"strings"
	"time"
)

// maxPatience bounds what an upstream may announce.
const maxPatience = 24 * time.Hour

// Patience is how long the upstream says that it keeps the connection open while it
// is idle, in the last response; 0 where it does not say. Release forgets it.
func (c *ClientConn) Patience() time.Duration {
	if c.parser.sp.patience == "" {
		return 0
	}
	return parsePatience(c.parser.sp.patience)
}

// parsePatience reads the parameter timeout of a Keep-Alive field (RFC 2068 section
// 19.7.1), in seconds.
func parsePatience(value string) time.Duration {
	for part := range strings.SplitSeq(value, ",") {
		name, seconds, _ := strings.Cut(part, "=")
		if !equalFold(strings.TrimSpace(name), "timeout") {
			continue
		}
		n, ok := parseLength(strings.TrimSpace(seconds))
		if !ok {
			return 0
		}
		if n > int64(maxPatience/time.Second) {
			return maxPatience
		}
		return time.Duration(n) * time.Second
	}
	return 0
}
