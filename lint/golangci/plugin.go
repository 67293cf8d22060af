// Package golangci makes the analyzer a module plugin of golangci-lint, under the
// name durablelint. Its import registers it.
package golangci

import (
	"strings"

	"github.com/golangci/plugin-module-register/register"
	"golang.org/x/tools/go/analysis"

	"github.com/durable-go/durable/lint"
)

func init() { register.Plugin("durablelint", newPlugin) }

// settings are those of linters.settings.custom.durablelint in .golangci.yml.
type settings struct {
	Disable []string `json:"disable"` // rules that are not checked
}

type plugin struct{ settings settings }

func newPlugin(raw any) (register.LinterPlugin, error) {
	s, err := register.DecodeSettings[settings](raw)
	return plugin{s}, err
}

// BuildAnalyzers makes an analyzer with the settings.
func (p plugin) BuildAnalyzers() ([]*analysis.Analyzer, error) {
	a := lint.New()
	if len(p.settings.Disable) == 0 {
		return []*analysis.Analyzer{a}, nil
	}
	return []*analysis.Analyzer{a}, a.Flags.Set("disable", strings.Join(p.settings.Disable, ","))
}

// GetLoadMode says that the analyzer needs types.
func (plugin) GetLoadMode() string { return register.LoadModeTypesInfo }
