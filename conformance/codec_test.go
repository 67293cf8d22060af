package conformance

import (
	"encoding/json"
	"fmt"

	"github.com/durable-go/durable"
)

// textCodec is a codec of strings.
type textCodec struct {
	name   string
	encode func(string) string
	decode func(string) (string, error)
}

func (c textCodec) Name() string { return c.name }

func (c textCodec) Encode(v any) ([]byte, error) {
	text, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("%T is not a string", v)
	}
	return []byte(c.encode(text)), nil
}

func (c textCodec) Decode(data []byte, v any) error {
	p, ok := v.(*string)
	if !ok {
		return fmt.Errorf("%T is not a *string", v)
	}
	text, err := c.decode(string(data))
	*p = text
	return err
}

func unchanged(s string) (string, error) { return s, nil }

// decoding is JSON with something done to what was decoded.
type decoding struct {
	name  string
	after func(v any) error
}

func (c decoding) Name() string                 { return c.name }
func (c decoding) Encode(v any) ([]byte, error) { return durable.JSON.Encode(v) }
func (c decoding) Decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return err
	}
	return c.after(v)
}
