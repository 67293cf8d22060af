package lint_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/durable-go/durable/lint"
)

// TestAnalyzer runs over testdata: a package for each rule, with code that is
// reported, as its comments say, and code that is not.
func TestAnalyzer(t *testing.T) {
	t.Parallel()
	analysistest.Run(t, analysistest.TestData(), lint.New(), "./goroutine", "./nested", "./outercontext", "./nondeterminism", "./effect",
		"./maprange", "./selecting", "./replaying", "./capturedwrite", "./global", "./allow")
}

func TestAnalyzers(t *testing.T) {
	t.Parallel()
	require.NoError(t, analysis.Validate(lint.Analyzers()))
}

func TestReadmeHasEachRule(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	named := regexp.MustCompile(`(?m)^  (\w+) +\w`).FindAllStringSubmatch(lint.New().Doc, -1)
	require.Len(t, named, 11)
	for _, rule := range named {
		require.Contains(t, string(readme), "\n### "+rule[1]+"\n")
	}
}

func TestDisable(t *testing.T) {
	t.Parallel()

	t.Run("LeavesOutARule", func(t *testing.T) {
		t.Parallel()
		a := lint.New()
		require.NoError(t, a.Flags.Set("disable", "nondeterminism, effect"))
		require.Equal(t, "effect,nondeterminism", a.Flags.Lookup("disable").Value.String())
		analysistest.Run(t, analysistest.TestData(), a, "./disable")
	})

	t.Run("KnowsTheRules", func(t *testing.T) {
		t.Parallel()
		require.ErrorContains(t, lint.New().Flags.Set("disable", "maprange,nonsense"), `there is no rule "nonsense"`)
	})
}
