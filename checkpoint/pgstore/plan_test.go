package pgstore_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// plan is what the server did to execute a statement, or a part of it.
type plan struct {
	Type    string  `json:"Node Type"`
	Table   string  `json:"Relation Name"`
	Index   string  `json:"Index Name"`
	Rows    float64 `json:"Actual Rows"`
	Loops   float64 `json:"Actual Loops"`
	Removed float64 `json:"Rows Removed by Filter"`
	Recheck float64 `json:"Rows Removed by Index Recheck"`
	Hit     float64 `json:"Shared Hit Blocks"`
	Read    float64 `json:"Shared Read Blocks"`
	Plans   []plan  `json:"Plans"`
}

// blocks are how many blocks it has looked at.
func (p *plan) blocks() int { return int(p.Hit + p.Read) }

// rows are how many rows it has read, of tables and of indexes.
func (p *plan) rows() (n int) {
	if strings.HasSuffix(p.Type, "Scan") && p.Table+p.Index != "" {
		n = int((p.Rows + p.Removed + p.Recheck) * p.Loops)
	}
	for i := range p.Plans {
		n += p.Plans[i].rows()
	}
	return n
}

// locked are how many rows it has locked.
func (p *plan) locked() (n int) {
	if p.Type == "LockRows" {
		n = int(p.Rows * p.Loops)
	}
	for i := range p.Plans {
		n += p.Plans[i].locked()
	}
	return n
}

// plans are those of all statements that were executed on the connections of a pool, and of
// stores that are given it, with their texts.
type plans struct {
	mu   sync.Mutex
	seen []executed
}

type executed struct {
	sql  string
	json string
	plan
}

// explained makes a pool whose connections have the server explain all that it does, with
// what it has counted. It skips the test where the server can't.
func (p *plans) explained(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	for name, value := range map[string]string{
		"session_preload_libraries": "auto_explain", "client_min_messages": "notice",
		"auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on", "auto_explain.log_timing": "off",
		"auto_explain.log_buffers": "on", "auto_explain.log_format": "json", "auto_explain.log_level": "notice",
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { p.notice(n.Message) }
	probe, err := pgx.ConnectConfig(t.Context(), config.ConnConfig)
	if err != nil {
		t.Skip("what explains all statements is not installed: " + err.Error())
	}
	require.NoError(t, probe.Close(t.Context()))
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func (p *plans) notice(message string) {
	_, text, ok := strings.Cut(message, "plan:\n")
	if !ok {
		return
	}
	var e struct {
		SQL  string `json:"Query Text"`
		Plan plan   `json:"Plan"`
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		panic(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, executed{e.SQL, text, e.Plan})
}

// take returns what was executed since.
func (p *plans) take() []executed {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}
