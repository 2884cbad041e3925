package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"time"
)

// dumper writes one dump. Errors of writing stay in the buffered writer and end the
// dump through cancelled.
type dumper struct {
	out       *bufio.Writer
	dump      *Dump
	selection selection
	encoder   *encoder
	cancelled func() error
	elements  int // of the list that is being written
}

func (d *dumper) write() {
	d.print(`{"configs":[`)
	configs := 0
	begin := func() {
		if configs > 0 {
			d.print(",")
		}
		configs++
		d.print("\n")
	}
	if d.selection.wants("bootstrap") && d.dump.Bootstrap != nil {
		begin()
		d.printf(`{"@type":%s,"bootstrap":`, quote(adminType+"BootstrapConfigDump"))
		d.json(d.dump.Bootstrap())
		d.print("}")
	}
	for i := range sections {
		s := &sections[i]
		if s.message == "EndpointsConfigDump" && !d.selection.endpoints && d.selection.resource == "" {
			continue
		}
		if d.selection.resource != "" {
			d.resources(s, begin)
			continue
		}
		if d.wantsAny(s) {
			begin()
			d.section(s)
		}
	}
	d.secrets(begin)
	d.print("\n]}\n")
}

func (d *dumper) wantsAny(s *section) bool {
	for _, g := range s.groups {
		if d.selection.wants(g.field) {
			return true
		}
	}
	return false
}

// section writes a *ConfigDump message with the fields that are asked for.
func (d *dumper) section(s *section) {
	d.printf(`{"@type":%s`, quote(adminType+s.message))
	if d.selection.mask == nil && (s.inner == "cluster" || s.inner == "listener") {
		d.printf(`,"version_info":%s`, quote(lastVersion(s.source(d.dump))))
	}
	for _, g := range s.groups {
		if !d.selection.wants(g.field) {
			continue
		}
		d.elements = 0
		for r := range d.chosen(s, g) {
			if d.elements == 0 {
				d.printf(",\n %s:[", quote(g.field))
			} else {
				d.print(",")
			}
			d.elements++
			d.print("\n  {")
			d.element(s, &r)
			d.print("}")
		}
		if d.elements > 0 {
			d.print("]")
		}
	}
	d.print("}")
}

// resources writes the elements of the one field that was asked for, each as a
// configuration of its own.
func (d *dumper) resources(s *section, begin func()) {
	for _, g := range s.groups {
		if g.field != d.selection.resource {
			continue
		}
		for r := range d.chosen(s, g) {
			begin()
			d.printf(`{"@type":%s,`, quote(adminType+g.element))
			d.element(s, &r)
			d.print("}")
		}
	}
}

// chosen are the resources of a group that are asked for, until the asker leaves.
func (d *dumper) chosen(s *section, g group) iter.Seq[Resource] {
	return func(yield func(Resource) bool) {
		for r := range all(s.source(d.dump)) {
			if d.cancelled() != nil {
				return
			}
			for _, stage := range g.stages {
				if r.Stage == stage && d.selection.named(r.Name) && !yield(r) {
					return
				}
			}
		}
	}
}

// element writes the members of one entry of a group.
func (d *dumper) element(s *section, r *Resource) {
	switch {
	case s.states && r.Stage != Static:
		d.printf(`"name":%s`, quote(r.Name))
		if r.Raw != nil {
			state := "active_state"
			if r.Stage == Warming {
				state = "warming_state"
			}
			d.printf(`,%s:{`, quote(state))
			d.versioned(s.inner, r)
			d.print("}")
		}
	case r.Stage == Static:
		d.print(`"last_updated":` + quote(timestamp(r.Updated)))
		d.resource(s.inner, r)
	default:
		d.versioned(s.inner, r)
	}
	if r.Rejected != nil {
		d.rejection(r)
	}
}

func (d *dumper) versioned(inner string, r *Resource) {
	d.printf(`"version_info":%s,"last_updated":%s`, quote(r.Version), quote(timestamp(r.Updated)))
	d.resource(inner, r)
}

func (d *dumper) resource(inner string, r *Resource) {
	if r.Raw == nil {
		return
	}
	if raw := r.Raw(); raw != nil {
		d.printf(`,%s:`, quote(inner))
		_, _ = d.out.Write(d.encoder.any(r.TypeURL, raw))
	}
}

func (d *dumper) rejection(r *Resource) {
	d.printf(`,"error_state":{"details":%s,"version_info":%s,"last_update_attempt":%s`,
		quote(r.Rejected.Details), quote(r.Rejected.Version), quote(timestamp(r.Rejected.At)))
	if r.Rejected.Raw != nil {
		d.print(`,"failed_configuration":`)
		_, _ = d.out.Write(d.encoder.any(r.TypeURL, r.Rejected.Raw()))
	}
	d.print(`},"client_status":"NACKED"`)
}

// lastVersion is the version of the latest update of a type.
func lastVersion(seq iter.Seq[Resource]) string {
	version, at := "", time.Time{}
	for r := range all(seq) {
		if r.Version != "" && !r.Updated.Before(at) {
			version, at = r.Version, r.Updated
		}
	}
	return version
}

func (d *dumper) print(s string) { _, _ = d.out.WriteString(s) }

func (d *dumper) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }

// json writes JSON that was lent, or null where it is not valid.
func (d *dumper) json(text json.RawMessage) {
	if !json.Valid(text) {
		text = json.RawMessage("null")
	}
	_, _ = d.out.Write(text)
}

func quote(s string) string { return marshalled(s) }

func base64(b []byte) string { return marshalled(b) }

func marshalled(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return `""` // strings and bytes always marshal
	}
	return string(text)
}
