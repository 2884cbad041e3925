// Command gen writes the tables of the wire walk from protobuf descriptors.
//
// Life: the imports register every message that istiod may send; reach collects what can be reached from the roots;
// lower turns each descriptor and its validation rules into a shape value; print writes tables_gen.go.
// It runs at build time only: nothing of the generated protobuf packages reaches the product through it.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/format"
	"log"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/envoyproxy/protoc-gen-validate/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/outrigger-mesh/outrigger/xds/wire/shape"
)

func main() {
	out := "shape/tables_gen.go"
	if len(os.Args) > 1 {
		out = os.Args[1]
	}
	src, err := newGenerator().generate()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(out, src, 0o644); err != nil {
		log.Fatal(err)
	}
}

// generator collects the tables.
type generator struct {
	descs    []protoreflect.MessageDescriptor
	index    map[protoreflect.FullName]int
	messages []shape.Message
	fields   []shape.Field
	rules    []shape.Rule
	ruleAt   map[shape.Rule]int
	names    strings.Builder // field names, each once
	texts    map[string]int
	titles   strings.Builder // message names
	lists    int
}

func newGenerator() *generator {
	g := &generator{index: map[protoreflect.FullName]int{}, texts: map[string]int{}, ruleAt: map[shape.Rule]int{}}
	g.rule(shape.Rule{}) // the first rule is none
	return g
}

func (g *generator) generate() ([]byte, error) {
	var roots []protoreflect.MessageDescriptor
	for _, n := range rootNames() {
		d, err := descriptor(protoreflect.FullName(n))
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", n, err)
		}
		roots = append(roots, d)
	}
	for _, d := range roots {
		g.reach(d)
	}
	slices.SortFunc(g.descs, func(a, b protoreflect.MessageDescriptor) int { return cmp.Compare(a.FullName(), b.FullName()) })
	for i, d := range g.descs {
		g.index[d.FullName()] = i
	}
	for _, d := range g.descs {
		if err := g.lower(d); err != nil {
			return nil, fmt.Errorf("%s: %w", d.FullName(), err)
		}
	}
	return g.print(roots)
}

func descriptor(n protoreflect.FullName) (protoreflect.MessageDescriptor, error) {
	if n == nameTable {
		return nameTableDescriptor()
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(n)
	if err != nil {
		return nil, err
	}
	return d.(protoreflect.MessageDescriptor), nil
}

func (g *generator) reach(d protoreflect.MessageDescriptor) {
	if _, ok := g.index[d.FullName()]; ok {
		return
	}
	g.index[d.FullName()] = 0
	g.descs = append(g.descs, d)
	for i := range d.Fields().Len() {
		if m := d.Fields().Get(i).Message(); m != nil {
			g.reach(m)
		}
	}
}

func (g *generator) lower(d protoreflect.MessageDescriptor) error {
	m := shape.Message{
		First: uint16(len(g.fields)), Count: uint16(d.Fields().Len()), Check: checkOf(d),
		Name: uint16(g.titles.Len()), Len: uint8(len(d.FullName())),
	}
	if g.titles.Len() > math.MaxUint16 || len(g.fields) > math.MaxUint16 || len(d.FullName()) > math.MaxUint8 {
		return fmt.Errorf("tables are too large: %d bytes of names, %d fields", g.titles.Len(), len(g.fields))
	}
	g.titles.WriteString(string(d.FullName()))
	fds := make([]protoreflect.FieldDescriptor, d.Fields().Len())
	for i := range fds {
		fds[i] = d.Fields().Get(i)
	}
	slices.SortFunc(fds, func(a, b protoreflect.FieldDescriptor) int { return cmp.Compare(a.Number(), b.Number()) })
	slots, need, err := slotsOf(d, fds)
	if err != nil {
		return err
	}
	m.Need = need
	list := 0
	for _, fd := range fds {
		f, err := g.field(fd)
		if err != nil {
			return fmt.Errorf("%s: %w", fd.Name(), err)
		}
		f.Slot = slots[fd.Number()]
		if f.Form == shape.List {
			f.List = uint8(list)
			list++
		}
		g.fields = append(g.fields, f)
	}
	g.lists = max(g.lists, list)
	g.messages = append(g.messages, m)
	return nil
}

// slotsOf numbers the presence slots: those that must be filled first, so that they fit one word.
func slotsOf(d protoreflect.MessageDescriptor, fds []protoreflect.FieldDescriptor) (map[protoreflect.FieldNumber]uint8, uint64, error) {
	slots, oneofs, next := map[protoreflect.FieldNumber]uint8{}, map[protoreflect.FullName]uint8{}, 0
	assign := func(fd protoreflect.FieldDescriptor) {
		if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
			if s, ok := oneofs[o.FullName()]; ok {
				slots[fd.Number()] = s
				return
			}
			oneofs[o.FullName()] = uint8(next)
		}
		slots[fd.Number()] = uint8(next)
		next++
	}
	for _, fd := range fds {
		if needed(fd) {
			assign(fd)
		}
	}
	if next > 64 {
		return nil, 0, fmt.Errorf("%s: %d needed fields", d.FullName(), next)
	}
	need := uint64(1)<<next - 1
	for _, fd := range fds {
		if _, ok := slots[fd.Number()]; ok {
			continue
		}
		if fd.Cardinality() == protoreflect.Repeated {
			slots[fd.Number()] = shape.NoSlot
			continue
		}
		assign(fd)
	}
	if next > 128 {
		return nil, 0, fmt.Errorf("%s: %d singular fields", d.FullName(), next)
	}
	return slots, need, nil
}

// needed says whether an absent field breaks the validation rules.
func needed(fd protoreflect.FieldDescriptor) bool {
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		req, _ := proto.GetExtension(o.Options(), validate.E_Required).(bool)
		return req
	}
	r := rulesOf(fd)
	if r == nil {
		return false
	}
	if fd.Cardinality() == protoreflect.Repeated {
		return r.GetRepeated().GetMinItems() > 0 && !r.GetRepeated().GetIgnoreEmpty()
	}
	if r.GetMessage().GetRequired() || r.GetDuration().GetRequired() || r.GetAny().GetRequired() {
		return true
	}
	if fd.Message() != nil || fd.HasPresence() {
		return false
	}
	s, b := r.GetString_(), r.GetBytes()
	return (s.GetMinLen() > 0 || s.GetMinBytes() > 0) && !s.GetIgnoreEmpty() ||
		(b.GetMinLen() > 0) && !b.GetIgnoreEmpty()
}

func rulesOf(fd protoreflect.FieldDescriptor) *validate.FieldRules {
	o, ok := fd.Options().(*descriptorpb.FieldOptions)
	if !ok || o == nil || !proto.HasExtension(o, validate.E_Rules) {
		return nil
	}
	r, _ := proto.GetExtension(o, validate.E_Rules).(*validate.FieldRules)
	return r
}

func (g *generator) field(fd protoreflect.FieldDescriptor) (shape.Field, error) {
	if fd.Number() > math.MaxUint16 || len(fd.Name()) > math.MaxUint8 {
		return shape.Field{}, fmt.Errorf("number %d is too large", fd.Number())
	}
	f := shape.Field{Num: uint16(fd.Number()), Len: uint8(len(fd.Name()))}
	at, ok := g.texts[string(fd.Name())]
	if !ok {
		at = g.names.Len()
		g.texts[string(fd.Name())] = at
		g.names.WriteString(string(fd.Name()))
	}
	f.Name = uint16(at)
	switch {
	case fd.IsMap():
		f.Form = shape.Map
	case fd.IsList():
		f.Form = shape.List
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		f.Kind, f.Msg = shape.Nested, uint16(g.index[fd.Message().FullName()])
	case protoreflect.StringKind:
		f.Kind = shape.Text
	case protoreflect.BytesKind:
		f.Kind = shape.Bytes
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		f.Kind = shape.Fixed32
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		f.Kind = shape.Fixed64
	case protoreflect.GroupKind:
		return f, errors.New("groups are not supported")
	default:
		f.Kind = shape.Varint
	}
	f.Rule = uint16(g.rule(ruleOf(fd)))
	return f, nil
}

func (g *generator) rule(r shape.Rule) int {
	if i, ok := g.ruleAt[r]; ok {
		return i
	}
	g.ruleAt[r] = len(g.rules)
	g.rules = append(g.rules, r)
	return len(g.rules) - 1
}

func (g *generator) print(roots []protoreflect.MessageDescriptor) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("// Code generated by gen from protobuf descriptors. DO NOT EDIT.\n\npackage shape\n\n")
	fmt.Fprintf(&b, "// MaxLists is the largest number of repeated fields in one message.\nconst MaxLists = %d\n\n", g.lists)
	chunk := func(n int, line func(i int) string, per int) {
		for i := range n {
			b.WriteString(line(i))
			if i%per == per-1 || i == n-1 {
				b.WriteByte('\n')
			}
		}
		b.WriteString("}\n\n")
	}
	b.WriteString("// Messages are all message types, ordered by name.\nvar Messages = [...]Message{\n")
	chunk(len(g.messages), func(i int) string {
		m := g.messages[i]
		return fmt.Sprintf("{%d,%d,%d,%d,%d,%d},", m.Need, m.Name, m.Len, m.Check, m.First, m.Count)
	}, 12)
	b.WriteString("// Fields are the fields of all messages, ordered by message and number.\nvar Fields = [...]Field{\n")
	chunk(len(g.fields), func(i int) string {
		f := g.fields[i]
		return fmt.Sprintf("{%d,%d,%d,%d,%d,%d,%d,%d,%d},", f.Num, f.Kind, f.Form, f.Slot, f.List, f.Msg, f.Rule, f.Name, f.Len)
	}, 12)
	b.WriteString("// Rules are the demands that fields refer to; the first is none.\nvar Rules = [...]Rule{\n")
	chunk(len(g.rules), func(i int) string {
		r := g.rules[i]
		return fmt.Sprintf("{%d,%t,%t,%d,%d},", r.Kind, r.Plain, r.SkipIf, r.Lo, r.Hi)
	}, 4)
	slices.SortFunc(roots, func(a, c protoreflect.MessageDescriptor) int { return cmp.Compare(a.FullName(), c.FullName()) })
	b.WriteString("// Roots are the messages that may be the content of an Any, ordered by name.\nvar Roots = [...]Root{\n")
	chunk(len(roots), func(i int) string {
		return fmt.Sprintf("{%q, %d},", roots[i].FullName(), g.index[roots[i].FullName()])
	}, 4)
	literal(&b, "FieldNames", g.names.String())
	literal(&b, "MessageNames", g.titles.String())
	return format.Source(b.Bytes())
}

func literal(b *bytes.Buffer, name, text string) {
	fmt.Fprintf(b, "// %s holds names end to end.\nconst %s = \"\" +\n", name, name)
	const width = 300
	for len(text) > width {
		fmt.Fprintf(b, "\t%q +\n", text[:width])
		text = text[width:]
	}
	fmt.Fprintf(b, "\t%q\n\n", text)
}
