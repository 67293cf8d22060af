package main

import (
	"context"
	"database/sql"
	"path/filepath"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // DBOS wants it also for a pool of ours
)

// dbosSQLite is DBOS on a pool that we open, because its own sets synchronous to
// NORMAL, which flushes nothing at a commit.
type dbosSQLite struct{}

func (dbosSQLite) name() string { return "DBOS SQLite" }
func (dbosSQLite) kind() kind   { return peer }
func (dbosSQLite) about() string {
	return dbosVersion + "; SQLite (modernc), WAL, synchronous=FULL (its default is NORMAL: no flush a commit); pool of 8 as its own"
}

func (dbosSQLite) limit(workload string) limit { return dbosLimit(workload) }

func (dbosSQLite) open(ctx context.Context, folder string, _ residence) (engine, error) {
	db, err := sql.Open("sqlite", sqliteDSN(filepath.Join(folder, "dbos.sqlite"), "foreign_keys(ON)"))
	if err != nil {
		return nil, err
	}
	e, err := openDBOS(ctx, dbos.Config{SQLiteSystemDB: poolLike(db)})
	if err != nil {
		return nil, err
	}
	e.check = func(ctx context.Context) (string, error) { return sqliteDurability(ctx, db) }
	e.release = db.Close
	return e, nil
}
