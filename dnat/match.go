package dnat

import "net/netip"

// Key is the property a match looks at. The order is the one in which renderers print and check them: protocol
// before port, because a port is only there once the protocol is known.
type Key uint8

// The properties.
const (
	KeySrc     Key = iota + 1 // Prefix
	KeyDst                    // Prefix
	KeyIn                     // Iface
	KeyOut                    // Iface
	KeyProto                  // Proto
	KeySrcPort                // Ports, one
	KeyDstPort                // Ports, one; several only with Not
	KeyUID                    // ID
	KeyGID                    // ID
	KeyInvalid                // conntrack calls the packet invalid
)

// Proto is an IP protocol number.
type Proto uint8

// The protocols of a plan.
const (
	TCP Proto = 6
	UDP Proto = 17
)

// String is the name both rule languages use.
func (p Proto) String() string {
	if p == UDP {
		return "udp"
	}
	return "tcp"
}

// Match is one condition of a rule. Which value counts is said at the keys.
type Match struct {
	Key    Key
	Not    bool
	Proto  Proto
	ID     uint32
	Ports  []uint16
	Iface  string
	Prefix netip.Prefix
}

// Action is what a rule does with a packet that meets it.
type Action uint8

// The actions.
const (
	ActionReturn   Action = iota + 1
	ActionDrop            // forget the packet
	ActionJump            // Chain
	ActionRedirect        // to Port of this machine
	ActionZone            // track the packet in conntrack zone Zone
)

// Verdict is an action and its operand.
type Verdict struct {
	Action Action
	Chain  string
	Port   uint16
	Zone   uint16
}

func src(p netip.Prefix) Match     { return Match{Key: KeySrc, Prefix: p} }
func dst(p netip.Prefix) Match     { return Match{Key: KeyDst, Prefix: p} }
func in(iface string) Match        { return Match{Key: KeyIn, Iface: iface} }
func out(iface string) Match       { return Match{Key: KeyOut, Iface: iface} }
func proto(p Proto) Match          { return Match{Key: KeyProto, Proto: p} }
func sport(port uint16) Match      { return Match{Key: KeySrcPort, Ports: []uint16{port}} }
func dport(ports ...uint16) Match  { return Match{Key: KeyDstPort, Ports: ports} }
func uid(id uint32) Match          { return Match{Key: KeyUID, ID: id} }
func gid(id uint32) Match          { return Match{Key: KeyGID, ID: id} }
func not(m Match) Match            { m.Not = true; return m }
func jump(chain string) Verdict    { return Verdict{Action: ActionJump, Chain: chain} }
func redirect(port uint16) Verdict { return Verdict{Action: ActionRedirect, Port: port} }
func zone(z uint16) Verdict        { return Verdict{Action: ActionZone, Zone: z} }
func leave() Verdict               { return Verdict{Action: ActionReturn} }
