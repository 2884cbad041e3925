// Package shape is the form of the tables that the wire walk reads: what the generator writes and the walk obeys.
//
// Life: the generator fills these values from protobuf descriptors at build time, prints them as Go source, and the
// walk indexes them. They hold numbers only, so that they live in read-only memory and cost no start-up work.
// It must not know any message by name, nor any protobuf package.
package shape

// Message is one message type: a run of fields ordered by number.
type Message struct {
	// Need has a bit for each presence slot that must be filled.
	Need  uint64
	Name  uint16 // offset into the message names
	Len   uint8  // length of the name
	Check Check
	First uint16
	Count uint16
}

// Field is one field of a message.
type Field struct {
	Num  uint16
	Kind Kind
	Form Form
	// Slot is the presence slot of a singular field; members of a oneof share theirs.
	Slot uint8
	// List is the slot of a repeated field's running hash.
	List uint8
	// Msg is the index of the message of a Nested field.
	Msg  uint16
	Rule uint16
	Name uint16 // offset into the field names
	Len  uint8  // length of the name
}

// Rule is one semantic demand on the value of a field.
type Rule struct {
	Kind   RuleKind
	Plain  bool // text: neither NUL nor CR nor LF
	SkipIf bool // the zero value is fine
	Lo, Hi uint64
}

// Kind says how a value is encoded.
type Kind uint8

// The encodings of a value.
const (
	Varint Kind = iota
	Fixed32
	Fixed64
	Bytes
	Text
	Nested
)

// Form says how often a field may come.
type Form uint8

// The forms of a field.
const (
	Single Form = iota
	List
	Map
)

// NoSlot marks a field without presence slot.
const NoSlot = 0xff

// Check is a set of demands on a whole message.
type Check uint16

// The checks of whole messages.
const (
	// Any is google.protobuf.Any: its value is walked with the table of its type.
	Any Check = 1 << iota
	// Holder has an Any field (or config_discovery) that names an extension.
	Holder
	// Transparent holders stand for the field that holds them.
	Transparent
	// Routes is a RouteConfiguration: no domain twice.
	Routes
	// Weights is a WeightedCluster: the sum of weights is above zero.
	Weights
	// SDS refers to a secret.
	SDS
	// RDS refers to a route configuration.
	RDS
	// TypedStruct carries the type of its content as text.
	TypedStruct
	// Wrapper has a scalar in field 1 that its parent's rule speaks about.
	Wrapper
)

// RuleKind says which demand a Rule makes.
type RuleKind uint8

// The kinds of rules.
const (
	NoRule RuleKind = iota
	// TextLen bounds the characters of a text, or the bytes of a byte string, by Lo and Hi.
	TextLen
	// Unsigned bounds a number by Lo and Hi.
	Unsigned
	// Double bounds a floating point number; Lo and Hi are its bits.
	Double
	// Enum lists the known values below 64 as bits in Lo.
	Enum
	// Duration is at least Lo nanoseconds.
	Duration
	// Regex must be valid RE2.
	Regex
	// Address must be an IP address where endpoints are discovered.
	Address
)

// Root is a message that may be the content of an Any, with its full name for look-up.
type Root struct {
	Name string
	Msg  uint16
}
