// Package testmesh runs a real mesh on one machine: an unmodified istiod as a
// child process and pods as network namespaces on a bridge, each with an echo
// application and, unless told otherwise, a sidecar started exactly as an
// injected container is. Ten lines make a test:
//
//	func TestHello(t *testing.T) {
//		mesh := testmesh.Start(t, "shop/mesh") // a folder of Istio YAML
//		mesh.PlainPod("reviews-v1")            // a WorkloadEntry of the folder
//		web := mesh.PlainPod("web")
//
//		reply := web.Get("http://reviews-v1:9080/hello")
//		if reply.Status != 200 || reply.Echo.Path != "/hello" {
//			t.Errorf("got %v", reply)
//		}
//	}
//
// These two have no sidecar. With Pod in place of PlainPod they have one, are
// ready when Pod returns, and the name of the service works too:
// web.Get("http://reviews:9080/hello"). Pods makes several at once.
//
// Its life: Up removes what dead runs left behind, finds or builds istiod, makes
// the control plane's namespace with bridge, stub Kubernetes API and keys, and
// returns when istiod is ready. Apply and Delete change the configuration and
// return when istiod has loaded it. AddPod makes a namespace, installs the
// capture rules with outrigger-init and starts application and sidecar. Traffic
// from a pod is made in this process, on sockets inside the pod's namespace.
// Close kills every process and removes every namespace.
//
// Virtual addresses of services work through sidecars only, since there is no
// kube-proxy: from a plain pod they are unreachable, and pods go by their names.
// A WorkloadEntry whose pod was not made is an endpoint that never answers.
//
// It must not know how the product works inside: it starts the two binaries,
// looks at their ports and files, and nothing else.
package testmesh
