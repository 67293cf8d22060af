// Package powercut finds out what a power cut may leave of a program's files. It
// records a process as the system sees it, call by call, so that nothing that the
// process writes can bypass it: not what a library writes by itself either. From
// that record it makes the files as they may be found after the power was cut at
// any of its calls. It is for tests.
package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNoTracer is in errors of Record where processes can't be traced.
var ErrNoTracer = errors.New("processes can't be traced here: strace is needed, and leave to use it")

// traced are the calls that change files or make changes durable. Those that
// Parse can't make sense of are among them, so that it can say so.
const traced = "trace=openat,openat2,open,creat,close,dup,dup2,dup3,write,writev,pwrite64,pwritev,pwritev2," +
	"fsync,fdatasync,sync,syncfs,sync_file_range,ftruncate,truncate,fallocate,rename,renameat,renameat2," +
	"link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,mmap,copy_file_range,sendfile,splice,io_uring_setup"

// longest is how much one write may write.
const longest = 16 << 20

// Record runs cmd to its end under strace. root is the folder that is looked at; what
// is in it before is taken for durable. What the process writes to the file named
// notes, which lies elsewhere, are its notes, one a write: they have their place
// among its other calls.
func Record(cmd *exec.Cmd, root, notes string) (*Trace, error) {
	tracer, err := exec.LookPath("strace")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTracer, err)
	}
	before, err := Read(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "powercut-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := exec.Command(tracer, "-f", "-qq", "-o", os.DevNull, "-e", "trace=none", "true").Run(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTracer, err)
	}
	out := filepath.Join(dir, "trace")
	under := exec.Command(tracer, append([]string{"-f", "--seccomp-bpf", "-qq", "-xx", "-s", fmt.Sprint(longest), "-e", "signal=none", "-e", traced, "-o", out, cmd.Path}, cmd.Args[1:]...)...)
	under.Env, under.Dir = cmd.Env, cmd.Dir
	if said, err := under.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the recorded process: %w: %s", err, said)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	return Parse(bytes.NewReader(text), before, root, notes)
}
