package durableotel

import (
	"context"
	"errors"
	"sync"

	"github.com/durable-go/durable"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	functionKey = attribute.Key("durable.function")
	nameKey     = attribute.Key("durable.operation.name")
)

// meters are the instruments. docs/monitoring.md says what each means.
type meters struct {
	meter                                metric.Meter
	started, completed, attempts, errors metric.Int64Counter
	duration, step, wake, commit         metric.Float64Histogram
	replay, changes                      metric.Int64Histogram
	sets                                 *sync.Map // labels -> metric.MeasurementOption
}

func newMeters(m metric.Meter) (meters, error) {
	var problems []error
	counter := func(name, unit, what string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
		problems = append(problems, err)
		return c
	}
	seconds := func(name, what string, bounds ...float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(bounds...))
		problems = append(problems, err)
		return h
	}
	numbers := func(name, unit, what string, bounds ...float64) metric.Int64Histogram {
		h, err := m.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(bounds...))
		problems = append(problems, err)
		return h
	}
	short := []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600}
	long := []float64{.001, .01, .1, .5, 1, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600}
	t := meters{
		meter:     m,
		sets:      new(sync.Map),
		started:   counter("durable.execution.started", "{execution}", "Executions that were created."),
		completed: counter("durable.execution.completed", "{execution}", "Executions that got their final status."),
		attempts:  counter("durable.attempts", "{attempt}", "Calls of bodies of steps, checks, submitters and plain functions."),
		errors:    counter("durable.errors", "{error}", "Attempts that ended with an error, by its Go type."),
		duration:  seconds("durable.execution.duration", "From the start of an execution to its final status.", long...),
		step:      seconds("durable.step.duration", "From the start of a step to its outcome, retries and their delays included.", long...),
		wake:      seconds("durable.wake.delay", "From when something could go on until it did.", short...),
		commit:    seconds("durable.commit.duration", "Durable writes of the store.", short...),
		changes:   numbers("durable.commit.changes", "{change}", "Changes that shared a durable write.", 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
		replay:    numbers("durable.replay.records", "{record}", "Records that were read to replay an execution.", 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000),
	}
	return t, errors.Join(problems...)
}

// Watch makes gauges of what e.Stats tells, each time metrics are collected, until the
// function that it returns is called.
func (t *Telemetry) Watch(e *durable.Engine) (stop func() error, err error) {
	var problems []error
	gauge := func(name, unit, what string) metric.Int64ObservableGauge {
		g, err := t.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
		problems = append(problems, err)
		return g
	}
	resident := gauge("durable.execution.resident", "{execution}", "Executions in memory.")
	suspended := gauge("durable.execution.suspended", "{execution}", "Running executions in the store that no process has in memory.")
	stalled := gauge("durable.execution.stalled", "{execution}", "Executions in memory whose handler makes no progress for a minute.")
	bodies := gauge("durable.attempt.running", "{attempt}", "Bodies that run.")
	timers := gauge("durable.timer.pending", "{timer}", "What waits for a time.")
	size := gauge("durable.store.size", "By", "Room that the store takes.")
	queue, err := t.meter.Float64ObservableGauge("durable.store.notification.queue", metric.WithUnit("1"), metric.WithDescription("How full the queue is by which processes on a store hint at what they do."))
	problems = append(problems, err)
	r, err := t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := e.Stats()
		for g, v := range map[metric.Int64Observable]int64{resident: int64(s.Resident), suspended: int64(s.Suspended), stalled: int64(s.Stalled),
			bodies: int64(s.Bodies), timers: int64(s.Timers), size: s.StoreBytes} {
			o.ObserveInt64(g, v)
		}
		if s.NotificationQueue > 0 { // most stores have none
			o.ObserveFloat64(queue, s.NotificationQueue)
		}
		return nil
	}, resident, suspended, stalled, bodies, timers, size, queue)
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	return r.Unregister, nil
}

// labels of a measurement: their sets are made once.
type labels struct{ function, key, value, name string }

func (t *Telemetry) of(l labels) metric.MeasurementOption {
	if made, ok := t.sets.Load(l); ok {
		return made.(metric.MeasurementOption)
	}
	attributes := []attribute.KeyValue{functionKey.String(l.function)}
	if l.key != "" {
		attributes = append(attributes, attribute.String(l.key, l.value))
	}
	if l.name != "" {
		attributes = append(attributes, nameKey.String(l.name))
	}
	made, _ := t.sets.LoadOrStore(l, metric.WithAttributeSet(attribute.NewSet(attributes...)))
	return made.(metric.MeasurementOption)
}

func (t *Telemetry) ofFunction(function string) metric.MeasurementOption {
	return t.of(labels{function: function})
}

func (t *Telemetry) ofStatus(function, status string) metric.MeasurementOption {
	return t.of(labels{function: function, key: "durable.status", value: status})
}

func (t *Telemetry) ofStep(function, name, status string) metric.MeasurementOption {
	l := labels{function: function, key: "durable.status", value: status}
	if t.opts.OperationNames {
		l.name = name
	}
	return t.of(l)
}

func (t *Telemetry) ofOutcome(function string, ok bool) metric.MeasurementOption {
	l := labels{function: function, key: "durable.outcome", value: "error"}
	if ok {
		l.value = "ok"
	}
	return t.of(l)
}

func (t *Telemetry) ofError(function, errorType string) metric.MeasurementOption {
	return t.of(labels{function: function, key: "error.type", value: errorType})
}
