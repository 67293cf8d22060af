package main

import (
	"context"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
)

// dbosPostgres is DBOS on Postgres.
type dbosPostgres struct{ postgres }

func (dbosPostgres) name() string { return "DBOS Postgres" }
func (dbosPostgres) kind() kind   { return peer }
func (dbosPostgres) about() string {
	return dbosVersion + "; Postgres, its own pool and settings; a schema a run, dropped at its end"
}

func (dbosPostgres) limit(workload string) limit { return dbosLimit(workload) }

func (s dbosPostgres) open(ctx context.Context, folder string, _ residence) (engine, error) {
	e, err := openDBOS(ctx, dbos.Config{DatabaseURL: s.url, DatabaseSchema: schemaOf(folder)})
	if err != nil {
		return nil, err
	}
	e.check = s.durability
	return e, nil
}
