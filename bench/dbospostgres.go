package main

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/jackc/pgx/v5"
)

// dbosPostgres is DBOS on the server that -postgres names, a schema a folder.
type dbosPostgres struct{ url string }

func (dbosPostgres) name() string { return "DBOS Postgres" }
func (dbosPostgres) kind() kind   { return peer }
func (dbosPostgres) about() string {
	return dbosVersion + "; Postgres, its own pool and settings; a schema a run, dropped at its end"
}

func (dbosPostgres) limit(workload string) limit {
	if workload == "bytes" {
		return cannot("not in the folder")
	}
	return dbosLimit(workload)
}

func (s dbosPostgres) open(ctx context.Context, folder string, _ residence) (engine, error) {
	e, err := openDBOS(ctx, dbos.Config{DatabaseURL: s.url, DatabaseSchema: schemaOf(folder)})
	if err != nil {
		return nil, err
	}
	e.check = s.durability
	return e, nil
}

func schemaOf(folder string) string {
	h := fnv.New64a()
	h.Write([]byte(folder))
	return fmt.Sprintf("bench_%x", h.Sum64())
}

func (s dbosPostgres) durability(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	said := ""
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := conn.QueryRow(ctx, "SHOW "+name).Scan(&value); err != nil {
			return "", err
		}
		if value != "on" && !(name == "synchronous_commit" && value != "off") {
			return "", fmt.Errorf("the server's %s is %s", name, value)
		}
		said += name + "=" + value + " "
	}
	return said + "(SHOW, with the same connection string)", nil
}

// remove is called with the folder when a run has ended.
func (s dbosPostgres) remove(ctx context.Context, folder string) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+schemaOf(folder)+" CASCADE")
	return err
}
