package durablehttp

import (
	"reflect"

	"github.com/durable-go/durable"
)

// RouteInfo is a route as the tests of its document see it.
type RouteInfo struct {
	Method, Path string
	Access       Access
	Params       []string
}

// Routes are all that Admin serves.
func Routes() (all []RouteInfo) {
	for _, routes := range [][]route{readingRoutes, steeringRoutes} {
		for _, r := range routes {
			all = append(all, RouteInfo{r.method, r.path, r.access, r.params})
		}
	}
	return all
}

// Schemas are the types behind the schemas of the document.
var Schemas = map[string]reflect.Type{
	"Execution":       reflect.TypeFor[execution](),
	"Operation":       reflect.TypeFor[durable.Operation](),
	"Event":           reflect.TypeFor[durable.Event](),
	"Failure":         reflect.TypeFor[durable.Failure](),
	"Function":        reflect.TypeFor[durable.FunctionInfo](),
	"Functions":       reflect.TypeFor[functionList](),
	"Stats":           reflect.TypeFor[durable.Stats](),
	"FunctionStats":   reflect.TypeFor[durable.FunctionStats](),
	"Histogram":       reflect.TypeFor[durable.Histogram](),
	"About":           reflect.TypeFor[about](),
	"Changed":         reflect.TypeFor[changed](),
	"StillRunning":    reflect.TypeFor[stillRunning](),
	"ExecutionFailed": reflect.TypeFor[executionFailed](),
	"Created":         reflect.TypeFor[newExecution](),
	"Start":           reflect.TypeFor[startRequest](),
	"Retry":           reflect.TypeFor[retryRequest](),
	"RefusedRetry":    reflect.TypeFor[refusedRetry](),
	"Dropped":         reflect.TypeFor[durable.DroppedOperation](),
	"Restart":         reflect.TypeFor[restartRequest](),
	"Reason":          reflect.TypeFor[reasonRequest](),
}
