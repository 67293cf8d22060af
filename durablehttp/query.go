package durablehttp

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// parameters are the parameters of a request's query, each at most once, and none
// that is not in known: what is misspelt would select something else.
func parameters(r *http.Request, known []string) (map[string]string, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query can't be parsed")
	}
	query := make(map[string]string, len(values))
	for name, all := range values {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, badRequest("this path takes no query parameters")
		case !slices.Contains(known, name):
			return nil, badRequest("an unknown query parameter: known are " + strings.Join(known, ", "))
		case len(all) > 1:
			return nil, badRequest("query parameter " + name + " is given twice")
		}
		query[name] = all[0]
	}
	return query, nil
}

// number is a parameter that is a whole number from low to high.
func (r *request) number(name string, low, high, none int64) (int64, error) {
	text := r.query[name]
	if text == "" {
		return none, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, badRequest(fmt.Sprintf("%s is a whole number from %d to %d", name, low, high))
	}
	return n, nil
}

func (r *request) boolean(name string) (bool, error) {
	text := r.query[name]
	if text != "" && text != "true" && text != "false" {
		return false, badRequest(name + " is true or false")
	}
	return text == "true", nil
}

func (r *request) time(name string) (time.Time, error) {
	text := r.query[name]
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, badRequest(name + " is a time like 2026-01-31T12:00:00Z")
	}
	return t, nil
}

// selection is what the parameters select: status, function, prefix, startedAfter, startedBefore.
func (r *request) selection() (q durable.Query, err error) {
	q = durable.Query{Status: durable.ExecutionStatus(r.query["status"]), Function: r.query["function"], IDPrefix: r.query["prefix"]}
	if q.Status != "" && !slices.Contains(executionStatuses, q.Status) {
		return q, badRequest("status is one of RUNNING, SUCCEEDED, FAILED, TIMED_OUT, STOPPED")
	}
	if !isName(q.Function) || !isName(q.IDPrefix) {
		return q, badRequest("function and prefix have at most 128 of A-Z a-z 0-9 . _ : -")
	}
	if q.StartedAfter, err = r.time("startedAfter"); err == nil {
		q.StartedBefore, err = r.time("startedBefore")
	}
	return q, err
}

var executionStatuses = []durable.ExecutionStatus{durable.ExecutionRunning, durable.ExecutionSucceeded, durable.ExecutionFailed, durable.ExecutionTimedOut, durable.ExecutionStopped}

// isName reports whether s may begin an execution ID or be the name of a function.
func isName(s string) bool {
	return len(s) <= 128 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") == ""
}

// cursor is the number of the last execution of a page; 0 is before the first page.
func (r *request) cursor() (uint64, error) {
	text, ok := r.query["cursor"]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != text {
		return 0, badRequest("cursor is not what a page had as next")
	}
	return n, nil
}
