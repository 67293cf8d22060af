package durablehttp_test

import (
	"net/http"
	"testing"
)

func checkDocumented(t *testing.T, r *http.Request, answer *http.Response, body []byte) {}
