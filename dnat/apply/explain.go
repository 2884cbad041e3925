package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

const extensions = "load xt_owner, xt_tcpudp, xt_multiport, xt_REDIRECT, xt_CT and xt_conntrack on the node, or use --native-nftables"

// toolCauses turn the words of iptables into a cause and a remedy.
var toolCauses = []struct {
	word   string
	kind   error
	remedy string
}{
	{"you must be root", ErrPermission, "run as root with capability NET_ADMIN (and NET_RAW for iptables-legacy)"},
	{"Permission denied", ErrPermission, "run as root with capability NET_ADMIN (and NET_RAW for iptables-legacy)"},
	{"Operation not permitted", ErrPermission, "run as root with capability NET_ADMIN (and NET_RAW for iptables-legacy)"},
	{"can't initialize", ErrUnsupported, "load the iptable_nat, iptable_mangle and iptable_raw modules (ip6table_* for IPv6) on the node, or use --native-nftables"},
	{"`owner'", ErrUnsupported, "the owner match is missing: load xt_owner on the node, or use --native-nftables"},
	{"`conntrack'", ErrUnsupported, "the conntrack match is missing: load xt_conntrack on the node, or use --native-nftables"},
	{"`REDIRECT'", ErrUnsupported, "the REDIRECT target is missing: load xt_REDIRECT on the node, or use --native-nftables"},
	{"`CT'", ErrUnsupported, "the CT target is missing: load xt_CT on the node, or use --native-nftables"},
	{"No chain/target/match", ErrUnsupported, "an extension is missing: " + extensions},
	{"Extension", ErrUnsupported, "an extension is missing: " + extensions},
	{"RULE_APPEND failed (No such file", ErrUnsupported, "an extension is missing: " + extensions},
	{"CHAIN_ADD failed", ErrUnsupported, "NAT is missing: load nft_chain_nat on the node"},
	{"Address family not supported", ErrUnsupported, "the kernel has no IPv6: set OUTRIGGER_IPV6=false"},
}

func explainTool(name string, err error, stderr string) error {
	text := strings.Join(strings.Fields(stderr), " ")
	for _, c := range toolCauses {
		if strings.Contains(text, c.word) {
			return fmt.Errorf("%s: %w: %s (it said: %q)", name, c.kind, c.remedy, text)
		}
	}
	return fmt.Errorf("%s: %w (it said: %q)", name, err, text)
}

// explainNetlink does the same for the error numbers of nf_tables.
func explainNetlink(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: run as root with capability NET_ADMIN: %w", doing, ErrPermission, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%s: %w: nf_tables needs nft_chain_nat, nft_redir, nft_ct and nf_conntrack on the node "+
			"(kernel 4.18 or later): load them, or put iptables into the image: %w", doing, ErrUnsupported, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}
