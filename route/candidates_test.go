package route

import (
	"fmt"
	"testing"
)

func TestFewEntriesAreAskedOfMany(t *testing.T) {
	t.Parallel()
	const n = 1000
	for _, c := range []struct {
		name string
		path func(i int) Path
		ask  string
		want int
	}{
		{"exact", func(i int) Path { return Path{Kind: PathExact, Value: fmt.Sprintf("/a/%d", i)} }, "/a/7", 1},
		{"prefix", func(i int) Path { return Path{Value: fmt.Sprintf("/a/%03d/", i)} }, "/a/007/x", 1},
		{"separated", func(i int) Path { return Path{Kind: PathSeparated, Value: fmt.Sprintf("/a/%03d", i)} }, "/a/007/x", 1},
		{"any case", func(i int) Path { return Path{Value: fmt.Sprintf("/A/%03d/", i), AnyCase: true} }, "/a/007/x", 1},
		{"regex with a literal beginning", func(i int) Path { return Path{Kind: PathRegex, Value: fmt.Sprintf("/a/%03d/.*", i)} }, "/a/007/x", 1},
		{"regex with an anchor", func(i int) Path { return Path{Kind: PathRegex, Value: fmt.Sprintf("^/a/%03d/x$", i)} }, "/a/007/x", 1},
		{"nothing", func(i int) Path { return Path{Kind: PathExact, Value: fmt.Sprintf("/a/%d", i)} }, "/b", 0},
		{"the first takes all", func(int) Path { return Path{Value: "/"} }, "/b", 1},
	} {
		entries := make([]Entry[int], n)
		for i := range entries {
			entries[i].Matcher.Path = c.path(i)
		}
		v, err := NewVirtualHost("h", entries)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		v.index.first(c.ask, func(int32) bool { asked++; return false })
		if asked != c.want {
			t.Errorf("%s: %d entries are asked, want %d", c.name, asked, c.want)
		}
	}
}

func TestAnIndexThatWouldBeTooLargeIsNotMade(t *testing.T) {
	t.Parallel()
	entries := make([]Entry[int], 500)
	value := "/"
	for i := range entries {
		value += "a"
		entries[i].Matcher = Matcher{Path: Path{Value: value}, GRPC: true}
	}
	v, err := NewVirtualHost("h", entries)
	if err != nil {
		t.Fatal(err)
	}
	if v.index != nil {
		t.Error("nested conditional prefixes are indexed at any cost")
	}
}
