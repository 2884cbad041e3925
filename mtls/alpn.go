package mtls

import "slices"

// withheld are the ALPN protocols that are neither offered nor accepted,
// whatever the configuration lists: the names of HTTP/2, which is not spoken
// yet, and of the peer metadata exchange, which would have to be read from the
// stream before the application's bytes. A peer that offers them together with
// others settles for the others.
var withheld = [...]string{"h2", "istio-h2", "istio-peer-exchange"}

func speakable(protocols []string) []string {
	out := make([]string, 0, len(protocols))
	for _, p := range protocols {
		if p != "" && !slices.Contains(withheld[:], p) {
			out = append(out, p)
		}
	}
	return out
}

// pick is the first of ours that the peer offers, or empty.
func pick(ours, offered []string) string {
	for _, p := range ours {
		if slices.Contains(offered, p) {
			return p
		}
	}
	return ""
}
