package pgstore

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// Deallocate has the writer's session forget what was prepared in it.
func Deallocate(s *Store) error {
	return s.do(context.Background(), &command{apart: true, change: func(*view, *ledger.Round) error {
		if err := s.writer.pipe.settle(); err != nil {
			return err
		}
		_, err := s.writer.conn.Exec(context.Background(), "DEALLOCATE ALL")
		return err
	}})
}

// Looked is until when a store knows, or has looked for, all that has ended.
func (s *Store) Looked() time.Time { return *s.looked[allEnds].Load() }

// Statements are all statements of a store, by their names.
func Statements(schema string) map[string]string {
	all := make(map[string]string)
	var add func(name string, v reflect.Value)
	add = func(name string, v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			all[name] = v.String()
		case reflect.Int32: // the layout
		case reflect.Struct:
			for i := range v.NumField() {
				add(name+"."+v.Type().Field(i).Name, v.Field(i))
			}
		case reflect.Array:
			for i := range v.Len() {
				add(fmt.Sprintf("%s.%d", name, i), v.Index(i))
			}
		default:
			panic("a statement of another kind: " + v.Type().String())
		}
	}
	sql := newStatements(schema, shortKeys)
	for parts := range sql.steps {
		sql.step(parts) // made when it is first needed
	}
	s := reflect.ValueOf(sql)
	for i := range s.NumField() {
		add(s.Type().Field(i).Name, s.Field(i))
	}
	delete(all, "schema")
	return all
}
