package testmesh

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/outrigger-mesh/outrigger/internal/testmesh/kubestub"
)

// stamp is the annotation by which we see in istiod that it has loaded a text.
const stamp = "testmesh.outrigger/stamp"

// folder is the configuration in force: Istio objects as files that istiod
// watches, Kubernetes objects in the stub, and what both mean for pods.
type folder struct {
	// immutable
	dir     string // istiod's --configDir
	staging string // same file system, not watched
	hosts   string // folder of hosts files, one per namespace
	kube    *kubestub.Store

	mu     sync.Mutex
	files  map[string][]object   // guarded by mu; by name
	shape  *topology             // guarded by mu; never modified
	tables map[string]*hostTable // guarded by mu; namespaces with a hosts file
}

// want says what istiod must have loaded: stamp by object, empty if it must be gone.
type want map[string]string

func newFolder(work string, kube *kubestub.Store) (*folder, error) {
	f := &folder{
		dir: filepath.Join(work, "istio"), staging: filepath.Join(work, "staging"), hosts: filepath.Join(work, "hosts"),
		kube: kube, files: map[string][]object{}, shape: &topology{}, tables: map[string]*hostTable{},
	}
	return f, errors.Join(os.MkdirAll(f.dir, 0o755), os.MkdirAll(f.staging, 0o755), os.MkdirAll(f.hosts, 0o755))
}

// load applies every YAML file of a folder.
func (f *folder) load(source fs.FS) error {
	return fs.WalkDir(source, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path)) {
			return err
		}
		text, err := fs.ReadFile(source, path)
		if err != nil {
			return err
		}
		_, err = f.apply(strings.ReplaceAll(path, "/", "-"), string(text))
		return err
	})
}

// apply replaces the file of that name; an empty text deletes it.
func (f *folder) apply(name, text string) (want, error) {
	objects, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.files[name]
	if len(objects) == 0 {
		delete(f.files, name)
	} else {
		f.files[name] = objects
	}
	shape, err := newTopology(slices.Concat(f.all()...))
	if err != nil {
		f.files[name] = old
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.shape = shape
	if err := f.replaceKube(old, objects); err != nil {
		return nil, err
	}
	if err := f.write(name, objects); err != nil {
		return nil, err
	}
	return wanted(old, objects), f.writeHosts()
}

// wanted says what istiod must have when the old objects are replaced.
func wanted(old, objects []object) want {
	w := want{}
	for _, o := range old {
		if isIstio(o) {
			w[describe(o)] = ""
		}
	}
	for _, o := range objects {
		if isIstio(o) {
			w[describe(o)] = metaOf(o).Annotations[stamp]
		}
	}
	return w
}

// everything says what istiod must have of all files.
func (f *folder) everything() want {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wanted(nil, slices.Concat(f.all()...))
}

// text returns the file of that name as it was applied.
func (f *folder) text(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return render(f.files[name])
}

func (f *folder) all() [][]object {
	var all [][]object
	for _, objects := range f.files {
		all = append(all, objects)
	}
	return all
}

// replaceKube brings the stub from the old objects to the new.
func (f *folder) replaceKube(old, objects []object) error {
	kept := map[string]bool{}
	for _, o := range objects {
		if isIstio(o) {
			continue
		}
		kept[describe(o)] = true
		if err := f.kube.Put(o); err != nil {
			return err
		}
	}
	for _, o := range old {
		if isIstio(o) || kept[describe(o)] {
			continue
		}
		if err := f.kube.Delete(o); err != nil {
			return err
		}
	}
	for _, o := range objects { // as the API server would insist
		if ns := metaOf(o).Namespace; ns != "" {
			if err := f.kube.Put(namespaceObject(ns)); err != nil {
				return err
			}
		}
	}
	return nil
}

// write puts the Istio objects of a file where istiod sees them, all at once.
func (f *folder) write(name string, objects []object) error {
	path := filepath.Join(f.dir, name)
	if filepath.Ext(path) != ".yaml" {
		path += ".yaml"
	}
	objects = slices.DeleteFunc(slices.Clone(objects), func(o object) bool { return !isIstio(o) })
	if len(objects) == 0 {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	tmp := filepath.Join(f.staging, filepath.Base(path))
	if err := os.WriteFile(tmp, []byte(render(objects)), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// writeHosts brings every hosts file up to date; mu is held.
func (f *folder) writeHosts() error {
	for namespace := range f.tables {
		if err := f.writeTable(namespace); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) writeTable(namespace string) error {
	table := newHostTable(f.shape, namespace)
	f.tables[namespace] = table
	return writeInPlace(filepath.Join(f.hosts, namespace), table.text())
}

// hostsFile returns the path of a namespace's hosts file, made if need be.
func (f *folder) hostsFile(namespace string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tables[namespace] == nil {
		if err := f.writeTable(namespace); err != nil {
			return "", err
		}
	}
	return filepath.Join(f.hosts, namespace), nil
}

// table returns the names as a namespace sees them.
func (f *folder) table(namespace string) *hostTable {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tables[namespace]; t != nil {
		return t
	}
	return newHostTable(f.shape, namespace)
}

func (f *folder) topology() *topology {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shape
}

// parse splits a text into objects and stamps those that istiod will load.
func parse(text string) ([]object, error) {
	var objects []object
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			return nil, err
		}
		if len(o) == 0 {
			continue
		}
		m := metaOf(o)
		if m.Name == "" || m.Namespace == "" && isIstio(o) {
			return nil, fmt.Errorf("%s needs a name and a namespace", describe(o))
		}
		if isIstio(o) {
			mark(o)
		}
		objects = append(objects, o)
	}
	return objects, nil
}

// mark adds the stamp, a hash of the object without it, so that an unchanged
// object stays the same byte for byte.
func mark(o object) {
	metadata, _ := o["metadata"].(map[string]any)
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		annotations = object{}
	}
	delete(annotations, stamp)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	sum := sha256.Sum256([]byte(render([]object{o})))
	annotations[stamp] = hex.EncodeToString(sum[:6])
	metadata["annotations"] = annotations
}

func render(objects []object) string {
	var b strings.Builder
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			panic(fmt.Sprintf("object came from YAML and is none: %v", err))
		}
		b.WriteString("---\n")
		b.Write(text)
	}
	return b.String()
}

func isIstio(o object) bool {
	api, _ := o["apiVersion"].(string)
	group, _, _ := strings.Cut(api, "/")
	return strings.HasSuffix(group, ".istio.io")
}

func namespaceObject(name string) object {
	return object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{
		"name": name, "labels": object{"kubernetes.io/metadata.name": name},
	}}
}
