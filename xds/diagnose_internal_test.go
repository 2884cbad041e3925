package xds

import (
	"errors"
	"fmt"
	"testing"
)

func TestErrorsAreToldOnOneLineAndOnce(t *testing.T) {
	t.Parallel()
	cause := errors.New("lookup istiod: no such host")
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"none", nil, ""},
		{"single", cause, "lookup istiod: no such host"},
		{"quoted and joined", errors.Join(fmt.Errorf("rpc error: %w", cause), cause), "rpc error: lookup istiod: no such host"},
		{"two of a kind", errors.Join(errors.New("one"), errors.New("two")), "one; two"},
	} {
		if got := brief(c.err); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
