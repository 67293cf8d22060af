package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgres is what systems have in common that keep their store on the server that
// -postgres names: a schema for each folder.
type postgres struct{ url string }

// A tabular is a system whose store is tables on a server.
type tabular interface {
	// occupies returns how many rows and bytes the store of a folder has there,
	// indexes included.
	occupies(ctx context.Context, folder string) (rows, bytes int64, err error)
}

func schemaOf(folder string) string {
	h := fnv.New64a()
	h.Write([]byte(folder))
	return fmt.Sprintf("bench_%x", h.Sum64())
}

// connected calls f with a connection of its own.
func (s postgres) connected(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return f(conn)
}

// durability asks the server whether it flushes each commit.
func (s postgres) durability(ctx context.Context) (said string, err error) {
	err = s.connected(ctx, func(conn *pgx.Conn) error {
		for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
			var value string
			if err := conn.QueryRow(ctx, "SHOW "+name).Scan(&value); err != nil {
				return err
			}
			if value != "on" && !(name == "synchronous_commit" && value != "off") {
				return fmt.Errorf("the server's %s is %s", name, value)
			}
			said += name + "=" + value + " "
		}
		return nil
	})
	return said + "(SHOW, with the same connection string)", err
}

// remove is called with the folder when a run has ended.
func (s postgres) remove(ctx context.Context, folder string) error {
	return s.connected(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schemaOf(folder)+" CASCADE")
		return err
	})
}

func (s postgres) occupies(ctx context.Context, folder string) (rows, bytes int64, err error) {
	err = s.connected(ctx, func(conn *pgx.Conn) error {
		tables, err := conn.Query(ctx, `SELECT quote_ident(nspname) || '.' || quote_ident(relname), pg_total_relation_size(c.oid)
			FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relkind = 'r'`, schemaOf(folder))
		if err != nil {
			return err
		}
		var names []string
		var name string
		var size int64
		if _, err := pgx.ForEachRow(tables, []any{&name, &size}, func() error {
			names, bytes = append(names, name), bytes+size
			return nil
		}); err != nil || len(names) == 0 {
			return errors.Join(err, fmt.Errorf("schema %s has %d tables", schemaOf(folder), len(names)))
		}
		return conn.QueryRow(ctx, "SELECT (SELECT count(*) FROM "+strings.Join(names, ") + (SELECT count(*) FROM ")+")").Scan(&rows)
	})
	return rows, bytes, err
}

// inserts is the floor of everything on that server: a row of 256 bytes, inserted and
// committed, one after the other, by a prepared statement.
func (s postgres) inserts(folder string, n int) (all []time.Duration, err error) {
	ctx := context.Background()
	defer func() { err = errors.Join(err, s.remove(ctx, folder)) }()
	err = s.connected(ctx, func(conn *pgx.Conn) error {
		table := schemaOf(folder) + ".floor"
		if _, err := conn.Exec(ctx, "CREATE SCHEMA "+schemaOf(folder)+"; CREATE TABLE "+table+" (n bigint PRIMARY KEY, data bytea NOT NULL)"); err != nil {
			return err
		}
		data := make([]byte, 256)
		for i := range n {
			began := time.Now()
			if _, err := conn.Exec(ctx, "INSERT INTO "+table+" VALUES ($1, $2)", i, data); err != nil {
				return err
			}
			all = append(all, time.Since(began))
		}
		return nil
	})
	return all, err
}
