package testmesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// applyWait bounds the wait for istiod to load a change; it debounces by 250 ms.
const applyWait = 2 * time.Minute

// ErrRejected is returned when istiod does not load a configuration.
var ErrRejected = errors.New("istiod rejects the configuration")

// Apply adds or replaces the configuration file of that name, one or more YAML
// objects, and returns when istiod has loaded it; the push to sidecars follows
// within 100 ms. If istiod rejects it, the file is taken back, since one bad
// file would block all others. While istiod is stopped it does not wait.
func (m *Mesh) Apply(name, text string) error {
	before := m.folder.text(name)
	err := m.apply(name, text)
	if errors.Is(err, ErrRejected) {
		_, undo := m.folder.apply(name, before)
		err = errors.Join(err, undo)
	}
	return err
}

// Delete removes the file of that name and returns when istiod has seen it.
func (m *Mesh) Delete(name string) error { return m.apply(name, "") }

// SetMeshConfig replaces istiod's MeshConfig, which it reloads; it does not wait.
func (m *Mesh) SetMeshConfig(text string) error {
	tmp := m.path("staging", "meshconfig.yaml")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, m.path("meshconfig.yaml"))
}

func (m *Mesh) apply(name, text string) error {
	m.config.say("applying %s", name)
	from, err := os.Stat(m.LogFile("istiod"))
	if err != nil {
		return err
	}
	want, err := m.folder.apply(name, text)
	if err != nil || !m.control.running() {
		return err
	}
	if err := m.loaded(context.Background(), want, from.Size()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// loaded waits until istiod has what is wanted, or says from that offset of its
// log on why it has not.
func (m *Mesh) loaded(ctx context.Context, w want, from int64) error {
	ctx, cancel := context.WithTimeout(ctx, applyWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := rejection(m.LogFile("istiod"), from); err != nil {
			return err
		}
		missing, err := m.missing(ctx, w)
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("istiod has not loaded %s: %w", missing, errors.Join(ctx.Err(), err))
		}
	}
}

// missing names an object that istiod does not have as wanted.
func (m *Mesh) missing(ctx context.Context, w want) (string, error) {
	if len(w) == 0 {
		return "", nil
	}
	text, err := m.Debug(ctx, "/debug/configz")
	if err != nil {
		return "", err
	}
	var loaded []struct {
		Kind     string `json:"kind"`
		Metadata meta   `json:"metadata"`
	}
	if err := json.Unmarshal(text, &loaded); err != nil {
		return "", err
	}
	got := make(map[string]string, len(loaded))
	for _, o := range loaded {
		got[fmt.Sprintf("%s %s/%s", o.Kind, o.Metadata.Namespace, o.Metadata.Name)] = o.Metadata.Annotations[stamp]
	}
	for name, stamp := range w {
		if got[name] != stamp {
			return name, nil
		}
	}
	return "", nil
}

// rejection looks in istiod's log, from an offset on, for a failed reload.
func rejection(log string, from int64) error {
	text, err := os.ReadFile(log)
	if err != nil || int64(len(text)) < from {
		return err
	}
	text = text[from:]
	if !bytes.Contains(text, []byte("unable to reload file")) {
		return nil
	}
	var why []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "unable to reload file") || strings.Contains(line, "Failed to parse") {
			why = append(why, strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("%w: %s", ErrRejected, strings.Join(why, "; "))
}

// ConfigError reports the last failed reload in istiod's log, if any.
func (m *Mesh) ConfigError() error { return rejection(m.LogFile("istiod"), 0) }

// ConfigDir returns the folder of Istio objects that istiod watches.
func (m *Mesh) ConfigDir() string { return filepath.Clean(m.folder.dir) }
