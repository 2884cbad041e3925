package testmesh_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/testmesh"
)

// TestMeshHello is the example of the package's documentation.
func TestMeshHello(t *testing.T) {
	mesh := testmesh.Start(t, "shop/mesh") // a folder of Istio YAML
	mesh.PlainPod("reviews-v1")            // a WorkloadEntry of the folder
	web := mesh.PlainPod("web")

	reply := web.Get("http://reviews-v1:9080/hello")
	if reply.Status != 200 || reply.Echo.Path != "/hello" {
		t.Errorf("got %v", reply)
	}
}
