package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Tool is a program of other people, or one of ours that is built on their
// modules, pinned by a module file that is not the product's.
type Tool struct {
	Name    string // what the program is called in the cache
	Module  string // folder of the module file, below the root of our module
	Package string // import path, or "." for the module's own
}

// Tools returns the folder with these programs, compiled first if need be. They
// must share one module.
func (b Builder) Tools(ctx context.Context, tools ...Tool) (string, error) {
	source, err := b.source()
	if err != nil {
		return "", err
	}
	if len(tools) == 0 {
		return "", errors.New("no tools given")
	}
	module := filepath.Join(source, filepath.FromSlash(tools[0].Module))
	own, err := ownSource(module)
	if err != nil {
		return "", err
	}
	dir, err := cacheDir("tools/"+path.Base(tools[0].Module), module, own)
	if err != nil {
		return "", err
	}
	missing := slices.DeleteFunc(slices.Clone(tools), func(t Tool) bool { return runnable(filepath.Join(dir, t.Name)) })
	if len(missing) == 0 {
		return dir, nil
	}
	unlock, err := b.lock(ctx, dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	g := gocmd{dir: module, log: b.Log, env: []string{"GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0"}}
	for _, t := range missing {
		binary := filepath.Join(dir, t.Name)
		if runnable(binary) { // another process built it while we waited
			continue
		}
		b.say("building " + t.Name + " (once)")
		if err := g.build(ctx, []string{"build", "-trimpath", "-ldflags=-s -w", "-o", binary + ".tmp", t.Package}, func(string) {}); err != nil {
			return "", fmt.Errorf("build %s: %w", t.Name, err)
		}
		if err := os.Rename(binary+".tmp", binary); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// ownSource returns the text of the Go files that stand beside a module file.
func ownSource(module string) (string, error) {
	names, err := filepath.Glob(filepath.Join(module, "*.go"))
	if err != nil {
		return "", err
	}
	var all []byte
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		all = append(all, text...)
	}
	return string(all), nil
}
