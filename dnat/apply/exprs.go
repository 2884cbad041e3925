package apply

import (
	"encoding/binary"
	"net"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/outrigger-mesh/outrigger/dnat"
)

// exprs is a rule as nf_tables runs it: loads, comparisons, a counter, the verdict. No sets: a set written by one
// library has crashed the tools of another.
func exprs(r *dnat.Rule, family dnat.Family) []expr.Any {
	var list []expr.Any
	for _, m := range r.Match {
		list = append(list, matchExprs(&m, family)...)
	}
	list = append(list, &expr.Counter{})
	return append(list, verdictExprs(&r.Verdict)...)
}

func matchExprs(m *dnat.Match, family dnat.Family) []expr.Any {
	op := expr.CmpOpEq
	if m.Not {
		op = expr.CmpOpNeq
	}
	compare := func(data []byte) expr.Any { return &expr.Cmp{Op: op, Register: 1, Data: data} }
	meta := func(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }
	switch m.Key {
	case dnat.KeySrc, dnat.KeyDst:
		return addressExprs(m, family, compare)
	case dnat.KeyIn:
		return []expr.Any{meta(expr.MetaKeyIIFNAME), compare(ifaceBytes(m.Iface))}
	case dnat.KeyOut:
		return []expr.Any{meta(expr.MetaKeyOIFNAME), compare(ifaceBytes(m.Iface))}
	case dnat.KeyProto:
		return []expr.Any{meta(expr.MetaKeyL4PROTO), compare([]byte{byte(m.Proto)})}
	case dnat.KeySrcPort:
		return portExprs(m.Ports, 0, compare)
	case dnat.KeyDstPort:
		return portExprs(m.Ports, 2, compare)
	case dnat.KeyUID:
		return []expr.Any{meta(expr.MetaKeySKUID), compare(binaryutil.NativeEndian.PutUint32(m.ID))}
	case dnat.KeyGID:
		return []expr.Any{meta(expr.MetaKeySKGID), compare(binaryutil.NativeEndian.PutUint32(m.ID))}
	case dnat.KeyInvalid:
		return []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{
				SourceRegister: 1, DestRegister: 1, Len: 4,
				Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitINVALID), Xor: make([]byte, 4),
			},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		}
	}
	return nil
}

// addressExprs reads the address from the fixed part of the IP header.
func addressExprs(m *dnat.Match, family dnat.Family, compare func([]byte) expr.Any) []expr.Any {
	offset, size := uint32(12), uint32(net.IPv4len)
	if family == dnat.IPv6 {
		offset, size = 8, net.IPv6len
	}
	if m.Key == dnat.KeyDst {
		offset += size
	}
	list := []expr.Any{&expr.Payload{
		OperationType: expr.PayloadLoad, DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size,
	}}
	if bits := m.Prefix.Bits(); bits < int(size)*8 {
		list = append(list, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: size,
			Mask: net.CIDRMask(bits, int(size)*8), Xor: make([]byte, size),
		})
	}
	return append(list, compare(m.Prefix.Addr().AsSlice()))
}

func portExprs(ports []uint16, offset uint32, compare func([]byte) expr.Any) []expr.Any {
	list := []expr.Any{&expr.Payload{
		OperationType: expr.PayloadLoad, DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2,
	}}
	for _, port := range ports {
		list = append(list, compare(binary.BigEndian.AppendUint16(nil, port)))
	}
	return list
}

// ifaceBytes is the whole name with its padding, or, for a wildcard, just the beginning.
func ifaceBytes(name string) []byte {
	if base, wildcard := strings.CutSuffix(name, "+"); wildcard {
		return []byte(base)
	}
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return padded
}

func verdictExprs(v *dnat.Verdict) []expr.Any {
	switch v.Action {
	case dnat.ActionReturn:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	case dnat.ActionDrop:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	case dnat.ActionJump:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: dnat.NFTChain(v.Chain)}}
	case dnat.ActionRedirect:
		return []expr.Any{
			&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, v.Port)},
			&expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
		}
	case dnat.ActionZone:
		return []expr.Any{
			&expr.Immediate{Register: 1, Data: binary.NativeEndian.AppendUint16(nil, v.Zone)},
			&expr.Ct{Key: expr.CtKeyZONE, Register: 1, SourceRegister: true},
		}
	}
	return nil
}

// hookOf names the place of a base chain.
func hookOf(point string) *nftables.ChainHook {
	if point == dnat.HookPrerouting {
		return nftables.ChainHookPrerouting
	}
	return nftables.ChainHookOutput
}
