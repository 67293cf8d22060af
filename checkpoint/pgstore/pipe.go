package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/durable-go/durable/checkpoint"
)

// pipe is the writer's connection. What is sent over it in one message is one transaction,
// unless it begins and commits one itself. Behind it there may be a notification, which is
// a transaction of its own: it is on its way with what it tells of, and the server begins with it
// when that is committed and answered.
//
//	state      is entered when                            then
//	idle       the connection is made; all is answered    anything may be sent
//	in flight  something is sent                          its answers are read before anything else
//	owed       that is answered, its notification isn't   more may be sent behind it: that answer comes first. If
//	                                                      nothing is for a moment, it is read, see write
//	closed     by broken, or Store.disconnect             what is owed is taken for not made
//
// So nobody waits for a notification but who sends more at once, and he no longer than it may
// take, see hurry. What becomes of it the notifier is told, see answered.
type pipe struct {
	s          *Store
	conn       *pgx.Conn
	direct     bool              // it is used as said above; else by pgx, and notifications go elsewhere
	flow       *pgconn.Pipeline  // nil: idle
	owed       []checkpoint.Hint // what the notification tells of whose answer is to come
	statements map[string]*pgconn.StatementDescription
	formats    map[string][]int16 // of their results
	values     values
	room       room
}

// hasty is how long a notification behind a round may take: it waits for locks only, which
// every transaction of the server that notifies takes while it commits.
const hasty = 10 * time.Millisecond

// hurry has a transaction give up after it.
var hurry = fmt.Sprintf(`SELECT set_config('lock_timeout', '%[1]d', true), set_config('statement_timeout', '%[1]d', true)`, hasty.Milliseconds())

func newPipe(s *Store, conn *pgx.Conn) *pipe {
	return &pipe{
		s: s, conn: conn, direct: !s.opts.NoListen && conn.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement,
		statements: make(map[string]*pgconn.StatementDescription), formats: make(map[string][]int16),
	}
}

// send sends a message and waits for its answers. hints are what others are told
// behind it; told is whether they are.
func (p *pipe) send(b *pgx.Batch, hints []checkpoint.Hint) (told bool, err error) {
	if !p.direct {
		return false, p.conn.SendBatch(context.Background(), b).Close()
	}
	if t, ok := p.conn.Config().Tracer.(pgx.BatchTracer); ok {
		ctx := t.TraceBatchStart(context.Background(), p.conn, pgx.TraceBatchStartData{Batch: b})
		defer func() { t.TraceBatchEnd(ctx, p.conn, pgx.TraceBatchEndData{Err: err}) }()
	}
	var behind *pgx.Batch
	if len(hints) > 0 && p.s.notifier.mayFollow() {
		if notes := notesOf(p.s.process.Load(), setOf(hints)); len(notes) > 0 {
			behind = &pgx.Batch{}
			behind.Queue(hurry)
			behind.Queue(p.s.sql.notify, p.s.channel(), notes)
		}
	}
	if behind == nil {
		hints = nil
	}
	err = p.exchange(b, behind, hints)
	if e := refusal(err); e != nil && (e.Code == featureNotSupported || e.Code == invalidStatementName) {
		p.broken(err) // its statements are not what they were, or gone
	}
	return behind != nil && err == nil, err
}

// exchange sends a message, and one behind it, and reads the answers of the first.
func (p *pipe) exchange(b, behind *pgx.Batch, hints []checkpoint.Hint) error {
	if err := p.prepare(b, behind); err != nil {
		return err
	}
	p.start()
	for _, batch := range []*pgx.Batch{b, behind} {
		if batch == nil {
			continue
		}
		for _, q := range batch.QueuedQueries {
			if err := p.queue(q); err != nil {
				return p.broken(err)
			}
		}
		p.flow.SendPipelineSync()
	}
	if err := p.flow.Flush(); err != nil {
		return p.broken(err)
	}
	if err := p.collect(); err != nil {
		return err
	}
	p.owed = hints
	if err := p.answers(b.QueuedQueries); err != nil || behind != nil {
		return err
	}
	return p.end()
}

func (p *pipe) start() {
	if p.flow == nil {
		p.flow = p.conn.PgConn().StartPipeline(context.Background())
	}
}

// broken closes a connection of which nobody knows what the server does, and returns why.
func (p *pipe) broken(err error) error {
	p.forget(err)
	p.conn.Close(canceled)
	return err
}

// forget takes note that no answer comes any more.
func (p *pipe) forget(err error) {
	hints := p.owed
	if p.flow, p.owed = nil, nil; hints != nil {
		p.s.notifier.answered(hints, err)
	}
}

// canceled is the context of whoever does not wait.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// prepare has statements prepared that are not, all of them in one message.
func (p *pipe) prepare(batches ...*pgx.Batch) error {
	var missing []*pgconn.StatementDescription
	for _, b := range batches {
		if b == nil {
			continue
		}
		for _, q := range b.QueuedQueries {
			if p.statements[q.SQL] == nil {
				// Its name is the same wherever it is prepared: a pooler that is not told of, see
				// Options.NoListen, may lead to a session that somebody else has prepared it in.
				sd := &pgconn.StatementDescription{Name: fmt.Sprintf("durable_%x", hash(q.SQL)[:20]), SQL: q.SQL}
				p.statements[q.SQL] = sd
				missing = append(missing, sd)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err := p.describe(missing)
	if err != nil {
		for _, sd := range missing {
			delete(p.statements, sd.SQL)
		}
	}
	return err
}

func (p *pipe) describe(missing []*pgconn.StatementDescription) error {
	if err := p.settle(); err != nil {
		return err
	}
	p.start()
	for _, sd := range missing {
		p.flow.SendPrepare(sd.Name, sd.SQL, nil)
	}
	if err := p.flow.Sync(); err != nil {
		return p.broken(err)
	}
	var failed error
	for i := 0; ; {
		results, err := p.flow.GetResults()
		if err != nil {
			results = nil // or nothing of some type
		}
		switch r := results.(type) {
		case *pgconn.StatementDescription:
			sd := missing[i]
			sd.ParamOIDs, sd.Fields = r.ParamOIDs, r.Fields
			formats := make([]int16, len(sd.Fields))
			for i, f := range sd.Fields {
				formats[i] = p.conn.TypeMap().FormatCodeForOID(f.DataTypeOID)
			}
			p.formats[sd.SQL] = formats
			i++
		case *pgconn.PipelineSync:
			if err := p.end(); err != nil {
				return err
			}
			return failed
		default:
			if failed = cmp.Or(err, errNoAnswer); refusal(failed) == nil {
				return p.broken(failed)
			}
		}
	}
}

var errNoAnswer = errors.New("the server's answer is not the one to what was sent")

func (p *pipe) queue(q *pgx.QueuedQuery) error {
	sd := p.statements[q.SQL]
	if len(sd.ParamOIDs) != len(q.Arguments) {
		return fmt.Errorf("a statement has %d parameters, not %d", len(sd.ParamOIDs), len(q.Arguments))
	}
	p.values.reset()
	for i, arg := range q.Arguments {
		if err := p.values.add(p.conn.TypeMap(), sd.ParamOIDs[i], arg); err != nil {
			return fmt.Errorf("parameter %d: %w", i+1, err)
		}
	}
	p.room.make(p.conn.PgConn().Frontend(), len(p.values.buf)+8*len(p.values.all)+256) // beside the values, lengths and formats
	p.flow.SendQueryStatement(sd, p.values.all, p.values.formats, p.formats[q.SQL])
	return nil
}

// answers reads the answers of what was sent together. The first error counts: what comes
// behind it was not done.
func (p *pipe) answers(queries []*pgx.QueuedQuery) (err error) {
	for i := 0; ; i++ {
		results, failed := p.flow.GetResults()
		if failed != nil {
			results = nil // or nothing of some type
		}
		read := func(rows pgx.Rows) {
			if i < len(queries) && queries[i].Fn != nil && err == nil {
				err = queries[i].Fn(answer{rows})
			}
		}
		switch r := results.(type) {
		case *pgconn.PipelineSync:
			return err
		case *pgconn.ResultReader:
			read(pgx.RowsFromResultReader(p.conn.TypeMap(), r))
			_, failed = r.Close()
		default:
			failed = cmp.Or(failed, errNoAnswer)
			read(noRows{failed})
		}
		if failed != nil && refusal(failed) == nil {
			return p.broken(failed)
		}
		if err == nil {
			err = failed
		}
	}
}

// end goes back to being idle, when all is answered.
func (p *pipe) end() error {
	flow := p.flow
	p.flow = nil
	if err := flow.Close(); err != nil {
		return p.broken(err)
	}
	return nil
}

// collect takes the answer of the notification that is owed.
func (p *pipe) collect() error {
	if p.owed == nil {
		return nil
	}
	hints := p.owed
	p.owed = nil
	err := p.answers(nil)
	p.s.notifier.answered(hints, err)
	if refusal(err) != nil {
		return nil
	}
	return err
}

// settle goes back to being idle, so that pgx can use the connection.
func (p *pipe) settle() error {
	if p.flow == nil {
		return nil
	}
	if err := p.collect(); err != nil {
		return err
	}
	return p.end()
}

// answer is pgx.BatchResults of one statement.
type answer struct{ pgx.Rows }

func (a answer) Query() (pgx.Rows, error) { return a.Rows, nil }
func (a answer) QueryRow() pgx.Row        { return a }
func (a answer) Close() error             { return nil }

func (a answer) Exec() (pgconn.CommandTag, error) {
	a.Rows.Close()
	return a.Rows.CommandTag(), a.Rows.Err()
}

func (a answer) Scan(into ...any) error {
	defer a.Rows.Close()
	if !a.Rows.Next() {
		a.Rows.Close()
		if err := a.Rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := a.Rows.Scan(into...); err != nil {
		return err
	}
	a.Rows.Close()
	return a.Rows.Err()
}

// noRows are those of what was refused.
type noRows struct{ err error }

func (r noRows) Close()                                       {}
func (r noRows) Err() error                                   { return r.err }
func (r noRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (r noRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (r noRows) Next() bool                                   { return false }
func (r noRows) Scan(...any) error                            { return r.err }
func (r noRows) Values() ([]any, error)                       { return nil, r.err }
func (r noRows) RawValues() [][]byte                          { return nil }
func (r noRows) Conn() *pgx.Conn                              { return nil }
