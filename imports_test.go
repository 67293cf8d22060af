package durable_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const modulePath = "github.com/durable-go/durable"

// directDependencies are all the modules that the root module may require
// directly. What needs another one is a nested module.
var directDependencies = []string{
	"github.com/google/uuid",
	"github.com/stretchr/testify", // in tests only
	"go.etcd.io/bbolt",
	"golang.org/x/sync",
}

// mayImport says what the non-test code of a package of ours may import of ours:
// packages, or trees of packages where the name ends in "/...". Packages that are
// not listed stand above the engine, and may import what they like.
var mayImport = map[string][]string{
	"checkpoint":           {},
	"checkpoint/internal/": {"checkpoint", "checkpoint/internal/..."},
	"checkpoint/boltstore": {"checkpoint", "checkpoint/internal/...", "internal/teller"},
	"checkpoint/memstore":  {"checkpoint", "checkpoint/internal/..."},
	"checkpoint/storetest": {"checkpoint", "checkpoint/internal/..."},
	"internal/alarm":       {},
	"internal/teller":      {},
	"internal/jsonform":    {},
	"internal/fault":       {"internal/jsonform"},
	"internal/history":     {"checkpoint", "internal/fault"},
	"internal/line":        {},
	"internal/journal":     {"checkpoint", "internal/fault", "internal/history", "internal/line"},
	"internal/invocation":  {"checkpoint", "internal/fault", "internal/history", "internal/journal", "internal/line"},
	"":                     {"checkpoint", "checkpoint/boltstore", "internal/alarm", "internal/teller", "internal/jsonform", "internal/fault", "internal/history", "internal/invocation", "internal/line"},
}

// listedPackage is what go list tells of a package.
type listedPackage struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// name is the package's path in the module; ok is false if it is not one of ours.
func (p listedPackage) name() (name string, ok bool) { return nameInModule(p.ImportPath) }

// nameInModule is the path of a package in this module; "" is the root.
func nameInModule(path string) (name string, ok bool) {
	if path == modulePath {
		return "", true
	}
	return strings.CutPrefix(path, modulePath+"/")
}

// TestImports checks who knows whom.
func TestImports(t *testing.T) {
	t.Parallel()
	packages, standard := listPackages(t)
	require.Contains(t, packages, modulePath)

	t.Run("PointDownwards", func(t *testing.T) {
		for _, p := range packages {
			allowed, restricted := importRule(p)
			for _, path := range p.Imports {
				if name, ours := nameInModule(path); ours && restricted {
					require.True(t, importAllowed(allowed, name), "%s imports %s", p.ImportPath, path)
				}
			}
		}
	})

	for _, name := range []string{"checkpoint/storetest", "durabletest"} {
		t.Run("OfTestKitsAreOnlyTheStandardLibraryAndOurs/"+name, func(t *testing.T) {
			p, ok := packages[modulePath+"/"+name]
			require.True(t, ok, "%s is missing", name)
			for _, path := range p.Imports {
				_, ours := nameInModule(path)
				require.True(t, ours || standard[path], "%s imports %s", p.ImportPath, path)
			}
		})
	}

	t.Run("OfTestifyAreOnlyInTests", func(t *testing.T) {
		for _, p := range packages {
			for _, path := range p.Deps {
				require.False(t, strings.HasPrefix(path, "github.com/stretchr/testify"), "%s depends on %s outside tests", p.ImportPath, path)
			}
		}
	})
}

// TestDirectDependencies checks what go.mod requires, and that it is all that
// the code imports.
func TestDirectDependencies(t *testing.T) {
	t.Parallel()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Tool []struct{ Path string }
	}
	require.NoError(t, json.Unmarshal(goTool(t, "mod", "edit", "-json"), &mod))
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	require.ElementsMatch(t, directDependencies, direct)
	require.Empty(t, mod.Tool, "a tool in go.mod puts its modules into every user's module graph")

	packages, standard := listPackages(t)
	for _, p := range packages {
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if _, ours := nameInModule(path); ours || standard[path] {
				continue
			}
			known := slices.ContainsFunc(directDependencies, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") })
			require.True(t, known, "%s imports %s", p.ImportPath, path)
		}
	}
}

// importRule is what p may import of ours, by the longest name in mayImport that fits.
func importRule(p listedPackage) (allowed []string, restricted bool) {
	name, _ := p.name()
	if allowed, ok := mayImport[name]; ok {
		return allowed, true
	}
	for _, tree := range slices.Sorted(maps.Keys(mayImport)) {
		if strings.HasSuffix(tree, "/") && strings.HasPrefix(name, tree) {
			return mayImport[tree], true
		}
	}
	return nil, false
}

// importAllowed reports whether a package of ours is among those allowed.
func importAllowed(allowed []string, name string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		tree, isTree := strings.CutSuffix(a, "...")
		return a == name || isTree && strings.HasPrefix(name, tree)
	})
}

// listPackages returns the packages of this module, and which of all packages that they
// need are in the standard library.
func listPackages(t *testing.T) (packages map[string]listedPackage, standard map[string]bool) {
	t.Helper()
	out := goTool(t, "list", "-deps", "-test", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	packages, standard = make(map[string]listedPackage), make(map[string]bool)
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages, standard
		}
		require.NoError(t, err)
		standard[p.ImportPath] = p.Standard
		if strings.ContainsAny(p.ImportPath, " ") || strings.HasSuffix(p.ImportPath, ".test") {
			continue // a package as compiled for a test
		}
		if _, ours := p.name(); ours {
			packages[p.ImportPath] = p
		}
	}
}

// goTool runs the go command in the module's root.
func goTool(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		require.NoError(t, err, "go %s:\n%s", strings.Join(args, " "), exit.Stderr)
	}
	require.NoError(t, err)
	return out
}
