package mtls

import "slices"

// withheld is the ALPN protocol that is neither offered nor accepted, whatever the
// configuration lists: the peer metadata exchange, which would have to be read from
// the stream before the application's bytes. A peer that offers it together with
// others settles for the others.
const withheld = "istio-peer-exchange"

func speakable(protocols []string) []string {
	out := make([]string, 0, len(protocols))
	for _, p := range protocols {
		if p != "" && p != withheld {
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
