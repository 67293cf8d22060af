package main

import (
	"context"
	"io/fs"
	"path/filepath"
)

// space: how much larger the folder is after many steps, closed.
var space = workload{
	name: "bytes", title: "bytes on disk a step, executions of 100 steps", size: 10_000, small: 20,
	metrics: []metric{{key: "bytes", title: "bytes on disk a step", unit: inBytes, each: true}},
	measure: func(ctx context.Context, j *job) (figures, error) {
		steps := min(100, j.size/2)
		used := func(executions int) (int64, error) {
			e, err := j.system.open(ctx, j.folder, asConfigured)
			if err != nil {
				return 0, err
			}
			ids := make([]string, executions)
			for i := range ids {
				ids[i] = j.id()
			}
			if err := together(executions, 32, func(i int) error { return do(ctx, e, ids[i], program{Steps: steps}) }); err != nil {
				return 0, err
			}
			if err := j.close(ctx, e); err != nil {
				return 0, err
			}
			if s, ok := j.system.(tabular); ok {
				_, bytes, err := s.occupies(ctx, j.folder)
				return bytes, err
			}
			return diskUsage(j.folder)
		}
		before, err := used(1)
		if err != nil {
			return nil, err
		}
		after, err := used(j.size / steps)
		if err != nil {
			return nil, err
		}
		return figures{"bytes": {P50: float64(after-before) / float64(j.size), Samples: 1}}, nil
	},
}

// diskUsage is what the files of a folder occupy.
func diskUsage(folder string) (n int64, err error) {
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n += allocated(info)
		return nil
	})
	return n, err
}
