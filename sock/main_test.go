package sock_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/internal/leak"
)

func TestMain(m *testing.M) { leak.OfModule(m) }
