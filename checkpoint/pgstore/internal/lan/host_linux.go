package lan

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"
)

// mtu is small enough for the segments to be those of a real network.
const mtu = 1500

// begin makes the host. What is not shared with other threads is a thread's: the host is
// one that nothing else runs on, and what it starts inherits its network.
func (h *Host) begin() error {
	begun := make(chan error)
	go func() {
		defer close(h.gone)
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		err := h.make()
		begun <- err
		if err != nil {
			return
		}
		for f := range h.jobs {
			f()
		}
	}()
	return <-begun
}

func (h *Host) make() error {
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	const device = "/dev/net/tun"
	fd, err := syscall.Open(device, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	if err = of("tun0").flags(syscall.IFF_TUN|syscall.IFF_NO_PI).ask(fd, syscall.TUNSETIFF); err == nil {
		err = h.configure()
	}
	if err != nil {
		syscall.Close(fd)
		return err
	}
	h.tun = os.NewFile(uintptr(fd), device)
	return nil
}

// configure has the interfaces up, and one with the host's address.
func (h *Host) configure() error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer syscall.Close(s)
	for _, step := range []struct {
		asked uintptr
		with  *request
	}{
		{syscall.SIOCSIFFLAGS, of("lo").flags(syscall.IFF_UP)},
		{syscall.SIOCSIFMTU, of("tun0").number(mtu)},
		{syscall.SIOCSIFADDR, of("tun0").address(h.Address.As4())},
		{syscall.SIOCSIFNETMASK, of("tun0").address([4]byte{255, 255, 255, 0})},
		{syscall.SIOCSIFFLAGS, of("tun0").flags(syscall.IFF_UP)},
	} {
		if err := step.with.ask(s, step.asked); err != nil {
			return err
		}
	}
	return nil
}

// request is a struct ifreq: the name of an interface, and what is asked of it.
type request struct {
	name [syscall.IFNAMSIZ]byte
	more [24]byte
}

func of(name string) *request {
	r := new(request)
	copy(r.name[:], name)
	return r
}

func (r *request) flags(f uint16) *request {
	*(*uint16)(unsafe.Pointer(&r.more)) = f
	return r
}

func (r *request) number(n int32) *request {
	*(*int32)(unsafe.Pointer(&r.more)) = n
	return r
}

func (r *request) address(a [4]byte) *request {
	*(*syscall.RawSockaddrInet4)(unsafe.Pointer(&r.more)) = syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: a}
	return r
}

func (r *request) ask(fd int, what uintptr) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), what, uintptr(unsafe.Pointer(r))); errno != 0 {
		return fmt.Errorf("interface %s, ioctl %#x: %w", r.name[:], what, errno)
	}
	return nil
}

// dieWithThread has the system kill a process when the thread ends that starts it.
func dieWithThread(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
