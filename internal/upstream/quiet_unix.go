//go:build unix

package upstream

import "syscall"

// able says whether connections can be looked at without reading from them.
const able = true

// quiet reports whether a connection is open and nothing came over it. Its
// descriptor does not block.
func quiet(raw syscall.RawConn) bool {
	var err error
	failed := raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
	})
	return failed == nil && (err == syscall.EAGAIN || err == syscall.EWOULDBLOCK)
}
