package durable

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
)

// FunctionInfo is what Functions tells of a function.
type FunctionInfo struct {
	Name  string `json:"name"`
	Plain bool   `json:"plain"` // made by DefinePlain
	// Sample is the zero value of its input as JSON, a form to fill in: a pointer is
	// to a zero value, a slice has no elements. Absent when the type has no JSON.
	Sample json.RawMessage `json:"sample,omitempty"`
}

// Functions returns what this engine can run, by name.
func (e *Engine) Functions() []FunctionInfo {
	list := make([]FunctionInfo, 0, len(e.defs))
	for _, d := range e.defs {
		list = append(list, FunctionInfo{Name: d.name, Plain: d.plain, Sample: d.sample()})
	}
	slices.SortFunc(list, func(a, b FunctionInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// sampleOf is a zero T as JSON, nil if there is none. How it is made JSON is the
// user's code.
func sampleOf[T any]() (sample json.RawMessage) {
	defer func() {
		if recover() != nil {
			sample = nil
		}
	}()
	v := reflect.New(reflect.TypeFor[T]()).Elem()
	for at, deep := v, 0; deep < 8; deep++ {
		switch at.Kind() {
		case reflect.Pointer:
			at.Set(reflect.New(at.Type().Elem()))
			at = at.Elem()
			continue
		case reflect.Slice:
			at.Set(reflect.MakeSlice(at.Type(), 0, 0))
		case reflect.Map:
			at.Set(reflect.MakeMap(at.Type()))
		}
		break
	}
	sample, err := json.Marshal(v.Interface())
	if err != nil {
		return nil
	}
	return sample
}
