package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

type unwritable struct{}

func (unwritable) MarshalJSON() ([]byte, error) { panic("no") }

func TestFunctions(t *testing.T) {
	type order struct {
		ID    int       `json:"id"`
		Items []string  `json:"items"`
		At    time.Time `json:"at,omitzero"`
	}
	plain := func(context.Context, **order) (int, error) { return 0, nil }
	b := setup(t,
		durable.Define("order", func(*durable.Context, order) (int, error) { return 0, nil }),
		durable.DefinePlain("mail", plain),
		durable.Define("list", func(*durable.Context, []int) (int, error) { return 0, nil }),
		durable.Define("map", func(*durable.Context, map[string]int) (int, error) { return 0, nil }),
		durable.Define("any", func(*durable.Context, any) (int, error) { return 0, nil }),
		durable.Define("none", func(*durable.Context, durable.None) (int, error) { return 0, nil }),
		durable.Define("panics", func(*durable.Context, unwritable) (int, error) { return 0, nil }),
		durable.Define("channel", func(*durable.Context, chan int) (int, error) { return 0, errors.New("no input fits") }),
	)
	all, err := json.Marshal(b.engine.Functions())
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"name":"any","plain":false,"sample":null},
		{"name":"channel","plain":false},
		{"name":"list","plain":false,"sample":[]},
		{"name":"mail","plain":true,"sample":{"id":0,"items":null}},
		{"name":"map","plain":false,"sample":{}},
		{"name":"none","plain":false,"sample":{}},
		{"name":"order","plain":false,"sample":{"id":0,"items":null}},
		{"name":"panics","plain":false}]`, string(all))
}
