package durablehttp

import (
	"bufio"
	"encoding/json"
	"io"
	"iter"
	"net/http"
)

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
	return nil
}

// writeList answers with {"name":[…]} as the items come, however many there are, and
// behind them {"next": …} unless next returns nil. An error is returned while nothing
// has been sent; later ones end the connection, so that nobody takes a part for the
// whole.
func (a *admin) writeList(w http.ResponseWriter, r *request, name string, items iter.Seq2[any, error], next func() any) error {
	w.Header().Set("Content-Type", "application/json")
	sent := &counted{w: &patient{w, http.NewResponseController(w)}}
	b := bufio.NewWriterSize(sent, 32<<10)
	b.WriteString(`{"` + name + `":[`)
	n := 0
	for item, err := range items {
		var data []byte
		if err == nil {
			data, err = json.Marshal(item)
		}
		if err != nil && sent.n == 0 {
			return err
		}
		if err != nil {
			if r.Context().Err() == nil {
				a.failed(r, err)
			}
			panic(http.ErrAbortHandler)
		}
		if n++; n > 1 {
			b.WriteString(",\n")
		}
		if _, err := b.Write(data); err != nil {
			return nil // nobody listens any more
		}
		r.listed += len(data)
	}
	b.WriteByte(']')
	if next := next(); next != nil {
		data, err := json.Marshal(next)
		if err != nil {
			return err
		}
		b.WriteString(`,"next":` + string(data))
	}
	b.WriteString("}\n")
	b.Flush()
	return nil
}

// pageBytes is how long a page gets, and its last item: whoever reads it may hold all of it.
const pageBytes = 4 << 20

// full reports whether a page has no room for more.
func (r *request) full() bool { return r.listed >= pageBytes }

// counted counts what is written to w.
type counted struct {
	w io.Writer
	n int
}

func (c *counted) Write(data []byte) (int, error) {
	c.n += len(data)
	return c.w.Write(data)
}
