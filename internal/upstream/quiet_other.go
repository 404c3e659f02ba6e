//go:build !unix

package upstream

import "syscall"

// able is false where no connection can be looked at without reading from it:
// there the standard transport, which always reads, sends everything.
const able = false

func quiet(syscall.RawConn) bool { return false }
