package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/outrigger-mesh/outrigger/bench/report"
)

// publish shows a document, writes its files and checks it.
func publish(o *Options, doc *report.Document) error {
	errs := []error{doc.Text(o.Out)}
	if o.JSON != "" {
		errs = append(errs, writeTo(o.JSON, doc.JSON))
	}
	if o.HTML != "" {
		err := writeTo(o.HTML, doc.HTML)
		if err == nil {
			name, absErr := filepath.Abs(o.HTML)
			if absErr != nil {
				name = o.HTML
			}
			fmt.Fprintln(o.Out, "page: file://"+name)
		}
		errs = append(errs, err)
	}
	if o.Check {
		errs = append(errs, printCheck(o.Out, Check(doc.Rows)))
	}
	return errors.Join(errs...)
}

func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// show publishes results that were written before.
func show(o *Options) error {
	text, err := os.ReadFile(o.From)
	if err != nil {
		return err
	}
	doc := new(report.Document)
	if err := json.Unmarshal(text, doc); err != nil {
		return fmt.Errorf("%s: %w", o.From, err)
	}
	doc.Title, doc.Cases = "What a sidecar costs", make(map[string]string)
	for _, c := range table() {
		doc.Cases[c.name] = c.about
	}
	again := *o
	again.JSON = ""
	return publish(&again, doc)
}
