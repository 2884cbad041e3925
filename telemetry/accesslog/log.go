package accesslog

import (
	"errors"
	"fmt"
	"sync"

	"github.com/outrigger-mesh/outrigger/flow"
)

// maxLine bounds the room that a borrowed line buffer may keep.
const maxLine = 16 << 10

// Config says what a Log writes, when, and to where.
type Config struct {
	// Outputs owns the files.
	Outputs *Outputs
	// Path is a file, /dev/stdout or /dev/stderr.
	Path string
	// Text is the format string. JSON is used instead where it is not nil; with
	// neither, the format is EnvoyTextFormat.
	Text      string
	JSON      []Field
	OmitEmpty bool
	// Filter chooses records; nil takes all.
	Filter Filter
}

// Log is one configured access log. It is immutable and safe for concurrent use;
// several logs may share a file.
type Log struct {
	format *Format
	filter Filter
	writer *Writer
	lines  *sync.Pool
}

// New compiles the format and opens the file.
func New(c Config) (*Log, error) {
	if c.Outputs == nil {
		return nil, errors.New("access log has no outputs")
	}
	format, err := parse(c)
	if err != nil {
		return nil, fmt.Errorf("access log format: %w", err)
	}
	w, err := c.Outputs.Open(c.Path)
	if err != nil {
		return nil, err
	}
	c.Outputs.report(format)
	return &Log{format: format, filter: c.Filter, writer: w, lines: &c.Outputs.lines}, nil
}

func parse(c Config) (*Format, error) {
	env := c.Outputs.config.Environment
	switch {
	case c.JSON != nil:
		return ParseJSON(c.JSON, env, c.OmitEmpty)
	case c.Text != "":
		return ParseText(c.Text, env, c.OmitEmpty)
	default:
		return ParseText(EnvoyTextFormat, env, c.OmitEmpty)
	}
}

// Observe formats the record and queues the line. It never waits: where the queue
// is full the line is dropped and counted.
func (l *Log) Observe(r *flow.Record) {
	if l.filter != nil && !l.filter(r) {
		return
	}
	line, ok := l.lines.Get().(*[]byte)
	if !ok {
		line = new(make([]byte, 0, 1024))
	}
	*line = l.format.Append((*line)[:0], r)
	l.writer.queue(*line)
	if cap(*line) <= maxLine {
		l.lines.Put(line)
	}
}
