package echo

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"strconv"
	"strings"
)

func echo(c *net.TCPConn) {
	if _, err := io.Copy(c, c); err == nil {
		_ = c.CloseWrite() // the peer may be gone
	}
}

// Greeting returns the line a Greet port sends first.
func Greeting(pod, version string) string {
	return fmt.Sprintf("greetings from %s %s\n", pod, version)
}

func greet(c *net.TCPConn, config Config) {
	if _, err := io.WriteString(c, Greeting(config.Pod, config.Version)); err == nil {
		echo(c)
	}
}

// BulkReport is the last line of a Bulk connection: what the server received.
//
// The client's first line is the number of bytes it wants. The server sends that
// many bytes of Pattern and reads what follows until the client half-closes,
// both at once; when both are done it sends the report and half-closes too.
type BulkReport struct {
	Received int64
	SHA256   string
}

func bulk(c *net.TCPConn) {
	in := bufio.NewReaderSize(c, 64<<10)
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, Pattern(n))
		sent <- err
	}()
	sum := sha256.New()
	received, err := io.Copy(sum, in)
	if sendErr := <-sent; err != nil || sendErr != nil {
		return
	}
	_ = json.NewEncoder(c).Encode(BulkReport{Received: received, SHA256: hexSum(sum)}) // the peer may be gone
	_ = c.CloseWrite()
}

// Exchange is the other side of a Bulk port: it sends up bytes of Pattern and
// half-closes, receives down bytes meanwhile, and compares what both sides got.
func Exchange(c *net.TCPConn, up, down int64) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, io.MultiReader(strings.NewReader(strconv.FormatInt(down, 10)+"\n"), Pattern(up)))
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	in := bufio.NewReaderSize(c, 64<<10)
	got := sha256.New()
	n, err := io.CopyN(got, in, down)
	if err != nil {
		_ = c.Close() // ends the sender
		return errors.Join(fmt.Errorf("received %d of %d bytes: %w", n, down, err), <-sent)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("send: %w", err)
	}
	var report BulkReport
	if err := json.NewDecoder(in).Decode(&report); err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	if want := patternSum(down); hexSum(got) != want {
		return fmt.Errorf("the %d bytes received differ from what was sent", down)
	}
	if report.Received != up || report.SHA256 != patternSum(up) {
		return fmt.Errorf("the peer got %d bytes of %d, or others", report.Received, up)
	}
	return nil
}

func patternSum(n int64) string {
	sum := sha256.New()
	_, _ = io.Copy(sum, Pattern(n)) // neither side can fail
	return hexSum(sum)
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Pattern returns a reader of n bytes that differ with their offset, so that
// lost, doubled and swapped parts show.
func Pattern(n int64) io.Reader { return io.LimitReader(&pattern{}, n) }

type pattern struct{ offset uint64 }

// Read takes each byte from a multiplied count of eight-byte words, so that it
// depends on the offset alone and not on how the reads are cut.
func (r *pattern) Read(p []byte) (int, error) {
	for i := range p {
		word := (r.offset >> 3) * 0x9e3779b97f4a7c15
		p[i] = byte(word >> (32 + r.offset&7*4))
		r.offset++
	}
	return len(p), nil
}
