package compile

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const typePrefix = "type.googleapis.com/"

// unpack decodes an Any into the message that it has to hold.
func unpack(a *anypb.Any, into proto.Message) error {
	want := string(into.ProtoReflect().Descriptor().FullName())
	if got := a.GetTypeUrl(); got != typePrefix+want {
		return fmt.Errorf("type %q is not %s", got, want)
	}
	if err := proto.Unmarshal(a.GetValue(), into); err != nil {
		return fmt.Errorf("decode %s: %w", want, err)
	}
	return nil
}

// holds reports whether an Any holds a message of that full name.
func holds(a *anypb.Any, name string) bool { return a.GetTypeUrl() == typePrefix+name }

// duration converts a duration and treats an absent one as fallback.
func duration(d *durationpb.Duration, fallback time.Duration) time.Duration {
	if d == nil {
		return fallback
	}
	return d.AsDuration()
}

// number unwraps a wrapper and treats an absent one as fallback.
func number(v *wrapperspb.UInt32Value, fallback uint32) uint32 {
	if v == nil {
		return fallback
	}
	return v.GetValue()
}

// truth unwraps a wrapper and treats an absent one as fallback.
func truth(v *wrapperspb.BoolValue, fallback bool) bool {
	if v == nil {
		return fallback
	}
	return v.GetValue()
}
