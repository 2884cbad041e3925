package main

import "path/filepath"

// printHints prints what to try with a mesh that is left up.
func (d *demo) printHints() {
	s := d.screen
	web, intruder := "ip netns exec "+d.web.NetNS().Name()+" ", "ip netns exec "+d.intruder.NetNS().Name()+" "
	s.print(s.paint(bold, "Everything is up. To try, in another terminal (as root):"))
	for _, hint := range [][2]string{
		{"ask a service, as an application of the pod web does", web + "curl -s http://reviews:9080/"},
		{"ask as an intruder, which has no certificate", intruder + "curl -s http://" + d.reviews1.Addr().String() + ":9080/"},
		{"talk to the database", web + "curl -s --max-time 2 telnet://db:3306"},
		{"edit a rule; it takes effect when the file is saved", "${EDITOR:-vi} " + filepath.Join(d.mesh.ConfigDir(), trafficFile)},
		{"turn STRICT into PERMISSIVE", "sed -i s/STRICT/PERMISSIVE/ " + filepath.Join(d.mesh.ConfigDir(), securityFile)},
		{"see what istiod sent to a sidecar", web + "curl -s http://localhost:15000/config_dump | less"},
		{"see a sidecar's counters", web + "curl -s http://localhost:15000/stats"},
		{"see the capture rules of a pod", web + "iptables-save -t nat"},
		{"see the connections of a pod", web + "ss -tnp"},
		{"read a sidecar's access log", "tail -f " + d.mesh.LogFile("web.shop-sidecar")},
		{"read istiod's log", "tail -f " + d.mesh.LogFile("istiod")},
	} {
		s.print(indent+s.paint(dim, "# "+hint[0]), indent+hint[1])
	}
	s.print("", "Press Ctrl-C to remove everything.")
}
