package golangci_test

import (
	"testing"

	"github.com/golangci/plugin-module-register/register"
	"github.com/stretchr/testify/require"

	_ "github.com/durable-go/durable/lint/golangci"
)

func TestPlugin(t *testing.T) {
	t.Parallel()
	make, err := register.GetPlugin("durablelint")
	require.NoError(t, err)

	t.Run("WithoutSettings", func(t *testing.T) {
		t.Parallel()
		p, err := make(nil)
		require.NoError(t, err)
		require.Equal(t, register.LoadModeTypesInfo, p.GetLoadMode())
		analyzers, err := p.BuildAnalyzers()
		require.NoError(t, err)
		require.Len(t, analyzers, 1)
		require.Equal(t, "durablelint", analyzers[0].Name)
		require.Empty(t, analyzers[0].Flags.Lookup("disable").Value.String())
	})

	t.Run("WithDisabledRules", func(t *testing.T) {
		t.Parallel()
		p, err := make(map[string]any{"disable": []string{"global", "effect"}})
		require.NoError(t, err)
		analyzers, err := p.BuildAnalyzers()
		require.NoError(t, err)
		require.Equal(t, "effect,global", analyzers[0].Flags.Lookup("disable").Value.String())
	})

	t.Run("WithWrongSettings", func(t *testing.T) {
		t.Parallel()
		_, err := make(map[string]any{"disabled": []string{"global"}})
		require.ErrorContains(t, err, "disabled")
		p, err := make(map[string]any{"disable": []string{"nonsense"}})
		require.NoError(t, err)
		_, err = p.BuildAnalyzers()
		require.ErrorContains(t, err, "nonsense")
	})
}
