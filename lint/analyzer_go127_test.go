//go:build go1.27

package lint_test

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/durable-go/durable/lint"
)

// TestMethods: from Go 1.27 on an operation may be a method of Context.
func TestMethods(t *testing.T) {
	t.Parallel()
	analysistest.Run(t, analysistest.TestData(), lint.New(), "./methods")
}
