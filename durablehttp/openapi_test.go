package durablehttp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/durablehttp"
)

// document is openapi.json.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas   map[string]*schema
		Responses map[string]documentedAnswer
	}
	patterns map[string]*regexp.Regexp // by path
}

type documented struct {
	OperationID string
	Tags        []string
	Parameters  []parameter
	RequestBody *struct {
		Content map[string]struct{ Schema *schema }
	}
	Responses map[string]documentedAnswer
}

type parameter struct{ Name, In string }

type documentedAnswer struct {
	Ref     string `json:"$ref"`
	Content map[string]struct{ Schema *schema }
}

// schema is the part of JSON Schema that the document needs; all else is an error.
type schema struct {
	Ref                  string             `json:"$ref"`
	Type                 string             `json:"type"`
	Format               string             `json:"format"`
	Description          string             `json:"description"`
	Enum                 []string           `json:"enum"`
	Minimum              *int               `json:"minimum"`
	Maximum              *int               `json:"maximum"`
	Properties           map[string]*schema `json:"properties"`
	Required             []string           `json:"required"`
	Items                *schema            `json:"items"`
	AdditionalProperties *others            `json:"additionalProperties"`
}

// others are the properties that a schema does not name: none of a schema false.
type others struct{ schema *schema }

func (o *others) UnmarshalJSON(data []byte) error {
	if string(data) == "false" {
		return nil
	}
	return json.Unmarshal(data, &o.schema)
}

// UnmarshalJSON refuses what check would pass over.
func (s *schema) UnmarshalJSON(data []byte) error {
	type plain schema
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(s))
}

var theDocument = sync.OnceValue(func() *document {
	data, err := os.ReadFile("openapi.json")
	if err != nil {
		panic(err)
	}
	d := new(document)
	if err := json.Unmarshal(data, d); err != nil {
		panic(err)
	}
	d.patterns = make(map[string]*regexp.Regexp)
	for path := range d.Paths {
		d.patterns[path] = regexp.MustCompile("^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$")
	}
	return d
})

// operation is what is documented of a method of a path, nil if nothing is.
func (d *document) operation(method, path string) *documented {
	data := d.Paths[path][strings.ToLower(method)]
	if data == nil {
		return nil
	}
	o := new(documented)
	if err := json.Unmarshal(data, o); err != nil {
		panic(err)
	}
	return o
}

// find is what is documented of a request.
func (d *document) find(r *http.Request) (path string, o *documented) {
	for path, pattern := range d.patterns {
		if !pattern.MatchString(r.URL.EscapedPath()) {
			continue
		}
		if o := d.operation(r.Method, path); o != nil {
			return path, o
		}
	}
	return "", nil
}

// answer is a documented answer with its references followed.
func (d *document) answer(o *documented, status int) (a documentedAnswer, key string) {
	key = strconv.Itoa(status)
	a, ok := o.Responses[key]
	if !ok && status >= 400 {
		key = "default"
		a = o.Responses[key]
	}
	if name, ok := strings.CutPrefix(a.Ref, "#/components/responses/"); ok {
		a = d.Components.Responses[name]
	}
	return a, key
}

// check reports where v, decoded JSON, is not what s says.
func (d *document) check(s *schema, v any, at string) error {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		if d.Components.Schemas[name] == nil {
			return fmt.Errorf("%s: there is no schema %s", at, name)
		}
		return d.check(d.Components.Schemas[name], v, at)
	}
	wrong := fmt.Errorf("%s: %v is not a %s %s", at, v, s.Format, s.Type)
	switch s.Type {
	case "":
		return nil
	case "string":
		text, ok := v.(string)
		if !ok {
			return wrong
		}
		if s.Format == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
				return wrong
			}
		}
		if s.Enum != nil && !slices.Contains(s.Enum, text) {
			return fmt.Errorf("%s: %q is not one of %q", at, text, s.Enum)
		}
	case "integer":
		if n, ok := v.(float64); !ok || n != float64(int64(n)) {
			return wrong
		}
	case "number":
		if _, ok := v.(float64); !ok {
			return wrong
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return wrong
		}
		var problems []error
		for i, item := range list {
			problems = append(problems, d.check(s.Items, item, fmt.Sprintf("%s[%d]", at, i)))
		}
		return errors.Join(problems...)
	case "object":
		fields, ok := v.(map[string]any)
		if !ok {
			return wrong
		}
		var problems []error
		for _, name := range s.Required {
			if _, ok := fields[name]; !ok {
				problems = append(problems, fmt.Errorf("%s: %s is missing", at, name))
			}
		}
		for name, field := range fields {
			if p := s.Properties[name]; p != nil {
				problems = append(problems, d.check(p, field, at+"."+name))
			} else if s.AdditionalProperties != nil && s.AdditionalProperties.schema != nil {
				problems = append(problems, d.check(s.AdditionalProperties.schema, field, at+"."+name))
			} else if s.AdditionalProperties != nil {
				problems = append(problems, fmt.Errorf("%s: %s is not documented", at, name))
			}
		}
		return errors.Join(problems...)
	default:
		return fmt.Errorf("%s: the document has the type %q", at, s.Type)
	}
	return nil
}

// checkAnswer reports where an answer is not what the document says, and what it is
// there: the method, path and status, and the code of a problem.
func (d *document) checkAnswer(r *http.Request, status int, header http.Header, body []byte) (what, code string, err error) {
	path, o := d.find(r)
	media := header.Get("Content-Type")
	problem := documentedAnswer{}
	key := ""
	switch {
	case o != nil:
		problem, key = d.answer(o, status)
		if problem.Content == nil && o.Responses[key].Ref == "" && key != "204" {
			return "", "", fmt.Errorf("%s %s: status %d is not documented", r.Method, path, status)
		}
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusForbidden, status == http.StatusInternalServerError:
		problem = d.Components.Responses["Problem"]
	default:
		return "", "", fmt.Errorf("%s %s is not documented, and answered %d", r.Method, r.URL.Path, status)
	}
	what = r.Method + " " + path + " " + key
	if len(problem.Content) == 0 {
		if len(body) > 0 || media != "" {
			return "", "", fmt.Errorf("%s: a body of type %q, none is documented: %s", what, media, body)
		}
		return what, "", nil
	}
	content, ok := problem.Content[media]
	if !ok {
		return "", "", fmt.Errorf("%s: content type %q is not documented", what, media)
	}
	if media != "application/json" {
		return what, "", nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return "", "", fmt.Errorf("%s: %w: %s", what, err, body)
	}
	if fields, ok := v.(map[string]any); ok && status >= 400 {
		code, _ = fields["code"].(string)
	}
	return what, code, d.check(content.Schema, v, what)
}

// checkDocumented checks that an answer of the handlers is what the document says, and
// has the headers that all have.
func checkDocumented(t testing.TB, r *http.Request, answer *http.Response, body []byte) (what, code string) {
	t.Helper()
	what, code, err := theDocument().checkAnswer(r, answer.StatusCode, answer.Header, body)
	require.NoError(t, err)
	for name, value := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		"Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "Access-Control-Allow-Origin": "", "Location": ""} {
		require.Equal(t, value, answer.Header.Get(name), name)
	}
	return what, code
}

// TestDocumentHasAllRoutes compares the document with the routes that there are: methods,
// paths, parameters.
func TestDocumentHasAllRoutes(t *testing.T) {
	t.Parallel()
	d := theDocument()
	require.True(t, strings.HasPrefix(d.OpenAPI, "3.1."))
	routes := make(map[string]bool)
	ids := make(map[string]bool)
	for _, r := range durablehttp.Routes() {
		what := r.Method + " " + r.Path
		routes[what] = true
		o := d.operation(r.Method, r.Path)
		require.NotNil(t, o, "%s is not documented", what)
		require.Equal(t, []string{r.Access.String()}, o.Tags, what)
		require.False(t, ids[o.OperationID], "%s is used twice", o.OperationID)
		ids[o.OperationID] = true
		var query, path []string
		for _, p := range o.Parameters {
			if p.In == "query" {
				query = append(query, p.Name)
			}
		}
		require.ElementsMatch(t, r.Params, query, "query parameters of %s", what)
		var shared []parameter
		if data := d.Paths[r.Path]["parameters"]; data != nil {
			require.NoError(t, json.Unmarshal(data, &shared))
		}
		for _, p := range shared {
			require.Equal(t, "path", p.In)
			path = append(path, "{"+p.Name+"}")
		}
		require.ElementsMatch(t, regexp.MustCompile(`\{[a-z]+\}`).FindAllString(r.Path, -1), path, "parameters of %s", r.Path)
	}
	for path, item := range d.Paths {
		for method := range item {
			if method != "parameters" {
				require.True(t, routes[strings.ToUpper(method)+" "+path], "%s %s is documented, but not served", method, path)
			}
		}
	}
}

// TestDocumentHasAllFields compares the schemas with the types that are marshalled.
func TestDocumentHasAllFields(t *testing.T) {
	t.Parallel()
	d := theDocument()
	// Those without a type are built from parts that have one, or not by us.
	untyped := []string{"ExecutionStatus", "Executions", "Children", "Counts", "Operations", "History", "Recording", "CallbackFailure", "Problem"}
	require.ElementsMatch(t, slices.Collect(maps.Keys(d.Components.Schemas)), slices.Concat(untyped, slices.Collect(maps.Keys(durablehttp.Schemas))))
	for name, typ := range durablehttp.Schemas {
		require.NoError(t, d.fits(d.Components.Schemas[name], typ, name))
	}
}

// fits reports where a schema is not that of a type of Go.
func (d *document) fits(s *schema, t reflect.Type, at string) error {
	if s == nil {
		return fmt.Errorf("%s is not documented", at)
	}
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		if known, ok := durablehttp.Schemas[name]; ok && known.Kind() == reflect.Struct {
			for t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			if t != known {
				return fmt.Errorf("%s is a %s, not a %s", at, t, known)
			}
			return nil
		}
		s = d.Components.Schemas[name]
	}
	want := ""
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
	case t == reflect.TypeFor[time.Time]():
		want = "string"
		if s.Format != "date-time" {
			return fmt.Errorf("%s is a time", at)
		}
	case t.Kind() == reflect.Pointer:
		return d.fits(s, t.Elem(), at)
	case t.Kind() == reflect.String:
		want = "string"
	case t.Kind() == reflect.Bool:
		want = "boolean"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		want = "integer"
	case t.Kind() == reflect.Float64:
		want = "number"
	case t.Kind() == reflect.Map:
		want = "object"
		if s.AdditionalProperties != nil && s.Type == want {
			return d.fits(s.AdditionalProperties.schema, t.Elem(), at+"{}")
		}
	case t.Kind() == reflect.Slice:
		want = "array"
		if s.Type == want {
			return d.fits(s.Items, t.Elem(), at+"[]")
		}
	case t.Kind() == reflect.Struct:
		want = "object"
		if s.Type == want {
			return d.fitsStruct(s, t, at)
		}
	}
	if s.Type != want {
		return fmt.Errorf("%s has the type %q, %s is %q", at, s.Type, t, want)
	}
	return nil
}

// leftOut are the fields that are never in an answer.
var leftOut = map[string]bool{"Operation.callbackId": true, "Event.callbackId": true}

func (d *document) fitsStruct(s *schema, t reflect.Type, at string) error {
	var problems []error
	fields := make(map[string]bool)
	for _, f := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || f.Anonymous || leftOut[at+"."+tag] {
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		fields[tag] = true
		problems = append(problems, d.fits(s.Properties[tag], f.Type, at+"."+tag))
		always := !strings.Contains(options, "omit")
		if always != slices.Contains(s.Required, tag) && !strings.HasSuffix(t.Name(), "Request") {
			problems = append(problems, fmt.Errorf("%s.%s: always there: %v, required: %v", at, tag, always, !always))
		}
	}
	for name := range s.Properties {
		if !fields[name] {
			problems = append(problems, fmt.Errorf("%s.%s is documented, but %s has no such field", at, name, t))
		}
	}
	return errors.Join(problems...)
}

// TestDocumentChecks plants differences between documents and answers, and sees each found.
func TestDocumentChecks(t *testing.T) {
	t.Parallel()
	d := theDocument()
	get := func(path string) *http.Request { r, _ := http.NewRequest("GET", "http://x"+path, nil); return r }
	jsonHeader := http.Header{"Content-Type": {"application/json"}}
	for name, c := range map[string]struct {
		request *http.Request
		status  int
		body    string
		want    string
	}{
		"AsDocumented":    {get("/executions/a/result"), 202, `{"status":"RUNNING"}`, ""},
		"ExtraField":      {get("/executions/a/result"), 202, `{"status":"RUNNING","callbackId":"x"}`, "callbackId is not documented"},
		"MissingField":    {get("/executions/a/result"), 202, `{}`, "status is missing"},
		"UnknownValue":    {get("/executions/a/result"), 202, `{"status":"WALKING"}`, "not one of"},
		"WrongType":       {get("/about"), 200, `{"readOnly":1,"hidePayloads":false,"version":"","now":"2026-01-01T00:00:00Z"}`, "not a  boolean"},
		"NoTime":          {get("/about"), 200, `{"readOnly":true,"hidePayloads":false,"version":"","now":"today"}`, "date-time"},
		"InAnArray":       {get("/executions"), 200, `{"executions":[{"id":"a"}]}`, "executions[0]: function is missing"},
		"UnknownCode":     {get("/stats"), 500, `{"error":"x","code":"oops"}`, "not one of"},
		"UnknownStatus":   {get("/stats"), 201, `{}`, "status 201 is not documented"},
		"UnknownPath":     {get("/nowhere"), 200, `{}`, "is not documented, and answered 200"},
		"UnknownPathLost": {get("/nowhere"), 404, `{"error":"x","code":"not_found"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := d.checkAnswer(c.request, c.status, jsonHeader, []byte(c.body))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	type differs struct {
		Status string `json:"status"`
		More   int    `json:"more"`
	}
	err := d.fits(d.Components.Schemas["StillRunning"], reflect.TypeFor[differs](), "StillRunning")
	require.ErrorContains(t, err, "StillRunning.more is not documented")
	err = d.fits(d.Components.Schemas["About"], reflect.TypeFor[differs](), "About")
	require.ErrorContains(t, err, "About.version is documented")
}
