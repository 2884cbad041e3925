package compile_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"           // a recorded type
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3" // a recorded type
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"             // a recorded type
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"            // a recorded type
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"       // a recorded type
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// The states of docs/xds.md.
const (
	stateYes     = "yes"
	statePartly  = "partly"
	stateIgnored = "ignored"
	stateRefused = "refused"
)

// support is docs/xds.md: the state by field, by message for "*", and by type for
// the tables of extensions.
type support struct {
	fields map[string]string
	types  map[string]string
}

// state returns what the document says of a field.
func (s *support) state(message, field string) string {
	if st, ok := s.fields[message+".*"]; ok {
		return st
	}
	return s.fields[message+"."+field]
}

var quoted = regexp.MustCompile("`([^`]+)`")

// documented reads the tables: a heading names the message whose fields follow,
// a field with a dot in it is spelled in full.
func documented(t *testing.T) *support {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "xds.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := &support{fields: make(map[string]string), types: make(map[string]string)}
	message, into := "", map[string]string(nil)
	for n, line := range strings.Split(string(b), "\n") {
		cells := strings.Split(line, "|")
		switch {
		case strings.HasPrefix(line, "#"):
			message, into = "", nil
			if m := quoted.FindStringSubmatch(line); m != nil {
				message = m[1]
			}
		case line == "":
			into = nil
		case strings.HasPrefix(line, "| Field | State"):
			into = s.fields
		case strings.HasPrefix(line, "| Type | State"):
			into = s.types
		case into == nil || len(cells) < 4:
		default:
			state := strings.TrimSpace(cells[2])
			for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
				name := m[1]
				if !strings.Contains(name, ".") {
					name = message + "." + name
				}
				if old, twice := into[name]; twice && old != state {
					t.Errorf("line %d: %s is %s and %s", n+1, name, old, state)
				}
				into[name] = state
			}
		}
	}
	return s
}

func TestDocumentNamesFieldsThatExist(t *testing.T) {
	t.Parallel()
	s := documented(t)
	if len(s.fields) < 200 || len(s.types) < 10 {
		t.Fatalf("got %d fields and %d types: the tables were not found", len(s.fields), len(s.types))
	}
	for name, state := range s.fields {
		if !slices.Contains([]string{stateYes, statePartly, stateIgnored, stateRefused, "---"}, state) {
			t.Errorf("%s: unknown state %q", name, state)
		}
		dot := strings.LastIndexByte(name, '.')
		message, field := name[:dot], name[dot+1:]
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(message))
		if err != nil {
			if field != "*" {
				t.Errorf("%s: there is no such message: %v", name, err)
			}
			continue
		}
		m, ok := d.(protoreflect.MessageDescriptor)
		if !ok || field != "*" && m.Fields().ByName(protoreflect.Name(field)) == nil {
			t.Errorf("%s: there is no such field", name)
		}
	}
}

// walk visits every field that is set, through what Any and TypedStruct hold. It
// does not go below what is ignored or refused.
type walk struct {
	t       *testing.T
	support *support
	missing map[string]bool
	visited int
}

func (w *walk) message(m protoreflect.Message) {
	if a, ok := m.Interface().(*anypb.Any); ok {
		w.any(a)
		return
	}
	name := string(m.Descriptor().FullName())
	if strings.HasPrefix(name, "google.protobuf.") {
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		w.visited++
		switch state := w.support.state(name, string(fd.Name())); state {
		case stateYes, statePartly:
			w.value(fd, v)
		case stateIgnored, stateRefused:
		default:
			w.missing[name+"."+string(fd.Name())] = true
		}
		return true
	})
	if kind := typedStruct(m); kind != "" {
		w.extension(kind)
	}
}

func (w *walk) value(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.IsMap() && fd.MapValue().Message() != nil:
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			w.message(v.Message())
			return true
		})
	case fd.IsList() && fd.Message() != nil:
		for i := range v.List().Len() {
			w.message(v.List().Get(i).Message())
		}
	case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
		w.message(v.Message())
	}
}

// any goes into what an Any holds. A type that is not used needs no decoding.
func (w *walk) any(a *anypb.Any) {
	kind := a.GetTypeUrl()[strings.LastIndexByte(a.GetTypeUrl(), '/')+1:]
	if w.unused(kind) {
		return
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		w.t.Errorf("docs/xds.md does not say that %s is ignored or refused, and it cannot be decoded here: %v", kind, err)
		return
	}
	w.message(inner.ProtoReflect())
}

// unused reports whether a type is not used, by the document.
func (w *walk) unused(kind string) bool {
	state := w.support.types[kind]
	return state == stateIgnored || state == stateRefused || w.support.state(kind, "*") != ""
}

// extension checks the type that a TypedStruct stands for.
func (w *walk) extension(kind string) {
	if w.support.types[kind] == "" && !w.unused(kind) {
		w.missing[kind] = true
	}
}

func typedStruct(m protoreflect.Message) string {
	t, ok := m.Interface().(interface {
		GetTypeUrl() string
		GetValue() *structpb.Struct
	})
	if !ok {
		return ""
	}
	return t.GetTypeUrl()[strings.LastIndexByte(t.GetTypeUrl(), '/')+1:]
}

func TestDocumentListsEveryRecordedField(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "*", "*.pb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded pushes: %v", err)
	}
	w := &walk{t: t, support: documented(t), missing: make(map[string]bool)}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var m discoveryv3.DeltaDiscoveryResponse
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, r := range m.GetResources() {
			w.message(r.ProtoReflect())
		}
	}
	if w.visited < 10_000 {
		t.Errorf("only %d fields were visited", w.visited)
	}
	for name := range w.missing {
		t.Errorf("docs/xds.md does not list %s", name)
	}
}
