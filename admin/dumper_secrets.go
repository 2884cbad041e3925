package admin

// secretGroups are the fields of a SecretsConfigDump by warming.
var secretGroups = map[bool]string{false: "dynamic_active_secrets", true: "dynamic_warming_secrets"}

func (d *dumper) secrets(begin func()) {
	if d.selection.resource == "" {
		if !d.selection.wants(secretGroups[false]) && !d.selection.wants(secretGroups[true]) {
			return
		}
		begin()
		d.printf(`{"@type":%s`, quote(adminType+"SecretsConfigDump"))
		defer d.print("}")
	}
	for _, warming := range []bool{false, true} {
		if d.selection.wants(secretGroups[warming]) {
			d.secretGroup(warming, begin)
		}
	}
}

func (d *dumper) secretGroup(warming bool, begin func()) {
	list := d.selection.resource == ""
	count := 0
	for s := range all(d.dump.Secrets) {
		if s.Warming != warming || !d.selection.named(s.Name) {
			continue
		}
		switch {
		case !list:
			begin()
			d.printf(`{"@type":%s,`, quote(adminType+"SecretsConfigDump.DynamicSecret"))
		case count == 0:
			d.printf(",\n %s:[{", quote(secretGroups[warming]))
		default:
			d.print(",\n  {")
		}
		count++
		d.secret(&s)
		d.print("}")
	}
	if list && count > 0 {
		d.print("]")
	}
}

func (d *dumper) secret(s *Secret) {
	d.printf(`"name":%s,"version_info":%s,"last_updated":%s,"secret":{"@type":%s,"name":%s`,
		quote(s.Name), quote(s.Version), quote(timestamp(s.Updated)), quote(secretType), quote(s.Name))
	if s.Chain != nil {
		d.printf(`,"tls_certificate":{"certificate_chain":{"inline_bytes":%s},"private_key":{"inline_bytes":%s}}`,
			base64(s.Chain), base64([]byte(redacted)))
	}
	if s.Roots != nil {
		d.printf(`,"validation_context":{"trusted_ca":{"inline_bytes":%s}}`, base64(s.Roots))
	}
	d.print("}")
}
