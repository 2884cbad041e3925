package frame_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/outrigger-mesh/outrigger/bench/frame"
)

func TestFramesAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte{'b'}, frame.Max+1)
	b := frame.AppendSettings(nil, [2]uint32{frame.InitialWindowSize, 7})
	b = frame.AppendWindowUpdate(b, 3, 9)
	b = frame.AppendBlock(b, long, frame.EndStream, 1)
	b = frame.AppendData(b, long, frame.EndStream, 1)
	want := []frame.Frame{
		{Type: frame.Settings, Payload: []byte{0, 4, 0, 0, 0, 7}},
		{Type: frame.WindowUpdate, Stream: 3, Payload: []byte{0, 0, 0, 9}},
		{Type: frame.Headers, Flags: frame.EndStream, Stream: 1, Payload: long[:frame.Max]},
		{Type: frame.Continuation, Flags: frame.EndHeaders, Stream: 1, Payload: long[:1]},
		{Type: frame.Data, Stream: 1, Payload: long[:frame.Max]},
		{Type: frame.Data, Flags: frame.EndStream, Stream: 1, Payload: long[:1]},
	}
	for i, w := range want {
		f, n, err := frame.Next(b)
		if err != nil || n == 0 || f.Type != w.Type || f.Flags != w.Flags || f.Stream != w.Stream || !bytes.Equal(f.Payload, w.Payload) {
			t.Fatalf("frame %d: got type %d, flags %x, %d bytes (%v)", i, f.Type, f.Flags, len(f.Payload), err)
		}
		b = b[n:]
	}
	if len(b) != 0 {
		t.Errorf("%d bytes are left", len(b))
	}
}

func TestPaddingAndPriorityAreTakenAway(t *testing.T) {
	t.Parallel()
	f := frame.Frame{Type: frame.Headers, Flags: frame.Padded | frame.HasPriority, Payload: []byte{2, 0, 0, 0, 0, 9, 'x', 0, 0}}
	if got, err := f.Fragment(); string(got) != "x" || err != nil {
		t.Errorf("got %q (%v), want x", got, err)
	}
}

func TestImpossibleFramesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		in   []byte
		want error
	}{
		{"too large", []byte{0, 0x40, 1, 0, 0, 0, 0, 0, 1}, frame.ErrTooLarge},
		{"short window", []byte{0, 0, 1, frame.WindowUpdate, 0, 0, 0, 0, 0, 1}, frame.ErrLength},
		{"half a setting", []byte{0, 0, 3, frame.Settings, 0, 0, 0, 0, 0, 1, 2, 3}, frame.ErrLength},
		{"short goaway", []byte{0, 0, 1, frame.GoAway, 0, 0, 0, 0, 0, 1}, frame.ErrLength},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := frame.Next(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	f := frame.Frame{Flags: frame.Padded, Payload: []byte{1}}
	if _, err := f.Content(); !errors.Is(err, frame.ErrPadding) {
		t.Errorf("got %v for more padding than bytes", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frame.AppendBlock(frame.AppendSettings(nil, [2]uint32{1, 2}), []byte("block"), 0, 1))
	f.Add([]byte{0, 0, 2, frame.Data, frame.Padded, 0, 0, 0, 1, 5, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		for {
			fr, n, err := frame.Next(in)
			if err != nil || n == 0 {
				return
			}
			_, _ = fr.Content()
			_, _ = fr.Fragment()
			for i := 0; fr.Type == frame.Settings; i++ {
				if _, _, ok := fr.Setting(i); !ok {
					break
				}
			}
			in = in[n:]
		}
	})
}
