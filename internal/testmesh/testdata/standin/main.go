// Command standin stands in for the product's two binaries where the mesh itself
// is tested: it tells what it was started with.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if filepath.Base(os.Args[0]) == "outrigger-init" {
		fmt.Println("args:", strings.Join(os.Args[1:], " "))
		fmt.Println(status())
		return
	}
	fmt.Println("standin starts")
	go func() { fmt.Println(http.ListenAndServe("127.0.0.1:15000", http.HandlerFunc(tell))) }()
	go func() {
		fmt.Println(http.ListenAndServe(":15021", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	}()
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	fmt.Println("standin ends")
}

// tell answers with what a sidecar sees of its container.
func tell(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/file":
		http.ServeFile(w, r, r.URL.Query().Get("name"))
	case "/write":
		if err := os.WriteFile(r.URL.Query().Get("name"), nil, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	case "/stats":
		fmt.Fprint(w, "a.b: 1\nc.d: 2\n")
	default:
		wd, _ := os.Getwd()
		_ = json.NewEncoder(w).Encode(map[string]any{
			"args": os.Args, "env": os.Environ(), "uid": os.Getuid(), "gid": os.Getgid(), "status": status(), "dir": wd,
		})
	}
}

func status() string {
	text, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return err.Error()
	}
	return string(text)
}
