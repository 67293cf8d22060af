package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// example runs the program and returns where its metrics are.
func example(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	db := filepath.Join(t.TempDir(), "example.db")
	go func() { done <- run(ctx, l, db) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	return l.Addr().String()
}

func get(t *testing.T, url string) string {
	r, err := http.Get(url)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, r.StatusCode, "%s", body)
	return string(body)
}

// until tries again until it holds; what another process does can only be asked for.
func until(t *testing.T, what string, holds func() bool) {
	for deadline := time.Now().Add(30 * time.Second); !holds(); {
		require.True(t, time.Now().Before(deadline), "%s: not within 30 s", what)
		select {
		case <-t.Context().Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func TestExporter(t *testing.T) {
	addr := example(t)
	until(t, "metrics of each kind", func() bool {
		text := get(t, "http://"+addr+"/metrics")
		require.NotContains(t, text, "inv-", "an ID of an execution in a label")
		for _, name := range []string{`durable_execution_completed_total{durable_function="order",durable_status="SUCCEEDED"`, "durable_execution_resident{", "durable_store_size_bytes{", "durable_wake_delay_seconds_bucket{"} {
			if !strings.Contains(text, name) {
				return false
			}
		}
		return true
	})
}

// dashboardQueries are the queries of the dashboard, as Grafana would send them.
func dashboardQueries(t *testing.T) (queries []string) {
	data, err := os.ReadFile("../../monitoring/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	require.NoError(t, json.Unmarshal(data, &dashboard))
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries = append(queries, strings.NewReplacer("$__rate_interval", "10s", "$function", ".*").Replace(target.Expr))
		}
	}
	return queries
}

func TestPrometheus(t *testing.T) {
	server, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed (apt-get install prometheus)")
	}
	t.Run("Rules", func(t *testing.T) {
		for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
			promtool := exec.Command("promtool", args...)
			promtool.Dir = "../../monitoring"
			out, err := promtool.CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	})
	t.Run("Dashboard", func(t *testing.T) {
		at := start(t, server, example(t))
		queries := dashboardQueries(t)
		require.Greater(t, len(queries), 15)
		for _, q := range queries {
			if strings.Contains(q, "notification_queue") {
				continue // a store in a file has none
			}
			until(t, q, func() bool { return series(t, at, q) > 0 })
		}
		require.Zero(t, series(t, at, "sum(durable_no_such_metric)"), "a query over nothing returns nothing")
		var rules struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		until(t, "the rules are evaluated", func() bool {
			require.NoError(t, json.Unmarshal([]byte(get(t, at+"/api/v1/rules")), &rules))
			for _, r := range rules.Data.Groups[0].Rules {
				require.Empty(t, r.LastError, r.Name)
				if r.Health != "ok" {
					return false
				}
			}
			return true
		})
		t.Logf("%d queries of the dashboard return series, %d alert rules are evaluated", len(queries), len(rules.Data.Groups[0].Rules))
	})
}

// start starts a Prometheus that scrapes target, and returns where it is.
func start(t *testing.T, server, target string) string {
	dir := t.TempDir()
	rules, err := filepath.Abs("../../monitoring/alerts.yaml")
	require.NoError(t, err)
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs: [{job_name: durable, static_configs: [{targets: [%q]}]}]
`, rules, target), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free
	require.NoError(t, err)
	at := l.Addr().String()
	require.NoError(t, l.Close())
	log := new(strings.Builder)
	process := exec.Command(server, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+at)
	process.Stdout, process.Stderr = log, log
	require.NoError(t, process.Start())
	t.Cleanup(func() {
		process.Process.Kill()
		process.Wait()
		if t.Failed() {
			t.Log(log)
		}
	})
	until(t, "Prometheus is ready", func() bool {
		r, err := http.Get("http://" + at + "/-/ready")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return "http://" + at
}

// series counts what a query returns: numbers, not NaN.
func series(t *testing.T, at, query string) (n int) {
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(get(t, at+"/api/v1/query?query="+url.QueryEscape(query))), &answer))
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			n++
		}
	}
	return n
}
